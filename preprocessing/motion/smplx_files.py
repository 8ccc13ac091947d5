"""Clips from SMPL-X motion files as AMASS and BEAT2 have them, with sound and words that lie beside them.

| array | shape | |
|---|---|---|
| `poses` | (T, 165), also 156, 72 or 66 | axis-angle; the first 22 joints are the body in all of these |
| `trans` | (T, 3) | metres |
| `mocap_frame_rate` or `mocap_framerate` | | frames a second |
| `betas` | (K,) | shape; used with a model file only |
"""

from __future__ import annotations

import glob
import re
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from datamodules.clip import SAMPLE_RATE, Caption, ClipInfo
from datamodules.media.files import MediaError
from models.human.body import offsets_of
from models.human.body_model import BodyModelError, load_body_model
from models.human.motion import FPS, from_smplx, pose_of
from preprocessing.motion.clips import (
    LeftOut,
    Read,
    check_finite,
    encode_clip,
    pieces,
    samples_of,
    sound_values,
    speech_features,
    unreadable,
)
from preprocessing.motion.options import Options
from preprocessing.motion.words import Words, read_words
from preprocessing.sources.manifest import cut_spans, slug
from preprocessing.step import SourceFile
from preprocessing.videos.sound import Sound, read_sound
from settings import ConfigError
from settings.hashes import file_hash

WIDTHS: Final = (165, 156, 72, 66)
BETAS: Final = 300  # the most that any model file has
SHORT_OF: Final = 0.1  # seconds by which sound or words may end earlier or later than the motion without a word
FARTHEST: Final = 50.0  # metres that a body may move within a take; more are millimetres or centimetres
RATES: Final = ("mocap_frame_rate", "mocap_framerate", "fps")
SOUNDS: Final = (".wav", ".flac", ".mp3")
SOUND_FOLDERS: Final = ("wave16k", "wav", "audio")  # beside the folder of the motion, as in BEAT2
WORD_FOLDERS: Final = ("textgrid", "TextGrid")


def read_smplx_file(job: tuple[SourceFile, str], options: Options) -> Read:
    """Every clip of one file (VA-1).

    Args:
        job: the file, and its split.
        options: of the import.
    """
    source, split = job
    read = Read(source.name)
    try:
        parameters, fps = load_parameters(source.path)
        up = options.up if options.up != "auto" else up_of(parameters)
        offsets = _offsets(options.model, parameters.get("betas")) if options.model else None
        motion = from_smplx(parameters, fps, up=up, offsets=offsets)
        _read_pieces(read, source, split, options, motion, {"frame_rate": fps, "up": up})
    except LeftOut as error:
        read.leave_out(source.name, error)
    return read


def load_parameters(path: Path) -> tuple[dict[str, np.ndarray], float]:
    """`poses` (T, P), `trans` (T, 3), `betas` where there are any, and frames a second, of one file. Raises LeftOut."""
    found: dict[str, np.ndarray] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            rate = next((name for name in RATES if name in archive.files), None)
            for name in ("poses", "trans", "betas", rate):
                if name is not None and name in archive.files:
                    found[name] = archive[name]
    except Exception as error:  # zipfile, zlib and numpy each raise kinds of their own for damaged files
        raise unreadable(error) from None
    missing = [name for name in ("poses", "trans") if name not in found]
    if missing or rate is None:
        raise LeftOut("missing_key", ", ".join([*missing, *([] if rate else [" or ".join(RATES[:2])])]))
    poses, trans, fps = found["poses"], found["trans"], found[rate]
    if poses.ndim != 2 or poses.shape[1] not in WIDTHS or poses.dtype.kind != "f":
        raise LeftOut(
            "wrong_shape",
            f"poses is {poses.shape} {poses.dtype}, float (frames, {' or '.join(map(str, WIDTHS))}) is wanted",
        )
    if trans.shape != (len(poses), 3) or trans.dtype.kind != "f":
        raise LeftOut("wrong_shape", f"trans is {trans.shape} {trans.dtype}, float ({len(poses)}, 3) is wanted")
    if fps.size != 1 or fps.dtype.kind not in "fiu" or not 0 < float(fps.reshape(())) < np.inf:
        raise LeftOut("wrong_rate", f"{rate} is {fps!r}"[:80])
    if len(poses) < 2:
        raise LeftOut("too_short", f"{len(poses)} frame")
    check_finite("poses", poses[:, :66])
    check_finite("trans", trans)
    if "betas" in found:
        if found["betas"].dtype.kind not in "fiu":
            raise LeftOut("wrong_shape", f"betas holds {found['betas'].dtype}, no numbers")
        check_finite("betas", found["betas"].reshape(1, -1))
    if (far := float(np.ptp(trans, axis=0).max())) > FARTHEST or np.abs(trans).max() > 10 * FARTHEST:
        raise LeftOut("wrong_unit", f"trans moves by {far:.0f}, up to {np.abs(trans).max():.0f}: metres are wanted")
    # An axis-angle of more than two turns is no joint's; arms that hang have more than that in degrees.
    turned = np.linalg.norm(poses[:, 3:66].reshape(len(poses), -1, 3), axis=-1).max()
    if turned > 4 * np.pi:
        raise LeftOut("wrong_unit", f"poses turns a joint by {turned:.1f}: radians are wanted, these may be degrees")
    return {name: found[name] for name in ("poses", "trans", "betas") if name in found}, float(fps.reshape(()))


