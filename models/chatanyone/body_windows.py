"""Motion of body and hands from a trained diffusion, window after window beside the face's (CA-7, CA-15)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.chatanyone.body_motion import BodyConditions, BodyMotion
from models.chatanyone.body_motion_space import BodyMoves
from models.chatanyone.generate import LARGEST, SAMPLERS, Sampler, check_finite, evaluating, window_noise
from models.chatanyone.renderer import FrameMotion, SourcePicture
from models.diffusion.guiders import Guider
from models.diffusion.guiders.classifier_free import ClassifierFree
from models.diffusion.guiders.unguided import Unguided


class BodyWindows:
    """Makes one window after another from the face's; what it holds between them does not grow.

    The noise of a window is a function of the seed, the row and the window's number alone, and not the face's.

    Args:
        network: a trained diffusion; runs where its weights are.
        source: what the renderer knows of the pictures.
        heads: (B, K, 3) key points of the pictures' heads without their offset, on the renderer's grid.
        hands: (B, 42, 3) points of the pictures' hands, as fractions of the picture, and score.
        seed: the same seed gives the same motion.
        steps: sampling steps; None takes the network's.
        sampler: "ddim", or "dpm", which needs fewer steps.
        guidance: weight of classifier-free guidance by speech; None takes the network's.

    Raises:
        ValueError: shapes that do not fit, or numbers that are not finite.
    """

    def __init__(
        self,
        network: BodyMotion,
        source: SourcePicture,
        heads: Tensor,
        hands: Tensor,
        *,
        seed: int = 0,
        steps: int | None = None,
        sampler: Sampler = "ddim",
        guidance: float | None = None,
    ):
        self.network, self.seed, self.number = network, seed, 0
        device = network.space.hand_mean.device
        move = FrameMotion(*(part.to(device).float() for part in source.motion))
        self.picture = BodyMoves(move, hands.to(device).float())
        self._heads = heads.to(device).float()
        self._appearance = source.appearance.to(device).float()
        for name, found, wanted in (
            ("the renderer has numbers of movement", move.movement[0].numel(), network.movement_channels),
            ("the picture has numbers of appearance", self._appearance.shape[1], network.appearance_channels),
        ):
            if found != wanted:
                raise ValueError(
                    f"{name}: {found}, this network was trained with {wanted}: give the renderer it goes with"
                )
        check_finite("heads", self._heads)
        size = len(self._heads)
        self.steps = network.sampling_steps if steps is None else steps
        self.guidance, self.sampler = network.guidance if guidance is None else guidance, SAMPLERS[sampler]
        self._known = network.space.encode_picture(self._heads, self.picture)
        still = network.space.encode_heads(self._heads[:, None], self._heads)
        self._faces = still.expand(-1, network.preceding, -1)
        self._before = torch.zeros(size, network.preceding, network.space.channels, device=device)

    @torch.no_grad()
    def next(self, heard: Tensor, heads: Tensor) -> BodyMoves:
        """The next window.

        Args:
            heard: (B, `network.heard`, A) from `generate.hear`.
            heads: (B, W, K, 3) key points of the window's heads without their offset, on the renderer's grid.

        Returns:
            What moves the renderer in each of the W frames.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        network, size = self.network, len(self._heads)
        if heard.shape[:2] != (size, network.heard):
            raise ValueError(f"a window hears ({size}, {network.heard}, A), got {tuple(heard.shape)}")
        if heads.shape != (size, network.window, *self._heads.shape[1:]):
            wanted = (size, network.window, *self._heads.shape[1:])
            raise ValueError(f"a window has heads {wanted}, got {tuple(heads.shape)}")
        check_finite("speech", heard)
        check_finite("heads", heads)
        device = self._heads.device
        faces = torch.cat([self._faces, network.space.encode_heads(heads.to(device).float(), self._heads)], 1)
        noise = [
            window_noise(self.seed, row, self.number, network.window, network.space.channels, "body/")
            for row in range(size)
        ]
        begun = torch.full((size,), self.number > 0, device=device)
        given = BodyConditions(heard, faces, self._appearance, self._known, self._before, begun)
        with evaluating(network):
            x0 = self._denoise(torch.stack(noise).to(device), given)
        self._faces = faces[:, -network.preceding :]
        self._before = torch.cat([self._before, x0], 1)[:, -network.preceding :]
        self.number += 1
        return network.space.decode(x0, self.picture)

    def _denoise(self, noise: Tensor, given: BodyConditions) -> Tensor:
        network = self.network
        plain = self.guidance == 1 or not network.use_audio
        guider: Guider = Unguided() if plain else ClassifierFree(speech=self.guidance)
        mask = network.space.mask

        def predict(x: Tensor, levels: Tensor, conditions: BodyConditions, left_out: Mapping[str, Tensor]) -> Tensor:
            output = network(x, levels, conditions, left_out.get("speech"))
            return network.x0(output, x, levels).clamp(-LARGEST, LARGEST) * mask

        return self.sampler(guider.prepare(predict, given), network.noise, self.steps).run(noise)
