"""Figures of videos that stand on pretrained networks: those whose files are given."""

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from settings import ConfigError
from trainers.evaluation.comparison import Figure

WEIGHTS: Final = {
    "alexnet": "LPIPS",
    "inception": "FID",
    "i3d": "FVD",
    "arcface": "CSIM",
}
"""Networks by the name that `weights` of `trainers.evaluate` gives them, and the figure that each is for."""


class Pretrained:
    """Loads the networks that were given, once.

    Args:
        weights: file, folder or hub name of each, by the names of `WEIGHTS`.

    Raises:
        ConfigError: another name, or a file that cannot be used.
    """

    def __init__(self, weights: Mapping[str, str]):
        from metrics.fid import Inception
        from metrics.fvd import I3D
        from metrics.identity import ArcFace
        from metrics.lpips import lpips_network

        unknown = [name for name in weights if name not in WEIGHTS]
        if unknown:
            raise ConfigError(f"weights.{unknown[0]}: figures need weights of {', '.join(WEIGHTS)}")
        makers: dict[str, Any] = {"alexnet": lpips_network, "inception": Inception, "i3d": I3D, "arcface": ArcFace}
        self.networks = {name: makers[name](path) for name, path in weights.items()}

    @property
    def figures(self) -> dict[str, Figure]:
        """Title and meaning of each figure that can be taken; other weights than the published are named."""
        found = {}
        for name, meter in self.meters().items():
            better = "higher" if meter.higher_is_better else "lower"
            found[name] = Figure(meter.label, better, f"with {meter.source}")  # type: ignore[arg-type]
        return found

    @property
    def missing(self) -> list[str]:
        """Figures that cannot be taken, and the weights that each lacks."""
        return [f"{figure} (weights.{name})" for name, figure in WEIGHTS.items() if name not in self.networks]

    def meters(self) -> dict[str, Any]:
        """Fresh measures that share the networks."""
        import metrics
        from trainers.evaluation.per_clip import PerClip

        kinds: dict[str, Any] = {
            "alexnet": metrics.LPIPS,
            "inception": metrics.FID,
            "i3d": metrics.FVD,
            "arcface": metrics.CSIM,
        }
        return {WEIGHTS[name].lower(): PerClip(kinds[name](network)) for name, network in self.networks.items()}


def update(meters: Mapping[str, Any], generated: Tensor, truth: Tensor, pose: Tensor | None) -> None:
    """Add a clip's frames (T, 3, H, W) to measures that `Pretrained.meters` made."""
    from metrics.faces import five_points

    for name, meter in meters.items():
        if name in ("fid", "fvd", "kvd"):
            meter.update(generated, generated=True)
            meter.update(truth, generated=False)
        elif name == "lpips":
            meter.update(generated, truth)
        elif pose is not None:
            # The generated face is where the true one is: it was made to be.
            points = five_points(pose)
            meter.update(generated, truth[:1], points, points[:1])
