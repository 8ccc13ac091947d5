"""Unmasking: order, guidance, seeds, windows, and texts in time."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from models.versa.generate import MotionRequest, generate, generate_all
from models.versa.spans import read_spans
from models.versa.text import SPEECH
from models.versa.transformer import MotionTransformer
from tests.models.motion_transformers import CODES, transformer


class Asked(nn.Module):
    """Remembers what a network is asked, and answers in its place where logits are given."""

    def __init__(self, network: MotionTransformer, logits: torch.Tensor | None = None):
        super().__init__()
        self.calls: list[dict] = []
        own = network.forward

        def forward(tokens, **given):
            self.calls.append({"tokens": tokens.clone(), **given})
            return own(tokens, **given) if logits is None else logits[:, : tokens.shape[1]].expand(len(tokens), -1, -1)

        network.forward = forward

    def hidden(self) -> list[list[int]]:
        """How many tokens of each sequence are hidden in each call."""
        return [(call["tokens"] == CODES).sum(1).tolist() for call in self.calls]


@pytest.fixture(scope="module")
def text() -> MotionTransformer:
    return transformer()


@pytest.fixture(scope="module")
def both() -> MotionTransformer:
    return transformer(audio_branch=True)


def speech(steps: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(steps, 35, generator=torch.Generator().manual_seed(seed))


def test_the_same_seed_gives_the_same_tokens_and_another_others(both):
    output = [generate(both, "someone bows", speech(48), seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(output[0], output[1])
    assert not torch.equal(output[0], output[2])
    assert output[0].shape == (12,)
    assert 0 <= output[0].min() <= output[0].max() < CODES


def test_a_sequence_of_several_is_what_it_is_alone(both):
    requests = [
        MotionRequest("someone bows", seconds=2.0),
        MotionRequest([(0.4, 1.0, "wave")], speech(40)),
        MotionRequest(None, speech(93)),
        MotionRequest("a person turns", speech(20), 5.0),
    ]
    together = generate_all(both, requests, seed=5)
    assert [len(tokens) for tokens in together] == [10, 10, 24, 25]
    for number, (request, tokens) in enumerate(zip(requests, together, strict=True)):
        assert torch.equal(generate_all(both, [request], seed=5 + number)[0], tokens)
    seeded = generate_all(both, requests[:2], seed=[5, 5])
    assert torch.equal(seeded[0], together[0])
    assert not torch.equal(seeded[1], together[1])


@pytest.mark.paper("VA-9")
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_fewer_tokens_are_hidden_in_each_step_by_a_cosine(steps):
    network = transformer()
    asked = Asked(network)
    tokens = generate(network, "wave", seconds=2.4, steps=steps)
    assert asked.hidden() == [[math.floor(12 * math.cos(math.pi / 2 * step / steps))] for step in range(steps)]
    assert not (tokens == CODES).any()
    for before, after in pairwise(asked.calls):
        shown = before["tokens"] != CODES
        assert torch.equal(before["tokens"][shown], after["tokens"][shown]), "what is shown stays"


@pytest.mark.paper("VA-9")
def test_the_surest_tokens_come_first_and_the_likeliest_are_taken():
    network = transformer()
    logits = torch.zeros(1, 12, CODES)
    best = torch.arange(12) % CODES
    logits[0, torch.arange(12), best] = torch.arange(12.0)  # surer and surer
    asked = Asked(network, logits)
    tokens = generate(network, "wave", seconds=2.4, steps=6, temperature=0)
    assert torch.equal(tokens, best)
    for call in asked.calls:
        shown = (call["tokens"][0] != CODES).long()
        assert torch.equal(shown, shown.sort().values), "those at the end are the surest"
    drawn = torch.stack([generate(network, "wave", seconds=2.4, steps=1, seed=seed) for seed in range(300)])
    share = (drawn == best).float().mean(0)
    torch.testing.assert_close(share, logits[0].softmax(-1)[torch.arange(12), best], atol=0.1, rtol=0)
    cooler = torch.stack([generate(network, "wave", seconds=2.4, steps=1, seed=s, temperature=0.5) for s in range(100)])
    assert (cooler == best).float().mean() > share.mean() + 0.02


@pytest.mark.paper("VA-9")
def test_longer_motion_is_made_of_windows_that_keep_what_they_share():
    network = transformer(audio_branch=True)
    asked = Asked(network)
    sound = speech(120)
    tokens = generate(network, None, sound, overlap=4)
    assert len(tokens) == 30
    begun: dict[int, torch.Tensor] = {}
    for call in asked.calls:
        heard = [begin for begin in (0, 8, 16, 18) if torch.equal(call["audio"][0], sound[4 * begin : 4 * begin + 48])]
        assert len(heard) == 1
        known = call["tokens"][0] != CODES
        assert torch.equal(call["tokens"][0, known], tokens[heard[0] : heard[0] + 12][known])
        begun.setdefault(heard[0], known)
    assert {begin: known.tolist() for begin, known in begun.items()} == {
        0: [False] * 12, 8: [True] * 4 + [False] * 8, 16: [True] * 4 + [False] * 8, 18: [True] * 10 + [False] * 2
    }  # fmt: skip
    asked_for = [(call["tokens"] == CODES).sum().item() for call in asked.calls]
    assert asked_for[:8] == [12, 11, 8, 4, 8, 7, 5, 3], "as many steps for what a window has to find"
    repeated = generate(network, None, sound, overlap=0)
    assert torch.equal(repeated[:12], tokens[:12])


def test_windows_without_shared_tokens_and_bad_overlaps(text):
    assert len(generate(text, "wave", seconds=10.0, overlap=0)) == 50
    assert len(generate(text, "wave", seconds=10.0, window=5, overlap=4)) == 50
    with pytest.raises(ValueError, match="overlap"):
        generate(text, "wave", seconds=10.0, overlap=-1)


def test_texts_hold_in_their_spans_and_speech_everywhere_else():
    network = transformer(audio_branch=True)
    asked = Asked(network)
    spans = [(0.0, 0.6, "wave the right hand"), (1.0, 9.0, "bow")]
    generate(network, spans, speech(32), seconds=2.4, audio_guidance=2.0, audio_in_text=0.25)
    call = asked.calls[0]
    texts = [SPEECH, "wave the right hand", "bow"]
    assert torch.equal(call["text"], network.read(texts))
    assert call["which"].tolist() == [[1, 1, 1, 0, 0, 2, 2, 2, 2, 2, 2, 2]]
    # 32 frames of sound are 8 tokens; behind them nothing is heard.
    assert call["guidance"].audio.tolist() == [[0.5, 0.5, 0.5, 2, 2, 0.5, 0.5, 0.5, 0, 0, 0, 0]]
    assert call["places"][0, 5:7].tolist() == [[0, 6], [1, 5]]


def test_without_speech_nothing_holds_between_texts():
    network = transformer()
    asked = Asked(network)
    assert len(generate(network, [(0.4, 1.0, "bow")])) == 5, "as long as the last span"
    assert asked.calls[0]["which"].tolist() == [[-1, -1, 1, 1, 1]]
    assert asked.calls[0]["audio"] is None


@pytest.mark.parametrize("words", ["右手を振る", "يلوح بيده اليمنى", "взмахнуть рукой", "👋", "WAVE!!! 3 times?"])
def test_texts_of_any_script_are_generated(text, words):
    output = generate(text, words, seconds=2.0)
    assert not torch.equal(output, generate(text, "someone bows", seconds=2.0))


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"text": "", "seconds": 2}, "empty"), ({"text": [(0, 1, " ")]}, r"from 0 to 1 s.*empty"),
        ({"text": [(0, 1, "wave"), (0.5, 2, "bow")]}, "overlaps the text from 0 to 1 s"),
        ({"text": [(2, 1, "wave")], "seconds": 4}, "behind its start"), ({"text": [(-1, 1, "wave")]}, "starts at 0"),
        ({"text": [(5, 6, "wave")], "seconds": 4}, "behind the end"),
        ({"text": [(1, 1.05, "wave")], "seconds": 2}, "shorter"),
        ({"text": [(0, float("nan"), "wave")], "seconds": 2}, "span"), ({"text": [(0, 1)], "seconds": 2}, "start, end"),
        ({"text": [("a", 1, "wave")], "seconds": 2}, "start, end"), ({"text": "wave"}, "seconds"), ({}, "seconds"),
        ({"text": "wave", "seconds": 0}, "above 0"), ({"text": "wave", "seconds": 2, "steps": 0}, "steps"),
        ({"text": "wave", "seconds": 2, "temperature": -1}, "temperature"),
        ({"text": "wave", "audio": torch.zeros(9, 35)}, "audio branch"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_named(text, given, word):
    with pytest.raises(ValueError, match=word):
        generate(text, **given)


def test_audio_that_cannot_be_had_is_named(both):
    alone = transformer(audio_branch=True, text_branch=False)
    with pytest.raises(ValueError, match="text branch"):
        generate(alone, "wave", speech(20))
    for wrong in (torch.zeros(35), torch.zeros(8, 34), torch.zeros(0, 35)):
        with pytest.raises(ValueError, match="audio"):
            generate(both, None, wrong)
    assert len(generate(alone, None, speech(20))) == 5


def test_a_span_past_the_end_is_cut_and_spans_are_put_in_order():
    assert read_spans([(1, 99, "bow"), (0, 1, "wave")], 10) == [(0, 5, "wave"), (5, 10, "bow")]
    assert read_spans("bow", 10) == [(0, 10, "bow")]
    assert read_spans(None, 10) == []
    assert read_spans([], 10) == []


def test_the_network_stays_in_its_mode(text):
    text.train()
    generate(text, "wave", seconds=1.0)
    assert text.training
    text.eval()
    generate(text, "wave", seconds=1.0)
    assert not text.training


@pytest.mark.parametrize("every_step", [True, False])
def test_a_network_is_asked_in_every_step_where_that_is_wanted(every_step):
    network = transformer()
    asked = Asked(network)
    tokens = generate(network, "wave", seconds=0.4, steps=8, every_step=every_step)
    assert not (tokens == CODES).any()
    assert (len(asked.calls) == 8) is every_step
