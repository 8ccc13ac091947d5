"""Figures of videos beyond pixels: those of pretrained networks whose files are given, and those of faces."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from torch import Tensor

from settings import ConfigError
from trainers.evaluation.comparison import Figure
from trainers.evaluation.faces import DETECTOR, EVERY, FaceFinder, face_box, face_crop, in_widths

WEIGHTS: Final[dict[str, dict[str, str]]] = {
    "alexnet": {"lpips": "LPIPS"},
    "inception": {"fid": "FID"},
    "i3d": {"fvd": "FVD", "kvd": "KVD", "fid_i3d": "FID (I3D)"},
    "arcface": {"csim": "CSIM"},
    "deep3d": {"efid": "E-FID"},
}
"""Networks by the name that `weights` of `trainers.evaluate` gives them, and the figures that each is for."""
EXPRESSION: Final = "expression"
FACE: Final = "face_"
"""Before a figure: of the face crop (MMGT-23)."""
ON_FACES: Final = ("psnr", "ssim", "lpips", "fid", "fvd", "kvd", "fid_i3d")


class Pretrained:
    """Loads the networks that were given, once.

    Args:
        weights: file, folder or hub name of each, by the names of `WEIGHTS`.
        others: names that are somebody else's, for the message.

    Raises:
        ConfigError: another name, or a file that cannot be used.
    """

    def __init__(self, weights: Mapping[str, str], others: Sequence[str] = ()):
        from metrics import expression, fid, fvd, lpips
        from pretrained.faces import ArcFace

        unknown = [name for name in weights if name not in WEIGHTS]
        if unknown:
            raise ConfigError(f"weights.{unknown[0]}: figures need weights of {', '.join([*WEIGHTS, *others])}")
        makers: dict[str, Any] = {
            "alexnet": lpips.lpips_network,
            "inception": fid.Inception,
            "i3d": fvd.I3D,
            "arcface": ArcFace,
            "deep3d": expression.Deep3D,
        }
        self.networks = {name: makers[name](path) for name, path in weights.items()}
        self.faces = FaceFinder()

    @property
    def figures(self) -> dict[str, Figure]:
        """Title and meaning of each figure that can be taken; other weights than the published are named."""
        found = {}
        for name, meter in self.meters().items():
            if name.startswith(FACE):
                found[name] = _of_faces(name, meter)
                continue
            better = "higher" if meter.higher_is_better else "lower"
            meaning = f"with {meter.source}"
            if name == EXPRESSION:
                meaning = f"squared Frechet distance of brows, eyes and lips on a face held still, by {DETECTOR}, cm^2"
            if name in (EXPRESSION, "efid"):
                meaning += f"; faces found in every {EVERY}th frame"
            found[name] = Figure(meter.label, better, meaning)  # type: ignore[arg-type]
        return found

    @property
    def missing(self) -> list[str]:
        """Figures that cannot be taken, and the weights that each lacks."""
        lacking = [(name, figures) for name, figures in WEIGHTS.items() if name not in self.networks]
        return [f"{', '.join(figures.values())} (weights.{name})" for name, figures in lacking]

    def meters(self) -> dict[str, Any]:
        """Fresh measures that share the networks."""
        import metrics
        from trainers.evaluation.per_clip import PerClip

        kinds: dict[str, Any] = {
            "lpips": metrics.LPIPS,
            "fid": metrics.FID,
            "fvd": metrics.FVD,
            "kvd": metrics.KVD,
            "fid_i3d": metrics.I3DFID,
            "csim": metrics.CSIM,
            "efid": metrics.EFID,
        }
        output = {
            figure: PerClip(kinds[figure](network))
            for name, network in self.networks.items()
            for figure in WEIGHTS[name]
        }
        faces = {"psnr": metrics.PSNR(), "ssim": metrics.SSIM()}
        faces |= {
            figure: kinds[figure](network)
            for name, network in self.networks.items()
            for figure in WEIGHTS[name]
            if figure in ON_FACES
        }
        output |= {f"{FACE}{name}": PerClip(meter) for name, meter in faces.items()}
        return output | {EXPRESSION: PerClip(metrics.ExpressionDistance(DETECTOR))}

    def update(self, meters: Mapping[str, Any], generated: Tensor, truth: Tensor, pose: Tensor | None = None) -> None:
        """Add a clip's frames (T, 3, H, W) to measures that `meters` made.

        Args:
            meters: of one system.
            generated, truth: (T, 3, H, W) uint8 or float in [0, 1].
            pose: (T, 134, 3) of the true frames, where the generated heads are meant to be where the true ones are.
        """
        from models.human.aligned_face import five_of, five_points

        some, true_some = generated[::EVERY], truth[::EVERY]
        made_faces, true_faces = self.faces(some), self.faces.of_truth(truth)
        self._faces(meters, generated, truth, true_faces)
        for name, meter in meters.items():
            if name.startswith(FACE):
                continue
            if name in ("fid", "fvd", "kvd", "fid_i3d"):
                meter.update(generated, generated=True)
                meter.update(truth, generated=False)
            elif name == "efid":
                meter.update(some, made_faces, generated=True)
                meter.update(true_some, true_faces, generated=False)
            elif name == EXPRESSION:
                meter.update(in_widths(made_faces, some), generated=True)
                meter.update(in_widths(true_faces, true_some), generated=False)
            elif name == "lpips":
                meter.update(generated, truth)
            elif pose is not None:
                points = five_points(pose)
                meter.update(generated, truth[:1], points, points[:1])
            else:
                meter.update(some, truth[:1], five_of(made_faces[..., :2]), five_of(true_faces[:1, :, :2]))

    def _faces(self, meters: Mapping[str, Any], generated: Tensor, truth: Tensor, faces: np.ndarray) -> None:
        """Add both videos' crops of the place where the true face is; a clip without one adds nothing."""
        box = face_box(faces, truth.shape[3] / truth.shape[2])
        if box is None:
            return
        crop, true_crop = face_crop(generated, box), face_crop(truth, box)
        for name in ON_FACES:
            meter = meters.get(f"{FACE}{name}")
            if meter is None:
                continue
            if name in ("psnr", "ssim", "lpips"):
                meter.update(crop, true_crop)
            else:
                meter.update(crop, generated=True)
                meter.update(true_crop, generated=False)


def _of_faces(name: str, meter: Any) -> Figure:
    """Title and meaning of a figure on face crops."""
    figure = name.removeprefix(FACE)
    title = meter.label if hasattr(meter.metric, "label") else figure.upper()
    source = f" with {meter.source}" if hasattr(meter.metric, "source") else ""
    return Figure(
        f"{title}, face",
        "higher" if meter.higher_is_better else "lower",
        f"the same on the square around the true face of each clip{source}; the face by {DETECTOR}",
    )
