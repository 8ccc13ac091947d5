"""Motion tokens by unmasking: the surest tokens of each step stay, the others are asked again (VA-9)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.diffusion.chaining import windows
from models.versa.spans import NONE, RATE, Layout, lay_out, read_spans
from models.versa.text import SPEECH
from models.versa.transformer import Guidance, MotionTransformer

Text = str | Sequence[tuple[float, float, str]]
AUDIO_IN_TEXT = 0.0
"""Share of the speech's guidance that stays where a text holds."""


@dataclass(frozen=True)
class MotionRequest:
    """What one sequence of motion is made for; one of `audio` and `seconds` at least, or spans of text.

    Attributes:
        text: a text for all of it, or spans (start, end, text) in seconds, "0-2 s: wave the right hand". Where no text
            holds, speech directs alone; without speech nothing does.
        audio: (S, C) speech features as the network's `AudioTokens` reads them; where they end before the motion does,
            nothing is heard.
        seconds: length of the motion; else that of the audio, else the end of the last span.
        fps: frames a second of hand-crafted features; 20 where None.
    """

    text: Text | None = None
    audio: Tensor | np.ndarray | None = None
    seconds: float | None = None
    fps: float | None = None


def generate(
    network: MotionTransformer,
    text: Text | None = None,
    audio: Tensor | np.ndarray | None = None,
    seconds: float | None = None,
    **options: Any,
) -> Tensor:
    """Motion tokens (N,) for one request; N = ceil(5 seconds). Options are those of `generate_all`, and `fps`."""
    request = MotionRequest(text, audio, seconds, options.pop("fps", None))
    return generate_all(network, [request], **options)[0]


