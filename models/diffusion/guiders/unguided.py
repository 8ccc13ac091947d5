"""No guidance: one pass with all conditions."""

from typing import Any

from torch import Tensor

from models.diffusion.guiders import Conditioned, Denoiser


class Unguided:
    """The network's prediction as it is."""

    def prepare(self, predict: Conditioned, conditions: Any) -> Denoiser:
        """A denoiser that asks once, with nothing left out."""

        def denoise(x: Tensor, levels: Tensor) -> Tensor:
            return predict(x, levels, conditions, {})

        return denoise
