"""The step that fits SMPL-X bodies."""

from __future__ import annotations

import numpy as np

from models.human.body_model import WHERE, BodyModelError, load_body_model
from preprocessing.smplx.fit import fit
from preprocessing.step import Draft, Drop
from settings import ConfigError
from settings.ranges import Fraction, NonNegative, Positive


class FitSmplx:
    """SMPL-X parameters of every frame, fitted to the clip's 2D key points.

    Adds `smplx.npz`; needs `pose.npz` and no picture. Nothing is random and one thread computes, so that the same clip
    gives the same bytes. What is not seen keeps the pose of somebody who stands at rest. Frames that fit badly are
    kept, with their `error`; the share of them stands in the clip's figures (`smplx_poor`).

    Args:
        model: SMPLX_NEUTRAL.npz, or the folder that holds it; from https://smpl-x.is.tue.mpg.de, free for research
            after registration.
        focal: focal length of the camera in widths of the frame; null takes the frame's diagonal.
        minimum_score: key points with a lower score are taken as missing, in [0, 1].
        max_error: a frame fits badly when its mean 2D error is larger, as a share of the body's height.
        max_poor: clips with a larger share of such frames are dropped (`smplx_fit`); null drops none.
        effort: share of the usual iterations; 0.5 is twice as fast and a third less exact.
    """

    def __init__(
        self,
        model: str | None = None,
        focal: Positive | None = None,
        minimum_score: Fraction = 0.3,
        max_error: NonNegative = 0.03,
        max_poor: Fraction | None = None,
        effort: Positive = 1.0,
    ) -> None:
        if model is None:
            raise ConfigError(
                "smplx=fit wants a body model: smplx.model=PATH of SMPLX_NEUTRAL.npz or of its folder; "
                f"get it at {WHERE}, free for research after registration"
            )
        for name, good, wanted, value in (
            ("focal", focal is None or focal > 0, "above 0", focal),
            ("minimum_score", 0 <= minimum_score <= 1, "a score in 0 to 1", minimum_score),
            ("max_error", max_error > 0, "above 0", max_error),
            ("effort", effort > 0, "above 0", effort),
            ("max_poor", max_poor is None or 0 <= max_poor <= 1, "a share in 0 to 1, or null", max_poor),
        ):
            if not good:
                raise ConfigError(f"smplx {name} has to be {wanted}, got {value}")
        try:
            self._model = load_body_model(model)
        except BodyModelError as error:
            raise ConfigError(f"smplx model: {error}") from None
        self.focal, self.minimum_score = focal, minimum_score
        self.max_error, self.max_poor, self.effort = max_error, max_poor, effort

    def __call__(self, draft: Draft) -> None:
        """Fit the clip.

        Raises:
            Drop: too many frames fit badly.
        """
        pose = draft.arrays["pose.npz"]
        found = fit(
            self._model,
            pose["keypoints"],
            pose["scores"],
            draft.info.width,
            draft.info.height,
            draft.fps,
            self.focal,
            self.minimum_score,
            self.effort,
        )
        draft.arrays["smplx.npz"] = found.arrays
        error = found.arrays["error"]
        poor = float((error > self.max_error).mean())
        draft.figures |= {"smplx_error": float(np.median(error)), "smplx_poor": poor}
        if self.max_poor is not None and poor > self.max_poor:
            raise Drop(
                "smplx_fit",
                f"the body is off by more than {self.max_error:.1%} of its height in {poor:.0%} of the frames, "
                f"at most {self.max_poor:.0%}",
            )
