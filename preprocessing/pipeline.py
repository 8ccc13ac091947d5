"""One video through all steps: decode, scenes, cut, pose, face, SMPL-X, speech, quality, crop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from datamodules.clip import SAMPLE_RATE, Caption, ClipInfo
from preprocessing.options import Options
from preprocessing.sources.discovery import readable
from preprocessing.sources.manifest import cut_extra, cut_spans, slug
from preprocessing.step import Draft, Drop, SourceFile, Step
from preprocessing.steps import CROP, FACE, POSE, QUALITY, SCENES, SMPLX, SPEECH
from preprocessing.videos.clock import Clock
from preprocessing.videos.cut import Piece, cut
from preprocessing.videos.decode import SHORT_OF, PastEnd, SourceVideo
from preprocessing.videos.seek import video_seconds
from preprocessing.videos.span import Span
from settings import ConfigError, build
from settings.hashes import file_hash


@dataclass
class Dropped:
    """A clip that will not be in the data set, and why.

    Attributes:
        clip: its id.
        start, end: seconds of the source.
        reason: one of `preprocessing.step.REASONS`.
        detail: the figure that decided.
        figures: quality figures that were known by then.
    """

    clip: str
    start: float
    end: float
    reason: str
    detail: str
    figures: dict[str, float | None] = field(default_factory=dict)


class Pipeline:
    """The steps of one process, built once and used for many videos.

    Args:
        options: what to do.

    Raises:
        settings.ConfigError: a step's options are wrong, or what it needs is missing.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.clock = Clock()
        self._scenes = SCENES.build(options.scenes)
        named = [
            ("pose", POSE.build(options.pose)),
            ("face", FACE.build(options.face)),
            ("smplx", SMPLX.build(options.smplx)),
        ]
        named += [("speech", SPEECH.build(value)) for value in options.speech]
        named += [("quality", QUALITY.build(options.quality)), ("crop", CROP.build(options.crop))]
        self._side: Literal["longest", "shortest"] = "shortest" if named[-1][1] is not None else "longest"
        self._steps: list[tuple[str, Step]] = [(name, step) for name, step in named if step is not None]

    def clips(
        self,
        source: SourceFile,
        split: str = "train",
        warnings: list[str] | None = None,
        cut_short: list[str] | None = None,
    ) -> Iterator[Draft | Dropped]:
        """Yield every clip of a video as it is finished, kept or dropped; one clip is in memory at a time.

        Args:
            source: the video.
            split: which split its clips belong to.
            warnings: what was wrong with the file but could be mended is appended here.
            cut_short: where the span reached past the end of the video is appended here.

        Raises:
            datamodules.media.files.MediaError: the file cannot be used.
        """
        options, clock = self.options, self.clock
        if (late := self._past_end(source)) is not None:
            yield late
            return
        try:
            opened = SourceVideo(source.path, options.fps, options.size, clock, self._side, source.span, source.crop)
        except PastEnd as error:
            yield _behind(source, str(error))
            return
        with opened as video:
            with clock.step("decode"):
                sha256 = _sha256(source.path)
            with closing(video.slots()) as slots:
                for piece in cut(slots, self._scenes, options.fps, options.max_clip_seconds, clock):
                    yield self._finish(piece, video, source, split, sha256)
            if warnings is not None:
                warnings += video.warnings
            if cut_short is not None and video.ends_early is not None:
                cut_short.append(video.ends_early)

    def _past_end(self, source: SourceFile) -> Dropped | None:
        """Where spans must not reach past the end: one that does."""
        if self.options.when_past_end != "drop" or source.span is None or source.span.end is None:
            return None
        end = video_seconds(source.path)
        if source.span.end <= end + float(SHORT_OF):
            return None
        return _behind(source, f"the span ends at {source.span.end:g} s, the video at {end:.2f} s")

    def _finish(self, piece: Piece, video: SourceVideo, source: SourceFile, split: str, sha256: str) -> Draft | Dropped:
        draft = self._draft(piece, video, source, split, sha256)
        info = draft.info
        try:
            piece.check_length(self.options.min_clip_seconds, self.options.fps, self.options.when_cut)
            for name, step in self._steps:
                with self.clock.step(name, frames=piece.frames):
                    step(draft)
        except Drop as drop:
            return Dropped(info.id, info.start, info.end, drop.reason, drop.detail, _plain(draft.figures))
        info.extra = {**info.extra, "quality": _plain(draft.figures)}
        if video.facts:
            info.extra["decoded"] = dict(video.facts)
        return draft

    def _draft(self, piece: Piece, video: SourceVideo, source: SourceFile, split: str, sha256: str) -> Draft:
        fps, row = self.options.fps, source.row
        start = round(video.start + piece.start / fps, 6)
        end = round(video.start + (piece.start + piece.frames) / fps, 6)
        samples = round(piece.frames / fps * SAMPLE_RATE)
        audio = None
        if video.sound is not None:
            with self.clock.step("decode"):
                audio = video.sound.read(round(piece.start / fps * SAMPLE_RATE), samples)
        crop = None if video.crop is None else [round(edge, 6) for edge in video.crop]
        info = ClipInfo(
            id=f"{slug(source)}-{piece.number:03d}",
            source=readable(source.path.name) if Path(source.name).is_absolute() else source.video,
            sha256=sha256,
            start=start,
            end=end,
            fps=fps,
            frames=piece.frames,
            width=video.width,
            height=video.height,
            sample_rate=None if audio is None else SAMPLE_RATE,
            samples=None if audio is None else samples,
            speaker=row.get("speaker"),
            language=row.get("language"),
            captions=[Caption(**span) for span in cut_spans(row.get("captions", []), start, end)],
            licence=row.get("licence"),
            consent=row.get("consent"),
            split=split,
            extra=cut_extra(row.get("extra", {}), start, end) | ({} if crop is None else {"crop": crop}),
        )
        shown = piece.source_indices() + video.first_frame()
        return Draft(info, piece.video, fps, audio, source, source_frames=shown, crop=video.crop)


