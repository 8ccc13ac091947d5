"""Clips of body motion with what is said and done in them, and what a network of versa makes of the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from datamodules.clip import ClipInfo
from datamodules.clips import read_clips
from models.human.motion import FPS
from models.versa.generate import MotionRequest, generate_all
from models.versa.text import SPEECH
from models.versa.tokenizer import MotionTokenizer
from models.versa.transformer import MotionTransformer
from pretrained.exports import Export, load_network
from settings import ConfigError
from settings.device import device_of
from trainers.animation.hearing import layer_numbers, mean_layer
from trainers.run.exports import find_export
from trainers.versa.system import ActingOptions

WHOLE: Final = 0.9  # a caption that holds for so much of a clip is about all of it

Spans = list[tuple[float, float, str]]


@dataclass(frozen=True)
class Act:
    """A clip of body motion.

    Attributes:
        info: its clip.json.
        motion: (M, 263) at 20 fps.
        speech: arrays of its speech.npz, or None.
        audio: (N,) at 16 kHz, or None.
    """

    info: ClipInfo
    motion: np.ndarray
    speech: dict[str, np.ndarray] | None
    audio: np.ndarray | None

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.motion) / FPS

    @property
    def actions(self) -> list[dict[str, Any]]:
        """What is done in it, where that is known: name, side, direction, times, amount, start, end."""
        return list(self.info.extra.get("truth", {}).get("actions", []))

    @property
    def held_out(self) -> bool:
        """Whether it shows a combination that training does not."""
        return bool(self.info.extra.get("truth", {}).get("held_out", False))

    @property
    def text(self) -> str | None:
        """A caption of all of it, the first; None where there is none but that somebody speaks."""
        for caption in self.info.captions:
            if caption.text != SPEECH and caption.end - caption.start >= WHOLE * self.seconds:
                return caption.text
        return None

    @property
    def spans(self) -> Spans:
        """The first caption of each part of it that has some, in order, without overlap."""
        found: Spans = []
        for caption in sorted(self.info.captions, key=lambda one: one.start):
            whole = caption.end - caption.start >= WHOLE * self.seconds
            if caption.text == SPEECH or whole or (found and caption.start < found[-1][1] - 1e-6):
                continue
            found.append((caption.start, min(caption.end, self.seconds), caption.text))
        return found

    def part(self, motion: np.ndarray, action: dict[str, Any]) -> np.ndarray:
        """The frames of a motion in which an action of the clip belongs: its own span of text, else all."""
        middle = (action["start"] + action["end"]) / 2
        for start, end, _ in self.spans:
            if start <= middle < end:
                return motion[round(start * FPS) : max(round(start * FPS) + 1, round(end * FPS))]
        return motion


def load_acts(shards: str, ids: Sequence[str], keys: tuple[str, ...]) -> list[Act]:
    """Clips by their ids, with the keys they need beside motion.npz."""
    acts = []
    for info, values in read_clips(shards, keys, where={"id": list(ids)}):
        acts.append(
            Act(
                info,
                values["motion.npz"]["motion"],
                values.get("speech.npz"),
                values.get("audio.flac"),
            )
        )
    return acts


class Actor:
    """A trained generator of versa and its tokenizer.

    Args:
        export: of versa.text_motion or versa.audio_motion.
        device: cpu, cuda, or auto.
        tokenizer: the one it was trained on; left out, as its run says.

    Raises:
        ConfigError: its run does not say which tokenizer, or that is not there.
    """

    def __init__(self, export: Export, device: str = "auto", tokenizer: str | None = None):
        self.device = device_of(device)
        self.network = load_network(MotionTransformer, export).to(self.device)
        self._layers = layer_numbers(export.settings)
        name = tokenizer or export.settings.get("stage", {}).get("tokenizer")
        if name is None:
            raise ConfigError(
                f"{export.name} does not say which tokenizer it was trained on: give its whole run folder, or "
                "tokenizer=RUN"
            )
        try:
            found = find_export(name)
        except ConfigError as error:
            if tokenizer is not None:
                raise
            raise ConfigError(
                f"the tokenizer of {export.name}: {error}; where it was moved, give tokenizer=RUN"
            ) from None
        self.tokenizer = load_network(MotionTokenizer, found).to(self.device)

    def hear(self, act: Act) -> np.ndarray | None:
        """The clip's speech as the network reads it: hand-crafted features (T, 35), or a mean of layers (S, C)."""
        if act.speech is None or self.network.audio is None:
            return None
        if self.network.hearing.audio.kind == "handcrafted":
            return act.speech["handcrafted"]
        return mean_layer(act.speech, self._layers, act.info.id)

    def perform(
        self, requests: Sequence[MotionRequest], options: ActingOptions, seed: int, **more: Any
    ) -> list[np.ndarray]:
        """Motions (M, 263) for wishes, in batches of such with like length."""

        def report_step(step: int, steps: int) -> None:
            options.progress.say(f"making clips, step {step} of {steps}")

        order = sorted(range(len(requests)), key=lambda i: requests[i].seconds or 0)
        output: list[np.ndarray] = [np.zeros(0)] * len(requests)
        for start in range(0, len(order), options.batch):
            part = order[start : start + options.batch]
            tokens = generate_all(
                self.network, [requests[i] for i in part], seed=[seed + 7919 * i for i in part], steps=options.steps,
                guidance=options.guidance, on_step=report_step, **more,
            )  # fmt: skip
            for i, own in zip(part, tokens, strict=True):
                output[i] = self.decode(own)[: max(1, round((requests[i].seconds or 0) * FPS))]
            options.progress.advance(len(part), "clips made")
        return output

    @torch.no_grad()
    def decode(self, tokens: torch.Tensor) -> np.ndarray:
        """Tokens (N,) to motion (4 N, 263)."""
        return self.tokenizer.decode(tokens[None].to(self.device))[0].float().cpu().numpy()

    @torch.no_grad()
    def through_tokens(self, motion: np.ndarray) -> np.ndarray:
        """A motion (M, 263) to tokens and back: the best that can be made."""
        tokens = self.tokenizer.encode(torch.from_numpy(motion)[None].float().to(self.device))[0]
        return self.decode(tokens)[: len(motion)]

    def random(self, act: Act, seed: int) -> np.ndarray:
        """Tokens at random, as long as a clip."""
        count = -(-len(act.motion) // self.tokenizer.rate)
        tokens = torch.randint(self.tokenizer.codes, (count,), generator=torch.Generator().manual_seed(seed))
        return self.decode(tokens)[: len(act.motion)]
