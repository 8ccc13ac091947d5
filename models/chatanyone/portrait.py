"""Pictures that speak: the head's motion, the body's, frames and their faces, window after window (CA-4 to CA-15)."""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from models.chatanyone.body_motion import BodyMotion
from models.chatanyone.body_windows import BodyWindows
from models.chatanyone.face_motion import FaceMotion
from models.chatanyone.face_motion_audio import LOOK_BACK
from models.chatanyone.face_motion_space import HeadMotion
from models.chatanyone.face_refine import FaceRefiner
from models.chatanyone.generate import RATE, FaceWindows, Sampler, hear, spoken_frames
from models.chatanyone.grid import to_grid
from models.chatanyone.head import HeadTemplate
from models.chatanyone.puppet import Frames, Puppet, flat
from models.chatanyone.renderer import FrameMotion, Renderer

_TOGETHER: Final = 64  # windows whose speech is heard in one go
_SAME: Final = ("audio", "layer_channels", "fps", "window", "history", "look_ahead")


class Networks(NamedTuple):
    """What a portrait is made with.

    Attributes:
        template: the head template of all of them.
        face: speech to the head.
        body: head and speech to what else moves the renderer; None holds offsets, body and hands of the picture.
        renderer: moves the picture.
        refiner: makes faces anew; None leaves them as they are (ablation).
    """

    template: HeadTemplate
    face: FaceMotion
    body: BodyMotion | None
    renderer: Renderer
    refiner: FaceRefiner | None = None


class Person(NamedTuple):
    """Who is to speak.

    Attributes:
        image: (3, H, W) in [0, 1], as large as the renderer's frames.
        expression: (16,) coefficients of the head template.
        pose: (6,) of the head, heights of the picture.
        identity: (8,) whose head it is.
        hands: (42, 3) points of the hands as fractions of the picture, and score.
    """

    image: Tensor
    expression: Tensor
    pose: Tensor
    identity: Tensor
    hands: Tensor


