"""Key points by DWPose: a person detector and a whole-body pose network, both public ONNX files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.human.keypoints import POINTS, from_coco_wholebody
from preprocessing.pose.dwpose_math import Window, decode_people, decode_simcc, letterbox
from preprocessing.pose.frames import ahead
from preprocessing.step import Draft
from pretrained.hub import HubError, download
from settings import ConfigError
from settings.ranges import Count, Fraction, Whole

REPOSITORY: Final = "yzd-v/DWPose"
DETECTOR: Final = "yolox_l.onnx"
POSE: Final = "dw-ll_ucoco_384.onnx"
_HELP: Final = (
    f"DWPose needs two files, {DETECTOR} and {POSE}, from https://huggingface.co/{REPOSITORY}; with a network they "
    f"are fetched by themselves, without one run `hf download {REPOSITORY} {DETECTOR} {POSE} --local-dir FOLDER` "
    "elsewhere and set pose.weights=FOLDER"
)


class DWPose:
    """Key points of the largest person with DWPose, in the 134 layout.

    Adds `pose.npz`, and shares `draft.extras["people"]` (n,), the number of people in every frame that was searched.
    A frame without a detected person is taken whole, as DWPose does. Scores above 1 are clipped.

    Args:
        weights: folder with the two ONNX files, or the hub name of a repository with them.
        detector: name of the detector's file in `weights`, or its path.
        pose: name of the pose network's file in `weights`, or its path.
        minimum_score: points with a lower score are stored as missing, in [0, 1].
        person_score: lowest score of a person's box.
        detect_every: search for people in every n-th frame and keep the box in between; 1 is DWPose's way.
        batch: frames that go through the networks at once, where the files allow it.
        smallest: people smaller than this share of the largest one's height are not counted as a second person.
        threads: CPU threads of each network; 0 leaves it to onnxruntime.
        device: "cpu", "cuda", or "auto" for a GPU where onnxruntime has one.
    """

    def __init__(
        self,
        weights: str = REPOSITORY,
        detector: str = DETECTOR,
        pose: str = POSE,
        minimum_score: Fraction = 0.1,
        person_score: Fraction = 0.3,
        detect_every: Count = 1,
        batch: Count = 8,
        smallest: Fraction = 0.4,
        threads: Whole = 0,
        device: str = "auto",
    ) -> None:
        if detect_every < 1 or batch < 1:
            raise ConfigError("pose detect_every and batch have to be at least 1")
        self.minimum_score, self.person_score, self.smallest = minimum_score, person_score, smallest
        self.detect_every, self.batch = detect_every, batch
        self._detector = _Network(_file(weights, detector), threads, device, (3, 640, 640), {"": (8400, 85)})
        self._pose = _Network(
            _file(weights, pose), threads, device, (3, 384, 288), {"simcc_x": (133, 576), "simcc_y": (133, 768)}
        )

    def __call__(self, draft: Draft) -> None:
        """Find the key points of every frame of the clip."""
        poses, people = [], []
        box: np.ndarray | None = None
        for first, frames in _batches(ahead(draft.frames(), lambda frame: frame, self.batch), self.batch):
            searched = [i for i in range(len(frames)) if (first + i) % self.detect_every == 0]
            found = dict(zip(searched, self._people([frames[i] for i in searched]), strict=True))
            windows = []
            for index, frame in enumerate(frames):
                if index in found:
                    box = _largest(found[index])
                    people.append(self._count(found[index]))
                height, width = frame.shape[:2]
                windows.append(Window.around(np.array([0, 0, width, height]) if box is None else box))
            poses.append(self._points(frames, windows))
        pose = np.concatenate(poses)
        draft.arrays["pose.npz"] = {"keypoints": pose[..., :2].copy(), "scores": pose[..., 2].copy()}
        draft.extras["people"] = np.array(people)

    def _people(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """Boxes and scores (N, 5) of the people in each frame."""
        if not frames:
            return []
        squares, scales = zip(*map(letterbox, frames), strict=True)
        (raw,) = self._detector(np.stack(squares))
        return [decode_people(one, scale, self.person_score) for one, scale in zip(raw, scales, strict=True)]

    def _count(self, boxes: np.ndarray) -> int:
        heights = boxes[:, 3] - boxes[:, 1]
        return int((heights >= self.smallest * heights.max()).sum()) if len(boxes) else 0

    def _points(self, frames: list[np.ndarray], windows: list[Window]) -> np.ndarray:
        """(B, 134, 3) of one person in each frame."""
        crops = np.stack([window.crop(frame) for window, frame in zip(windows, frames, strict=True)])
        points, scores = decode_simcc(*self._pose(crops))
        points = np.stack([window.to_frame(one) for window, one in zip(windows, points, strict=True)])
        points, scores = from_coco_wholebody(points, scores)
        height, width = frames[0].shape[:2]
        pose = np.empty((len(frames), POINTS, 3), np.float32)
        pose[..., :2], pose[..., 2] = points / (width, height), scores.clip(0, 1)
        pose[(pose[..., 2] < self.minimum_score) | (pose[..., 2] <= 0)] = (-1, -1, 0)
        return pose


class _Network:
    """An ONNX file with known inputs and outputs, run for as many pictures at once as it takes.

    Args:
        path: the file.
        threads: CPU threads, 0 for onnxruntime's choice.
        device: "cpu", "cuda" or "auto".
        takes: shape of one input.
        gives: name (or "" for the only one) and shape of one output, in the order wanted.
    """

    def __init__(
        self, path: Path, threads: int, device: str, takes: tuple[int, ...], gives: dict[str, tuple[int, ...]]
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        there = onnxruntime.get_available_providers()
        if device == "cuda" and "CUDAExecutionProvider" not in there:
            raise ConfigError(
                "pose.device=cuda: this onnxruntime has no CUDA; install onnxruntime-gpu, or set pose.device=cpu"
            )
        use_gpu = device in ("auto", "cuda") and "CUDAExecutionProvider" in there
        providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if use_gpu else ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime has a dozen kinds of its own for damaged files, with no common parent
            raise ConfigError(
                f"{path} is not an ONNX file that can be used ({str(error).splitlines()[0]}); {_HELP}"
            ) from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._input = inputs[0].name
        by_name = {output.name: output for output in outputs}
        wanted = [by_name.get(name) if name else outputs[0] for name in gives]
        known = [output for output in wanted if output is not None]
        if len(known) < len(gives) or not _fits(inputs[0].shape, takes) or len(inputs) != 1:
            raise ConfigError(f"{path} has other inputs or outputs than DWPose's file has; {_HELP}")
        if not all(_fits(output.shape, shape) for output, shape in zip(known, gives.values(), strict=True)):
            raise ConfigError(f"{path} gives other shapes than DWPose's file does; {_HELP}")
        self._outputs = [output.name for output in known]
        fixed = inputs[0].shape[0]
        self._at_once = fixed if isinstance(fixed, int) and fixed > 0 else None

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        """Outputs for a batch (B, ...), each (B, ...)."""
        count = self._at_once or len(batch)
        parts: list[list[np.ndarray]] = []
        for start in range(0, len(batch), count):
            part = batch[start : start + count]
            missing = count - len(part)
            if missing:
                part = np.concatenate([part, np.repeat(part[-1:], missing, 0)])
            results: list[Any] = self._session.run(self._outputs, {self._input: part})
            parts.append([result[: count - missing] for result in results])
        return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def _fits(shape: list[Any], wanted: tuple[int, ...]) -> bool:
    """Whether a shape after its batch axis is the wanted one, where it is stated at all."""
    return len(shape) == len(wanted) + 1 and all(
        a == b or not isinstance(a, int) for a, b in zip(shape[1:], wanted, strict=True)
    )


def _file(weights: str, name: str) -> Path:
    """Where an ONNX file is: at its own path, in a folder, or fetched from the hub."""
    for path in (Path(name).expanduser(), Path(weights).expanduser() / name):
        if path.is_file():
            return path
    folder = Path(weights).expanduser()
    if folder.is_dir() or weights.startswith((".", "/", "~")) or weights.count("/") != 1:
        raise ConfigError(f"no {name} in {weights}; {_HELP}")
    try:
        return download(weights, name)
    except HubError as error:
        raise ConfigError(f"{name} cannot be fetched from the hub's {weights} ({error}); {_HELP}") from None


def _largest(boxes: np.ndarray) -> np.ndarray | None:
    """The box with the largest area, None without boxes."""
    if not len(boxes):
        return None
    return boxes[(boxes[:, 2:4] - boxes[:, :2]).prod(1).argmax(), :4]


def _batches(frames: Iterator[np.ndarray], size: int) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Lists of up to `size` frames, each with the number of its first frame."""
    first, waiting = 0, []
    for frame in frames:
        waiting.append(frame)
        if len(waiting) == size:
            yield first, waiting
            first, waiting = first + size, []
    if waiting:
        yield first, waiting
