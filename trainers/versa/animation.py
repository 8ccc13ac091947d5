"""Text and speech to poses of the whole body with VersaAnimator's motion half (VA-9, VA-10)."""

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor

from datamodules.media.files import SAMPLE_RATE, MediaError
from datamodules.media.picture import read_image
from models.human.keypoints import FACE, LEFT_HAND, LEFT_WRIST, NECK, NOSE, RIGHT_HAND, RIGHT_WRIST
from models.human.motion import FPS as MOTION_FPS
from models.human.motion import recover_joints
from models.human.retarget import lengths_of, retarget, target_of
from models.versa.generate import generate
from models.versa.token2pose import FPS, PoseBank
from models.versa.tokenizer import MotionTokenizer
from models.versa.transformer import MotionTransformer
from pretrained.exports import Export, load_frozen, load_network
from settings import ConfigError
from settings.device import device_of
from settings.progress import Progress
from trainers.animation.files import PoseAnimation, write_animation
from trainers.animation.frame_size import frame_size
from trainers.animation.hearing import handcrafted, layers_wanted
from trainers.animation.request import (
    Request,
    check_files,
    detect_first_pose,
    hashes,
    read_first_pose,
    read_speech,
    video_size,
)
from trainers.run.exports import find_export
from trainers.versa.system import BodyOptions
from trainers.versa.timed_text import read_texts

TOKENIZER: Final = "versa.tokenizer"


class VersaAnimator:
    """Motion tokens from text and speech, real poses from a bank, brought onto the person in the picture.

    Without a bank the motion's joints are projected; face and hands are then the picture's own, carried along by nose
    and wrists. Any picture will do, of the head alone as of the whole body: what is missing there is outside the frame
    (VA-16).

    Args:
        export: the trained text-to-motion or audio-to-motion network.
        fps: frames a second that were asked for; poses come at 25.
        device: where it runs; `auto` is a GPU where there is one.

    Raises:
        ConfigError: another frame rate.
    """

    def __init__(self, export: Export, fps: float | None = None, device: str = "auto"):
        self.export = export
        self.device = device_of(device)
        self.network = load_network(MotionTransformer, export).to(self.device)
        if fps not in (None, FPS):
            raise ConfigError(f"fps={fps:g}: {export.name} makes poses at {FPS:g} frames a second; leave fps out")

    def animate(self, options: BodyOptions) -> PoseAnimation:
        """Generate and write what was asked for."""
        if options.audio is None and options.text is None:
            raise ConfigError("give audio=FILE to speak to, or text=WORDS, or both")
        if options.audio is not None and self.network.audio is None:
            raise ConfigError(
                f"{self.export.name} was trained on text alone; for speech take a run of versa.audio_motion"
            )
        tokenizer = self._tokenizer(options.tokenizer)
        bank = self._bank(options.bank, tokenizer)
        hearing = self._hearing(options)
        request, text = self._request(options), read_texts(options.text)
        try:
            with Progress("generating motion tokens", pause=10.0) as bar:
                tokens = generate(
                    self.network,
                    text,
                    hearing(request.audio) if options.audio else None,
                    options.seconds,
                    seed=options.seed,
                    steps=options.steps,
                    guidance=options.guidance,
                    fps=MOTION_FPS,
                    on_step=bar.reach,
                )
        except ValueError as error:
            raise ConfigError(str(error)) from None
        with torch.no_grad():
            motion = tokenizer.decode(tokens[None].to(self.device))[0].cpu()
        poses = poses_of(tokens, recover_joints(motion), bank, request.first_pose, (request.height, request.width))
        seconds = options.seconds or len(request.audio) / SAMPLE_RATE
        if not seconds and isinstance(text, list):
            seconds = max(end for _, end, _ in text)
        frames = max(1, math.ceil(round(seconds * FPS, 6)))  # the last token may reach further
        return write_animation(request, poses[:frames], FPS, self._model)

    @property
    def _model(self) -> dict[str, str]:
        return {"name": self.export.name, "stage": self.export.stage, "sha256": self.export.sha256}

    def _tokenizer(self, given: str | None) -> MotionTokenizer:
        name = given or self.export.settings.get("stage", {}).get("tokenizer")
        if name is None:
            raise ConfigError(
                f"{self.export.name} does not say which motion tokenizer it was trained on: give tokenizer=RUN (a run "
                f"folder, saved network or hub name of {TOKENIZER})"
            )
        export = find_export(name)
        if export.stage != TOKENIZER:
            raise ConfigError(f"tokenizer={name} is a network of {export.stage}; one of {TOKENIZER} is needed")
        tokenizer = load_network(MotionTokenizer, export).to(self.device)
        if tokenizer.codes != self.network.codes:
            raise ConfigError(
                f"tokenizer={name} has {tokenizer.codes} codes, {self.export.name} was trained on {self.network.codes}"
            )
        self._tokenizer_sha256 = export.sha256
        return tokenizer

    def _bank(self, given: str | None, tokenizer: MotionTokenizer) -> PoseBank | None:
        if given is None:
            return None
        bank, _ = load_frozen(PoseBank, "bank", given, "a token2pose bank (python -m preprocessing.bank makes one)")
        if bank.codes != tokenizer.codes or bank.tokenizer not in ("", self._tokenizer_sha256):
            raise ConfigError(f"bank={given} was made with another tokenizer; make it again with this one")
        return bank

    def _request(self, options: BodyOptions) -> Request:
        if options.image is None and options.pose is None:
            raise ConfigError("give image=PICTURE of the person, or pose=FILE")
        files = {"image": options.image, "audio": options.audio, "pose": options.pose}
        check_files(files)
        speech, sound = (np.zeros(0, np.float32), None) if options.audio is None else read_speech(options.audio)
        picture = None if options.image is None else read_image(options.image)
        if options.pose is not None:
            first_pose = read_first_pose(options.pose, face=False)
        else:
            first_pose = detect_first_pose(picture, options.image)  # type: ignore[arg-type]
        shape = frame_size(options.pose) if picture is None else picture.shape[:2]  # type: ignore[arg-type]
        height, width = video_size(shape, options.size)
        steps = self.network.steps if options.steps is None else options.steps
        guidance = self.network.guidance if options.guidance is None else options.guidance
        return Request(
            picture, first_pose, speech, sound, height, width, options.out, options.seed, steps, guidance,
            hashes(files), {name: value for name in ("text", "speech") if (value := getattr(options, name))},
        )  # fmt: skip

    def _hearing(self, options: BodyOptions) -> Callable[[np.ndarray], np.ndarray]:
        """What makes features of a sound, before anything else is begun."""
        reader = self.network.hearing.audio if options.audio is not None else None
        channels = reader.channels if reader is not None and reader.kind == "layers" else 0
        layers = layers_wanted(self.export, options.speech, channels, self.device.type)
        return layers or partial(handcrafted, fps=MOTION_FPS)


