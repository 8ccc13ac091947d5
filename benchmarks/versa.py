"""VersaAnimator's transformers with the paper's sizes: a training step, and how long 10 s of motion take.

    python -m benchmarks.versa [--batch 16] [--repeats 7] [--threads 2] [--steps 10]

`step` is a training step (forward, loss, backward) of the text branch, and of the audio branch beside the frozen text
branch, over a plain reference of the same sizes made of torch's own modules: `nn.TransformerEncoder` (pre-norm, GELU,
learned positions) between an embedding and a linear layer, one for each branch that runs. Both get the same tokens,
hide the same of them, warm up with a step that is not counted, and take turns in every repeat; a ratio is the median
over the repeats of ours / reference.

`generate` is 10 s of motion in 50 tokens from text, and from text and speech, guided; decoding by the paper's
tokenizer is counted, and the first time is not: it warms up. Weights are random: the time is the same. Other work on
the machine falsifies it: the load is recorded. Writes `benchmarks/results/versa-DATE.json`.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from datamodules.transport.memory import keep_freed_memory
from models.versa import MotionTokenizer
from models.versa.generate import generate
from models.versa.masking import hidden_tokens, token_loss
from models.versa.spans import speech_layout
from models.versa.transformer import MotionTransformer

TOKENS, SECONDS = 50, 10.0


class Reference(nn.Module):
    """What anyone would write first: torch's encoder over tokens, positions and a condition."""

    def __init__(self, branches: int, codes: int = 512, width: int = 512, layers: int = 8, feedforward: int = 1024):
        super().__init__()
        self.embed = nn.Embedding(codes + 1, width)
        self.positions = nn.Parameter(torch.randn(TOKENS, width) * 0.02)
        self.text, self.speech = nn.Linear(512, width), nn.Linear(4 * 35, width)
        self.encoders = nn.ModuleList(
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(width, 8, feedforward, 0.1, "gelu", batch_first=True, norm_first=True),
                layers,
                enable_nested_tensor=False,
            )
            for _ in range(branches)
        )
        self.head = nn.Linear(width, codes)
        if branches == 2:
            self.encoders[0].requires_grad_(False)

    def forward(self, tokens: Tensor, text: Tensor, speech: Tensor) -> Tensor:
        """Tokens (B, N), text (B, 512) and speech (B, 4 N, 35) to logits (B, N, codes)."""
        x = self.embed(tokens) + self.positions
        output = self.encoders[0](x + self.text(text)[:, None])
        if len(self.encoders) == 2:
            output = output + self.encoders[1](x + self.speech(speech.unflatten(1, (TOKENS, 4)).flatten(2)))
        return self.head(output)


def inputs(batch: int) -> dict[str, Tensor]:
    """Tokens, how many of each sequence are hidden, texts and speech."""
    g = torch.Generator().manual_seed(0)
    lengths = torch.full((batch,), TOKENS)
    return {
        "tokens": torch.randint(0, 512, (batch, TOKENS), generator=g),
        "hidden": hidden_tokens(torch.rand(batch, generator=g), torch.rand(batch, TOKENS, generator=g), lengths),
        "text": torch.randn(batch, 512, generator=g),
        "speech": torch.randn(batch, 4 * TOKENS, 35, generator=g),
    }


def steps(batch: int, speech: bool) -> dict[str, Callable[[], None]]:
    """A training step of ours and of the reference."""
    torch.manual_seed(0)
    given = inputs(batch)
    tokens, hidden = given["tokens"], given["hidden"]
    shown = tokens.masked_fill(hidden, 512)
    ours = MotionTransformer(text="clip", audio_branch=speech).train()
    if speech:
        ours.take_text_branch(ours)
    layout = speech_layout(tokens)
    which = layout.which if speech else torch.arange(batch)[:, None].expand(-1, TOKENS)
    text = given["text"][:1] if speech else given["text"]
    reference = Reference(2 if speech else 1).train()

    def step(network: nn.Module, logits: Callable[[], Tensor]) -> None:
        for p in network.parameters():
            p.grad = None
        token_loss(logits(), tokens, hidden)[0].backward()

    def own() -> Tensor:
        return ours(shown, layout.places, text, which, given["speech"] if speech else None)

    return {
        "ours": lambda: step(ours, own),
        "reference": lambda: step(reference, lambda: reference(shown, given["text"], given["speech"])),
    }


def seconds(act: Callable[[], Any]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def compare(batch: int, speech: bool, repeats: int) -> dict[str, Any]:
    """Seconds of either step, and ours over the reference's."""
    taking_part = steps(batch, speech)
    for act in taking_part.values():
        act()
    rows = [{name: seconds(act) for name, act in taking_part.items()} for _ in range(repeats)]
    medians = {name: round(statistics.median(row[name] for row in rows), 4) for name in taking_part}
    return {
        "seconds": medians,
        "ours_over_reference": round(statistics.median(r["ours"] / r["reference"] for r in rows), 3),
    }


def generation(repeats: int, unmasking: int) -> dict[str, Any]:
    """Seconds for 10 s of motion."""
    torch.manual_seed(0)
    tokenizer = MotionTokenizer().eval()
    networks = {False: MotionTransformer().eval(), True: MotionTransformer(audio_branch=True).eval()}
    speech, text = torch.randn(200, 35), [(2.0, 5.0, "a person waves the right hand"), (7.0, 9.0, "a person bows")]

    @torch.no_grad()
    def make(heard: bool) -> None:
        options = {"audio": speech} if heard else {}
        tokens = generate(networks[heard], text, seconds=SECONDS, steps=unmasking, **options)
        tokenizer.decode(tokens[None])

    result = {}
    for name, heard in (("text", False), ("text and speech", True)):
        make(heard)
        taken = [seconds(lambda heard=heard: make(heard)) for _ in range(repeats)]
        result[name] = {"median": round(statistics.median(taken), 3), "seconds": [round(each, 3) for each in taken]}
    return result


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="of unmasking")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    machine = describe()
    found = {
        "step": {
            name: compare(options.batch, speech, options.repeats) for name, speech in (("text", False), ("audio", True))
        },
        "generate": generation(options.repeats, options.steps),
    }
    print(found)
    print(write_result("versa", {"machine": machine, "options": vars(options), "seed": 0, **found}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