def build_pipeline(options: Options) -> Pipeline:
    """Build the steps; a fault in that concerns all videos alike, so it is one of the config.

    Raises:
        settings.ConfigError: names the step that cannot be built and why.
    """
    try:
        return Pipeline(options)
    except ConfigError:
        raise
    # A missing library, model file or right shows as an error of any kind, and each would fail every video.
    except Exception as error:
        raise ConfigError(f"the steps cannot be built: {type(error).__name__}: {error}") from error


def process_video(path: str | Path | SourceFile, split: str = "train", **options: Any) -> list[Draft | Dropped]:
    """Put one video through the steps in this process, without writing anything.

    Args:
        path: the video, or a `SourceFile` with a manifest row.
        split: what `clip.json` says.
        options: as in `preprocessing.options.Options`, input and output left out.

    Returns:
        Every clip in order: a `Draft` with its arrays, or a `Dropped` with the reason.

    Raises:
        datamodules.media.files.MediaError: the file cannot be used.
        settings.ConfigError: wrong options.
    """
    source = path if isinstance(path, SourceFile) else SourceFile(Path(path), Path(path).name, Path(path).parent)
    pipeline = build_pipeline(build({"input": str(source.path), "output": ".", **options}, Options))
    return list(pipeline.clips(source, split))


def _behind(source: SourceFile, detail: str) -> Dropped:
    """A span of which nothing is taken."""
    span = source.span or Span()
    return Dropped(f"{slug(source)}-000", span.start, span.start if span.end is None else span.end, "past_end", detail)


def _sha256(path: Path) -> str:
    """Of a file; read once for all of its spans that come one after the other."""
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _digest(path: Path, size: int, changed: int) -> str:
    return file_hash(path)


def _plain(figures: dict[str, float]) -> dict[str, float | None]:
    """Figures as JSON has them: rounded, None for what is no number."""
    rounded = {name: round(float(value), 6) for name, value in sorted(figures.items())}
    return {name: value if math.isfinite(value) else None for name, value in rounded.items()}