class Portrait(Puppet):
    """One picture and one speech. Windows are made one after another; `render` and `refine` remember nothing.

    In whatever pieces the speech arrives the frames are the same: a window hears what lies within `span` and nothing
    else, its noise is a function of seed and number, and it goes on from the windows before it.

    Args:
        networks: all on one device.
        person: who speaks.
        seed: the same seed gives the same performance.
        steps: sampling steps of both diffusions; None takes each network's own.
        sampler: of both: "ddim", or "dpm", which needs fewer steps.
        guidance: weight of guidance by speech of both; None takes each network's own.
        expression_range: how far expression goes, in usual spreads (CA-5); None lets the network choose.
        pose_range: likewise of the head's pose.
        reference: (R, 16) coefficients whose style is taken over (CA-6).

    Raises:
        ValueError: networks that do not go together, a picture of another size, numbers that are not finite.
    """

    def __init__(
        self,
        networks: Networks,
        person: Person,
        *,
        seed: int = 0,
        steps: int | None = None,
        sampler: Sampler = "ddim",
        guidance: float | None = None,
        expression_range: float | None = None,
        pose_range: float | None = None,
        reference: Tensor | None = None,
    ):
        check_together(networks)
        self.networks = networks
        face, renderer = networks.face, networks.renderer
        self.fps, self.window, self.history, self.look_ahead = face.fps, face.window, face.history, face.look_ahead
        device = face.space.mean.device
        self._identity = person.identity.to(device).float()
        head = HeadMotion(*(part[None, None].to(device).float() for part in (person.expression, person.pose)))
        super().__init__(renderer, networks.refiner, person.image, self.project(head)[0, 0])
        pose = person.pose[None].to(self.device)
        reference = None if reference is None else reference[None]
        self._face = FaceWindows(
            face, pose,
            seed=seed, steps=steps, sampler=sampler, guidance=guidance,
            expression_range=expression_range, pose_range=pose_range, reference=reference,
        )  # fmt: skip
        self._hands = person.hands[None].to(self.device).float()
        self._body = None
        if networks.body is not None:
            self._body = BodyWindows(
                networks.body, self.source, self.heads, self._hands,
                seed=seed, steps=steps, sampler=sampler, guidance=guidance,
            )  # fmt: skip

    @property
    def number(self) -> int:
        """Number of the window that `move` makes next."""
        return self._face.number if self._body is None else self._body.number

    @property
    def sampling(self) -> dict[str, float]:
        """Steps and guidance of the head's motion, as they are."""
        return {"steps": self._face.steps, "guidance": self._face.guidance}

    def span(self, number: int) -> tuple[int, int]:
        """First sample at 16 kHz that a window hears, below 0 before the beginning, and the one behind its last."""
        first = number * self.window - self.history
        end = first + self.networks.face.heard
        return round(first / self.fps * RATE) - LOOK_BACK, round(end / self.fps * RATE)

    def hear(self, speech: Tensor, number: int, start: int = 0) -> Tensor:
        """What a window hears, (1, F, A).

        Args:
            speech: (N,) sound in [-1, 1] at 16 kHz; or layers (L, S, C) at 50 Hz, as the networks hear. Silence stands
                before and behind it.
            number: of the window.
            start: which sample of all the sound, or step of all the layers, `speech` begins with.
        """
        speech = torch.as_tensor(speech, dtype=torch.float32, device=self.device)[None]
        first = number * self.window - self.history
        return hear(self.networks.face, speech, first, self.networks.face.heard, start)

    def face(self, heard: Tensor) -> HeadMotion:
        """The head in the next window, of what it hears. The first half of `move`."""
        return self._face.next(heard)

    def body(self, heard: Tensor, head: HeadMotion) -> Frames:
        """All of the next window, of its head and what it hears. The second half of `move`."""
        heads = self.project(head)
        if self._body is not None:
            moves = self._body.next(heard, heads)
            return Frames(heads, moves.move, moves.hands, head)
        held = (
            part[:, None].expand(-1, heads.shape[1], *part.shape[1:]) for part in (*self.source.motion, self._hands)
        )
        *move, hands = held
        return Frames(heads, FrameMotion(*move), hands, head)

    def skip(self, part: Literal["face", "body"]) -> None:
        """Leave a window out that comes too late: the next one goes on from what was made last.

        Before the first there is nothing to go on from, so none is left out.
        """
        windows = self._face if part == "face" else self._body
        if windows is not None and windows.number:
            windows.number += 1

    def move(self, heard: Tensor) -> Frames:
        """What moves the frames of the next window."""
        return self.body(heard, self.face(heard))

    @torch.no_grad()
    def project(self, head: HeadMotion) -> Tensor:
        """Coefficients (1, W, ...) to key points on the renderer's grid (1, W, K, 3)."""
        template, renderer = self.networks.template, self.networks.renderer
        person = self._identity.expand(*head.pose.shape[:-1], -1)
        points = to_grid(template(head.expression, head.pose, person), renderer.width / renderer.height)
        return points if renderer.template_sha256 else flat(points)


def perform(portrait: Portrait, speech: Tensor, frames: int | None = None) -> Iterator[Frames]:
    """Windows of a portrait that speaks, from speech of which all is there.

    Args:
        portrait: that has not begun.
        speech: (N,) sound at 16 kHz, or layers (L, S, C).
        frames: how many; all that the speech lasts where None. The last window is cut.

    Raises:
        ValueError: speech of less than half a frame, or that is not finite.
    """
    face = portrait.networks.face
    speech = torch.as_tensor(speech, dtype=torch.float32, device=portrait.device)[None]
    length = spoken_frames(face, speech) if frames is None else frames
    if length < 1:
        raise ValueError("the speech is shorter than half a frame: there is nothing to generate")
    block = _TOGETHER * portrait.window
    for start in range(0, length, block):
        heard = hear(face, speech, start - portrait.history, portrait.history + block + portrait.look_ahead)
        for begin in range(start, min(start + block, length), portrait.window):
            window = portrait.move(heard[:, begin - start : begin - start + face.heard])
            yield window.first(length - begin)


def check_together(networks: Networks) -> None:
    """Raises ValueError for networks whose windows, speech or key points are not the same."""
    face, body = networks.face, networks.body
    for name in _SAME if body is not None else ():
        one, other = getattr(face, name), getattr(body, name)
        if one != other and not (name == "layer_channels" and face.audio == "mel"):
            raise ValueError(
                f"face_motion has {name}={one}, body_motion has {name}={other}: both have to hear and move in the same "
                "windows; train them with one setting"
            )
    points = networks.renderer.head_points
    if networks.template.points != points:
        raise ValueError(f"the head template has {networks.template.points} key points, the renderer takes {points}")
