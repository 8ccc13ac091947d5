"""Where one shot ends and the next begins."""

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detectors import ContentDetector

from settings.ranges import NonNegative, Pixels


class ContentScenes:
    """Hard cuts by PySceneDetect's content detector: mean change of hue, saturation and brightness between two frames.

    Slow fades are not found. One instance watches one video; it keeps one small frame.

    Args:
        threshold: change (0-255) from which on two frames belong to two shots.
        side: frames are looked at with this longest side, in pixels.
    """

    def __init__(self, threshold: NonNegative = 27.0, side: Pixels = 256) -> None:
        self.threshold, self.side = threshold, side
        self.restart()

    def restart(self) -> None:
        """Forget the frames so far: another video begins."""
        # The detector's own shortest scene would hide cuts; short pieces are dropped later, and counted.
        self._detector = ContentDetector(threshold=self.threshold, min_scene_len=0)
        self._seen = 0

    def __call__(self, rgb: np.ndarray) -> bool:
        """Whether a new shot begins with this frame, (H, W, 3) uint8."""
        height, width = rgb.shape[:2]
        scale = min(1.0, self.side / max(height, width))
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        cuts = self._detector.process_frame(FrameTimecode(self._seen, 25.0), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        self._seen += 1
        return bool(cuts) and self._seen > 1