def poses_of(
    tokens: Tensor, joints: Tensor, bank: PoseBank | None, first_pose: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Poses (T, 134, 3) at 25 fps of the person in a picture, as fractions of it and scores.

    Args:
        tokens: (N,) of the motion.
        joints: (M, 22, 3) of it at 20 fps.
        bank: real poses; None projects the joints.
        first_pose: (134, 3) the person in the picture, likewise.
        size: height and width of the picture in pixels.

    Raises:
        MediaError: the picture shows nothing that tells the person's size.
    """
    person = torch.from_numpy(first_pose).float()
    square = torch.tensor([size[1], size[0]], dtype=torch.float32)
    if bank is None:
        bank = PoseBank(codes=int(tokens.max()) + 1)
    output = bank.look_up(tokens, joints)
    there = person[:, 2] > 0
    own = torch.where(there[:, None], person[:, :2] * square, -1.0)
    source = lengths_of(output.keypoints, output.scores)
    try:
        target = target_of(own, person[:, 2], source)
    except ValueError as error:
        raise MediaError(f"{error}, so it does not tell how large the person is") from None
    keypoints = retarget(output.keypoints, output.scores, target, neck=_neck(own, there), source=source)
    keypoints, scores = _with_own(keypoints, output.scores.clone(), own, person[:, 2])
    poses = torch.cat([keypoints / square, scores[..., None]], -1)
    return torch.where(scores[..., None] > 0, poses, torch.tensor([-1.0, -1.0, 0.0])).numpy().astype(np.float32)


def _neck(own: Tensor, there: Tensor) -> Tensor:
    """Where the person's neck is, (2,) pixels; below the face where it is not seen."""
    if there[NECK]:
        return own[NECK]
    face = own[FACE][there[FACE]]
    middle, height = face.mean(0), face[:, 1].max() - face[:, 1].min()
    return middle + torch.tensor([0.0, 1.0]) * height


def _with_own(keypoints: Tensor, scores: Tensor, own: Tensor, own_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Face and hands that the poses lack taken from the picture, each carried along by nose and wrist (ours)."""
    for root, part in ((NOSE, FACE), (LEFT_WRIST, LEFT_HAND), (RIGHT_WRIST, RIGHT_HAND)):
        lacking = (scores[:, part] == 0).all(1) & (scores[:, root] > 0)
        if not lacking.any() or own_scores[root] <= 0:
            continue
        offsets = own[part] - own[root]
        if part != FACE:  # a hand turns with the forearm
            elbow = root - 1
            turn = _turn(own[root] - own[elbow], keypoints[:, root] - keypoints[:, elbow])
            offsets = (turn @ offsets.T).transpose(1, 2) if own_scores[elbow] > 0 else offsets[None]
        carried = keypoints[:, [root]] + offsets
        keypoints[:, part] = torch.where(lacking[:, None, None], carried, keypoints[:, part])
        scores[:, part] = torch.where(lacking[:, None], own_scores[part], scores[:, part])
    return keypoints, scores


def _turn(before: Tensor, after: Tensor) -> Tensor:
    """(T, 2, 2) rotations from one direction (2,) to others (T, 2)."""
    angle = torch.atan2(after[:, 1], after[:, 0]) - torch.atan2(before[1], before[0])
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)
