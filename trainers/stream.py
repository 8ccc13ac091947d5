"""A picture that answers while you speak: `python -m trainers.stream run=RUN image=IMAGE audio=- output=OUT.mp4`."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from datamodules.media.container import MediaError
from settings import ConfigError, check, command, get_logger
from settings.command import value_of
from settings.output import OutputError, check_writable, faults_of
from settings.ranges import Count, NonNegative, Positive
from trainers.record import keys_of
from trainers.stages import STREAMERS

if TYPE_CHECKING:
    from trainers.streaming.sources import Source
    from trainers.streaming.stream import Counts, Stream

Rate = Annotated[int, Field(ge=1_000, le=1_000_000)]
SOUND_RATE: Final = 44_100
logger = get_logger(__name__)


def __getattr__(name: str) -> Any:
    """`Stream` and what comes of it, which bring torch: a command's help does without."""
    if name in ("Stream", "Frame", "StreamError"):
        from trainers.streaming import stream as inside

        return getattr(inside, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def stream(
    *,
    run: str,
    audio: str,
    output: str,
    live: bool | None = None,
    late: NonNegative = 0.4,
    piece: Positive = 0.04,
    silence_after: Positive = 0.5,
    sample_rate: Rate = 16_000,
    channels: Annotated[int, Field(ge=1, le=32)] = 1,
    microphone: str | None = None,
    seconds: Positive | None = None,
    room: Count = 8,
    device: str = "auto",
    **options: Any,
) -> "Counts":
    """Let a picture speak while sound is still coming (CA-15).

    Ends with the sound, after `seconds`, or by Ctrl-C or SIGTERM, which let what was heard be shown; a second one ends
    at once. A video is whole up to half a second before whatever ends the process. Frames are the same in whatever
    pieces the sound arrives; the picture moves in silence, too. Further options are those of the run's stage:
    `run=RUN --help` shows them.

    Args:
        run: a run folder, a saved network (export/), or a hub name like owner/name.
        audio: a sound or video file, - for standard input (a WAV, or plain 16-bit samples), or microphone.
        output: a file that ends in .mp4, - for standard output (the same mp4, frame by frame), or window.
        live: whether sound comes at the speed of speech, so that frames which come too late are left out; left out,
            true for -, microphone and window. A file is then read as if it were spoken.
        late: seconds that a frame may come after it is due; where a newer one waits, a later one is not made, and the
            one before stays. For live sound only.
        piece: seconds of sound that are read at once.
        silence_after: seconds without sound from - or microphone after which silence is heard in its place; more than
            who brings it keeps together.
        sample_rate: of plain samples from -, and what a microphone is asked for.
        channels: of plain samples from -.
        microphone: number of the microphone or a part of its name; left out, the system's own.
        seconds: of sound after which it ends; left out, with the sound.
        room: windows under way at most.
        device: cpu, cuda, or auto.
        options: those of the network's stage, in `trainers/<system>/system.py`.

    Returns:
        How many frames were made, and how many came too late.

    Raises:
        ConfigError: no such network, or values that make no sense.
        MediaError: a picture or sound that cannot be used.
        OutputError: a place that cannot be written to.
    """
    from trainers.animation.request import notice
    from trainers.streaming.loading import load_live, threads_of
    from trainers.streaming.outputs import output_of
    from trainers.streaming.stream import Stream

    given = {"run": run, "audio": audio, "output": output}
    from trainers.run.exports import find_export

    check({**options, **given}, keys_of(stream, STREAMERS, _known(find_export(run).stage)))
    if output not in ("-", "window"):
        check_writable(Path(output))
    is_live = (audio in ("-", "microphone") or output == "window") if live is None else live
    person = load_live(run, options, device)
    inputs = {**person.inputs, **_hash(audio)}
    metadata = {**notice(person.model, inputs, person.settings), "content": "video"}
    target = output_of(output, person.fps, SOUND_RATE, metadata)
    source = _source(audio, is_live, piece, silence_after, sample_rate, channels, microphone)
    made = Stream(
        person,
        late=late if is_live else None,
        room=room,
        sound_rate=SOUND_RATE,
        begin=threads_of(device),
        out=target.write,
    )
    with _until_told(source.stop):
        _run(made, source, target.close, seconds)
    _say(source, made.counts)
    return made.counts


def _run(made: "Stream", source: "Source", close: Callable[[], None], seconds: float | None) -> None:
    """Bring all sound to the stream; what was heard is shown and the output closed, whatever happens."""
    from trainers.streaming.outputs import OutputGone
    from trainers.streaming.pipeline import StreamError

    heard = 0.0
    try:
        try:
            for samples, rate, arrived in source.pieces():
                if seconds is not None:
                    samples = samples[: round((seconds - heard) * rate)]
                made.push(samples, rate, arrived)
                heard += len(samples) / rate
                if seconds is not None and heard >= seconds - 0.5 / rate:
                    source.stop()
                    break
        except MediaError:  # sound that breaks off: what was heard is shown
            made.finish()
            raise
        made.finish()
    except StreamError as error:
        cause = error.__cause__
        if isinstance(cause, OutputGone):
            logger.info("%s", cause)
            return
        raise cause if isinstance(cause, (ConfigError, MediaError, OSError)) else error from None
    finally:
        made.close()
        close()


def _source(
    audio: str, live: bool, piece: float, silence_after: float, rate: int, channels: int, microphone: str | None
) -> "Source":
    from trainers.streaming.sources import FileSource, MicrophoneSource, PipeSource

    if audio == "-":
        return PipeSource(sys.stdin.buffer, rate, channels, piece, silence_after)
    if audio == "microphone":
        return MicrophoneSource(microphone, rate, piece, silence_after)
    return FileSource(Path(audio), piece, live)


def _hash(audio: str) -> dict[str, str]:
    from trainers.animation.request import check_files, hashes

    if audio in ("-", "microphone"):
        return {}
    files = {"audio": Path(audio)}
    check_files(files)
    return hashes(files)


@contextmanager
def _until_told(stop: Callable[[], None]) -> Iterator[None]:
    """A while in which the first Ctrl-C or SIGTERM stops the sound, and the second ends the process at once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def told(number: int, frame: Any) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        stop()

    for number in before:
        signal.signal(number, told)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(source: "Source", counts: "Counts") -> None:
    """What did not go as it should, each in a line."""
    if counts.late:
        logger.warning("%d of %d frames came too late; the ones before were held", counts.late, counts.frames)
    if source.stalls:
        logger.warning(
            "no sound came %d times; %.1f s of silence were heard in its place", source.stalls, source.silence
        )
    if source.lost:
        logger.warning("%.1f s of sound are lost: the frames were not taken fast enough", source.lost)
    if counts.bad_samples:
        logger.warning("%d samples were no numbers and heard as silence", counts.bad_samples)
    if counts.rate_changes:
        logger.info("the sound changed its rate %d times", counts.rate_changes)


def _known(stage: str) -> str | None:
    return stage if stage in STREAMERS else None


OPTIONS: Final = keys_of(stream, STREAMERS)
"""The keys of all stages together."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `stream`; 0, or 2 with one line of explanation."""
    try:
        run = value_of(argv, OPTIONS, "run")
        stage = None
        if run is not None:
            from trainers.run.exports import stage_of  # brings torch, which a command's help does without

            stage = stage_of(run)
        target = keys_of(stream, STREAMERS, stage) if stage in STREAMERS else OPTIONS
        values = command(target, argv, prog="python -m trainers.stream")
        with faults_of(Path(values["output"])):
            counts = stream(**values)
    except (ConfigError, MediaError, OutputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    held = f", {counts.late} of them held" if counts.late else ""
    said = f"{values['output']}  {counts.frames} frames{held}, at most {counts.longest:.2f} s behind the sound"
    print(said, file=sys.stderr if values["output"] == "-" else sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