@torch.no_grad()
def generate_all(
    network: MotionTransformer,
    requests: Sequence[MotionRequest],
    *,
    seed: int | Sequence[int] = 0,
    steps: int | None = None,
    temperature: float | None = None,
    guidance: float | None = None,
    audio_guidance: float | None = None,
    audio_in_text: float = AUDIO_IN_TEXT,
    window: int | None = None,
    overlap: int | None = None,
    every_step: bool = False,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> list[Tensor]:
    """Motion tokens of several sequences at once; each is what it would be alone.

    Longer motion is made of windows that overlap: what is known of a window from the one before stays.

    Args:
        network: a trained network; runs where its weights are.
        requests: what is wanted.
        seed: the same seed gives the same tokens; sequence i of several has seed + i, unless each has its own.
        steps: steps of unmasking of each window; None takes the network's, as in all that follow.
        temperature: of sampling; 0 takes the likeliest tokens.
        guidance: weight of classifier-free guidance by text.
        audio_guidance: the same by speech.
        audio_in_text: share of it that stays where a text of the request holds.
        window: tokens at once.
        overlap: tokens that a window shares with the one before; None is a quarter of the window.
        every_step: ask the network in each step, even where nothing is hidden any more: processes that share its
            weights out have to ask equally often.
        on_step: called after each step of unmasking, with how many of how many are done.

    Returns:
        (N_i,) long on the CPU, of each wish.

    Raises:
        ValueError: a wish that cannot be had; says which text and why.
    """
    if not requests:
        return []
    plans = [_Plan.of(network, request) for request in requests]
    lengths = [plan.tokens for plan in plans]
    window = min(window or network.window, max(lengths))
    cuts = [windows(length, window, min(window // 4 if overlap is None else overlap, window - 1)) for length in lengths]
    seeds = [seed + number for number in range(len(plans))] if isinstance(seed, int) else list(seed)
    if len(seeds) != len(plans):
        raise ValueError(f"{len(plans)} sequences need as many seeds, got {len(seeds)}")
    draws = [torch.Generator().manual_seed(each) for each in seeds]
    output = [torch.full((length,), network.codes) for length in lengths]
    how = _How(
        network.steps if steps is None else steps,
        network.temperature if temperature is None else temperature,
        network.guidance if guidance is None else guidance,
        network.audio_guidance if audio_guidance is None else audio_guidance,
        audio_in_text,
        every_step,
    )
    if how.steps < 1 or how.temperature < 0:
        raise ValueError(f"steps have to be 1 or more and temperature not negative, got {how.steps}, {how.temperature}")
    training = network.training
    network.eval()
    try:
        # Sequences with speech and without are different batches: the one needs both branches, the other one.
        hearing = [plan.audio is not None for plan in plans]
        batches = [
            (number, rows)
            for number in range(max(map(len, cuts)))
            for hears in (True, False)
            if (rows := [i for i, cut in enumerate(cuts) if number < len(cut) and hearing[i] == hears])
        ]
        total = len(batches) * how.steps
        for place, (number, rows) in enumerate(batches):
            pieces = [plans[i].cut(*cuts[i][number]) for i in rows]
            known = [output[i][slice(*cuts[i][number])] for i in rows]
            step_done = partial(_tell, on_step, place * how.steps, total)
            done = _unmask(network, pieces, known, [draws[i] for i in rows], how, step_done)
            step_done(how.steps)
            for i, tokens in zip(rows, done, strict=True):
                output[i][slice(*cuts[i][number])] = tokens
    finally:
        network.train(training)
    return output


def _tell(on_step: Callable[[int, int], None], before: int, total: int, step: int) -> None:
    on_step(before + step, total)


@dataclass(frozen=True)
class _How:
    steps: int
    temperature: float
    guidance: float
    audio_guidance: float
    audio_in_text: float
    every_step: bool


@dataclass(frozen=True)
class _Plan:
    """A wish in tokens.

    Attributes:
        tokens: N.
        texts: that hold somewhere.
        layout: (1, N), numbers are those of `texts`.
        directed: (N,) true where a text of the request holds.
        audio: (N steps, C) in step with the tokens, or None.
        heard: (N,) true where there is sound.
    """

    tokens: int
    texts: list[str]
    layout: Layout
    directed: Tensor
    audio: Tensor | None
    heard: Tensor

    @classmethod
    def of(cls, network: MotionTransformer, request: MotionRequest) -> "_Plan":
        audio, sounding = None, 0
        if request.audio is not None:
            reader = network.hearing.audio
            audio = torch.as_tensor(request.audio, dtype=torch.float32).cpu()[None]
            fps = (request.fps or reader.fps) if reader.kind == "handcrafted" else reader.steps * RATE
            if audio.ndim not in (3, 4) or not audio.shape[-2]:
                raise ValueError(
                    f"audio has to be (steps, channels) with a step at least, got {tuple(audio.shape[1:])}"
                )
            sounding = math.ceil(round(audio.shape[-2] / fps * RATE, 6))
        tokens = _tokens(request, sounding)
        if network.text is None and request.text is not None:
            raise ValueError("this network has no text branch: leave the text out")
        if audio is not None:
            audio = network.hearing.audio.align(audio, tokens, None, request.fps)[0]
        spans = read_spans(request.text, tokens)
        directed, heard = torch.zeros(tokens, dtype=torch.bool), torch.arange(tokens) < sounding
        texts, numbered = {SPEECH: 0}, []
        for first, end, text in spans:
            directed[first:end] = text != SPEECH
            numbered.append((first, end, texts.setdefault(text, len(texts))))
        layout = lay_out([numbered], [tokens])
        layout.which[0, (layout.which[0] == NONE) & heard] = 0
        return cls(tokens, list(texts), layout, directed, audio, heard)

    def cut(self, first: int, end: int) -> "_Plan":
        """The tokens from `first` to `end`."""
        audio = self.audio
        if audio is not None:
            steps = len(audio) // self.tokens
            audio = audio[first * steps : end * steps]
        return _Plan(
            end - first, self.texts, self.layout.cut(first, end), self.directed[first:end], audio, self.heard[first:end]
        )


def _tokens(request: MotionRequest, sounding: int) -> int:
    if request.seconds is not None:
        if not 0 < request.seconds < float("inf"):
            raise ValueError(f"seconds have to be above 0, got {request.seconds}")
        return max(1, math.ceil(round(request.seconds * RATE, 6)))
    if sounding:
        return sounding
    if request.text is not None and not isinstance(request.text, str):
        ends = [float(span[1]) for span in request.text if len(span) == 3]
        if ends and 0 < max(ends) < float("inf"):
            return max(1, round(max(ends) * RATE))
    raise ValueError("how long the motion shall be is not known: give seconds, audio or spans of text with their ends")


def _unmask(
    network: MotionTransformer,
    plans: list[_Plan],
    known: list[Tensor],
    draws: list[torch.Generator],
    how: _How,
    on_step: Callable[[int], None],
) -> list[Tensor]:
    """One window of some sequences: their tokens, of which those in `known` that are no mask stay."""
    device = next(network.parameters()).device
    lengths = [plan.tokens for plan in plans]
    size, mask = max(lengths), network.codes
    texts = list(dict.fromkeys(text for plan in plans for text in plan.texts))
    numbers = {text: number for number, text in enumerate(texts)}
    which = torch.full((len(plans), size), NONE)
    places, weight = torch.zeros(len(plans), size, 2), torch.zeros(len(plans), size)
    tokens, fixed = torch.full((len(plans), size), mask), torch.ones(len(plans), size, dtype=torch.bool)
    for row, (plan, own) in enumerate(zip(plans, known, strict=True)):
        table = torch.tensor([numbers[text] for text in plan.texts] + [NONE])  # -1 takes the last
        which[row, : plan.tokens] = table[plan.layout.which[0]]
        places[row, : plan.tokens] = plan.layout.places[0]
        weight[row, : plan.tokens] = (
            how.audio_guidance * plan.heard * torch.where(plan.directed, how.audio_in_text, 1.0)
        )
        tokens[row, : plan.tokens] = own
        fixed[row, : plan.tokens] = own != mask
    audio = None
    if plans[0].audio is not None:
        audio = pad_sequence([plan.audio for plan in plans if plan.audio is not None], batch_first=True).to(device)
    read: dict[str, Any] = {"places": places.to(device), "audio": audio}
    if network.text is not None:
        read |= {"text": network.read(texts, device), "which": which.to(device)}
    if len(set(lengths)) > 1:
        read["lengths"] = torch.tensor(lengths, device=device)
    read["guidance"] = Guidance(how.guidance, weight.to(device))
    unknown = (~fixed).sum(1)
    for step in range(1, how.steps + 1):
        if not how.every_step and not bool(((tokens == mask) & ~fixed).any()):
            break
        logits = network(tokens.to(device), **read).float().cpu()
        drawn, sureness = _draw(logits, lengths, draws, how.temperature, 1 - step / how.steps)
        hidden = (tokens == mask) & ~fixed
        tokens = torch.where(hidden, drawn, tokens)
        # Of the tokens that were hidden, the least sure are hidden again; padding and what was known never is.
        share = math.cos(math.pi / 2 * step / how.steps) if step < how.steps else 0.0
        remaining = (unknown * share).floor().long()
        rank = sureness.masked_fill(~hidden, float("inf")).argsort(1).argsort(1)
        tokens = tokens.masked_fill((rank < remaining[:, None]) & hidden, mask)
        on_step(step)
    return [row[:length] for row, length in zip(tokens, lengths, strict=True)]


def _draw(
    logits: Tensor, lengths: list[int], draws: list[torch.Generator], temperature: float, anneal: float
) -> tuple[Tensor, Tensor]:
    """A code for every token and how sure it is, (B, N) each, from logits (B, N, codes).

    Sureness is the log-probability of the drawn code, and Gumbel noise that fades from step to step, as in MaskGIT.
    Each sequence draws from its own stream for its own tokens.
    """
    if temperature == 0:
        best, codes = logits.log_softmax(-1).max(-1)
        return codes, best
    scaled = (logits / temperature).log_softmax(-1)
    noise, order = torch.zeros_like(scaled), torch.zeros(scaled.shape[:2])
    for row, (length, stream) in enumerate(zip(lengths, draws, strict=True)):
        noise[row, :length] = _gumbel(torch.rand(length, scaled.shape[2], generator=stream))
        order[row, :length] = _gumbel(torch.rand(length, generator=stream))
    codes = (scaled + noise).argmax(-1)
    sureness = scaled.gather(-1, codes[..., None])[..., 0] + temperature * anneal * order
    return codes, sureness


def _gumbel(uniform: Tensor) -> Tensor:
    return -(-(uniform.clamp(1e-9, 1 - 1e-7)).log()).log()
