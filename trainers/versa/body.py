"""Text and speech to poses of the person in a picture: VersaAnimator's motion half, used by all that needs poses."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from datamodules.media.files import MediaError
from models.human.keypoints import FACE, LEFT_HAND, LEFT_WRIST, NOSE, RIGHT_HAND, RIGHT_WRIST
from models.human.motion import FPS as MOTION_FPS
from models.human.motion import recover_joints
from models.human.placing import onto_person
from models.versa.generate import Text, generate
from models.versa.token2pose import PoseBank
from models.versa.tokenizer import MotionTokenizer
from models.versa.transformer import MotionTransformer
from pretrained.exports import Export, load_frozen, load_network
from settings import ConfigError
from settings.progress import Progress
from trainers.animation.fitting import Fitted, in_fractions, square
from trainers.animation.hearing import handcrafted, layers_wanted
from trainers.run.exports import find_export

TOKENIZER: Final = "versa.tokenizer"


class BodyMotion:
    """Motion tokens of text and speech, real poses from a bank, brought onto the person in a picture (VA-9, VA-10).

    Args:
        export: the trained text-to-motion or audio-to-motion network.
        device: where it runs.
    """

    def __init__(self, export: Export, device: torch.device):
        self.export, self.device = export, device
        self.network = load_network(MotionTransformer, export).to(device)
        self.networks = {"motion": export.sha256}

    def use(self, tokenizer: str | None, bank: str | None) -> None:
        """Take a tokenizer, that of the run where None, and a bank of real poses, none where None.

        Raises:
            ConfigError: they are not there, or do not fit.
        """
        self.tokenizer = self._tokenizer(tokenizer)
        self.bank = self._bank(bank)

    @property
    def listens_to_layers(self) -> bool:
        """Whether it hears layers of a pretrained speech network."""
        return self.network.audio is not None and self.network.hearing.audio.kind == "layers"

    def hearing(self, heard: bool, speech: str | None) -> Callable[[np.ndarray], np.ndarray]:
        """What makes features of a sound (N,) at 16 kHz, before anything else is begun.

        Args:
            heard: whether there is a sound.
            speech: folder or hub name of the speech network, for networks that listen to its layers.

        Raises:
            ConfigError: a sound for a network of text, or another speech network.
        """
        if heard and self.network.audio is None:
            raise ConfigError(
                f"{self.export.name} was trained on text alone; for speech take a run of versa.audio_motion"
            )
        channels = self.network.hearing.audio.channels if heard and self.listens_to_layers else 0
        layers = layers_wanted(self.export, speech, channels, self.device.type)
        return layers or partial(handcrafted, fps=MOTION_FPS)

    def poses(
        self,
        text: Text | None,
        features: np.ndarray | None,
        seconds: float | None,
        person: np.ndarray,
        size: tuple[int, int],
        **options: Any,
    ) -> Fitted:
        """Poses (T, 134, 3) at 25 fps of the person in a picture, at least as long as asked for.

        Args:
            text: for all of the time, or spans of it.
            features: of speech, as `hearing` makes them; None where there is none.
            seconds: how long; None is as long as speech or text.
            person: (134, 3) the person in the picture, as fractions of it and scores.
            size: height and width of the picture in pixels.
            options: seed, steps and guidance of `models.versa.generate.generate_all`.

        Raises:
            ConfigError: texts that cannot be had.
            MediaError: the picture shows neither a head nor anything that the poses have, too.
        """
        try:
            with Progress("generating motion tokens", pause=10.0) as bar:
                tokens = generate(self.network, text, features, seconds, fps=MOTION_FPS, on_step=bar.reach, **options)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        with torch.no_grad():
            motion = self.tokenizer.decode(tokens[None].to(self.device))[0].cpu()
        return poses_of(tokens, recover_joints(motion), self.bank, person, size)

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
        self.networks["tokenizer"] = export.sha256
        return tokenizer

    def _bank(self, given: str | None) -> PoseBank | None:
        if given is None:
            return None
        bank, sha256 = load_frozen(
            PoseBank, "bank", given, "a token2pose bank (python -m preprocessing.bank makes one)"
        )
        if bank.codes != self.tokenizer.codes or bank.tokenizer not in ("", self.networks["tokenizer"]):
            raise ConfigError(f"bank={given} was made with another tokenizer; make it again with this one")
        self.networks["bank"] = sha256
        return bank


def poses_of(
    tokens: Tensor, joints: Tensor, bank: PoseBank | None, first_pose: np.ndarray, size: tuple[int, int]
) -> Fitted:
    """Poses (T, 134, 3) at 25 fps of the person in a picture, as fractions of it and scores.

    Args:
        tokens: (N,) of the motion.
        joints: (M, 22, 3) of it at 20 fps.
        bank: real poses; None projects the joints.
        first_pose: (134, 3) the person in the picture, likewise.
        size: height and width of the picture in pixels.

    Raises:
        MediaError: the picture shows neither a head nor anything that the poses have, too.
    """
    if bank is None:
        bank = PoseBank(codes=int(tokens.max()) + 1)
    output = bank.look_up(tokens, joints)
    own, own_scores = square(first_pose, size)
    try:
        placed = onto_person(output.keypoints, output.scores, own, own_scores)
    except ValueError as error:
        raise MediaError(f"{error}, so it does not tell where and how large the person is") from None
    return Fitted(in_fractions(*_with_own(placed.keypoints, placed.scores.clone(), own, own_scores), size), placed.how)


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