def up_of(parameters: dict[str, np.ndarray]) -> str:
    """`y` or `z`: the axis along which the pelvis stands upright in the mean over time.

    Raises:
        LeftOut: neither is clearly that, as for somebody who lies or hangs upside down.
    """
    rotations, _ = pose_of({"poses": parameters["poses"][:, :66], "trans": parameters["trans"]})
    _, y, z = rotations[:, 0, :, 1].mean(0).tolist()
    if max(y, z) < 0.5 or abs(y - z) < 0.2:
        raise LeftOut("unknown_up", f"the pelvis points {y:.2f} along y and {z:.2f} along z; say it with up=y or up=z")
    return "y" if y > z else "z"


def _read_pieces(
    read: Read, source: SourceFile, split: str, options: Options, motion: np.ndarray, extra: dict[str, Any]
) -> None:
    sound, words = _sound(read, source.path), _words(read, source.path)
    frames = len(motion)
    for what, seconds in (
        ("sound lasts", None if sound is None else sound.end / SAMPLE_RATE),
        ("words last", None if words is None else words.seconds),
    ):
        whole = len(motion) / FPS
        if seconds is None or abs(seconds - whole) < SHORT_OF:
            continue
        said = f"the {what} {seconds:.2f} s, the motion lasts {whole:.2f} s: "
        if seconds > whole:
            read.warnings.append(said + "what stands behind the motion's end is left out")
            continue
        cut = options.when_shorter == "cut"
        read.warnings.append(
            said + ("motion cut to them" if cut else "kept whole, with silence behind; when_shorter=cut cuts it")
        )
        frames = min(frames, int(seconds * FPS + 1e-6)) if cut else frames
    sha256 = file_hash(source.path)
    for number, (start, stop) in enumerate(pieces(frames, options.min_clip_seconds, options.max_clip_seconds)):
        begin, end = start / FPS, stop / FPS
        more = dict(extra)
        if words is not None:
            more |= {"captions": "words", "phonemes": cut_spans(words.phonemes, begin, end)}
        samples = samples_of(stop - start)
        info = ClipInfo(
            id=f"{slug(source)}-{number:03d}",
            source=source.name,
            sha256=sha256,
            start=begin,
            end=end,
            fps=float(FPS),
            frames=stop - start,
            sample_rate=None if sound is None else SAMPLE_RATE,
            samples=None if sound is None else samples,
            speaker=source.row.get("speaker"),
            language=options.language,
            captions=[Caption(**span) for span in cut_spans(words.captions if words else [], begin, end)],
            licence=options.licence,
            split=split,
            extra=more,
        )
        values: dict[str, Any] = {"motion.npz": {"motion": motion[start:stop]}}
        if sound is not None:
            values |= sound_values(sound.read(samples_of(start), samples), stop - start, speech_features(options))
        try:
            read.clips.append(encode_clip(info, values))
        except LeftOut as error:
            read.leave_out(info.id, error)
    if sound is not None:
        sound.close()


def speaker_of(name: str) -> str | None:
    """Who moves, by the file's name: BEAT2's `2_scott_0_1_1`, AMASS' `<set>/<subject>/<take>_stageii`; else None."""
    parts = Path(name).with_suffix("").parts
    beat = re.fullmatch(r"\d+_([A-Za-z]+)(?:_\d+){3}", parts[-1])
    if beat:
        return beat[1]
    if len(parts) > 2 and parts[-1].endswith(("_poses", "_stageii")):
        return "/".join(parts[-3:-1])
    return None


def _beside(path: Path, endings: tuple[str, ...], folders: tuple[str, ...]) -> Path | None:
    places = [path.parent, *(path.parent.parent / folder for folder in folders)]
    found: dict[tuple[int, str], Path] = {}
    for place in places:
        for file in sorted(place.glob(f"{glob.escape(path.stem)}.*")) if place.is_dir() else ():
            if file.stem == path.stem and file.is_file():
                found.setdefault((places.index(place), file.suffix.lower()), file)
    wanted = ((number, ending) for number in range(len(places)) for ending in endings)
    return next((found[key] for key in wanted if key in found), None)


def _sound(read: Read, path: Path) -> Sound | None:
    file = _beside(path, SOUNDS, SOUND_FOLDERS)
    if file is None:
        return None
    try:
        sound = read_sound(file, Fraction(0), read.warnings)
    except MediaError as error:
        read.warnings.append(f"{error}; taken without sound")
        return None
    if sound is None:
        read.warnings.append(f"{file.name} holds no sound")
    return sound


def _words(read: Read, path: Path) -> Words | None:
    file = _beside(path, (".textgrid",), WORD_FOLDERS)
    if file is None:
        return None
    try:
        return read_words(file)
    except ValueError as error:
        read.warnings.append(f"{error}; taken without words")
        return None


def _offsets(model: Path, betas: np.ndarray | None) -> np.ndarray:
    joints, shapes = rest_of(model)
    shape = np.zeros(0) if betas is None else np.asarray(betas, np.float64).reshape(-1)[: shapes.shape[-1]]
    return offsets_of(torch.from_numpy(joints + shapes[..., : len(shape)] @ shape)).numpy()


@cache
def rest_of(model: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rest joints (22, 3) of a model file's mean shape, and what every shape coefficient adds to them (22, 3, K).

    Raises:
        ConfigError: no such file, or not an SMPL-X model.
    """
    try:
        body = load_body_model(model, betas=BETAS)
    except BodyModelError as error:
        raise ConfigError(f"model={model}: {error}") from None
    shapes = body.get_buffer("joint_shapes")[:22, :, : body.betas]
    return body.joints[:22].double().numpy(), shapes.double().numpy()
