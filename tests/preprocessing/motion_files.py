"""Small motion data sets in the layouts of AMASS, BEAT2 and HumanML3D, made up, for tests of the importers."""

import wave
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from models.human.motion import from_smplx
from tests.models.body_motions import parameters

Z_UP = Rotation.from_matrix([[1, 0, 0], [0, 0, -1], [0, 1, 0]])


def write_smplx(path: Path, seconds: float = 3.0, fps: float = 30.0, seed: int = 0, up: str = "y", **change) -> None:
    """An npz of SMPL-X parameters; `change` replaces arrays, None leaves one out."""
    values = parameters(seconds, fps, seed)
    orient, trans = Rotation.from_rotvec(values["global_orient"]), values["transl"]
    if up == "z":
        orient, trans = Z_UP * orient, Z_UP.apply(trans)
    hands = np.zeros((len(trans), 99))
    arrays = {
        "poses": np.concatenate([orient.as_rotvec(), values["body_pose"], hands], 1).astype(np.float32),
        "trans": trans,
        "betas": np.zeros(300, np.float32),
        "mocap_frame_rate": np.array(int(fps)),
        "gender": np.array("neutral"),
        **change,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def write_wav(path: Path, seconds: float, rate: int = 16_000) -> np.ndarray:
    """A tone of 220 Hz whose loudness grows; gives it back, (N,) in [-1, 1]."""
    time = np.arange(round(seconds * rate)) / rate
    sound = np.sin(2 * np.pi * 220 * time) * time / seconds * 0.8
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(sound * 32767).astype("<i2").tobytes())
    return sound


def write_grid(path: Path, seconds: float, tiers: dict[str, list[tuple[float, float, str]]]) -> None:
    """A TextGrid in Praat's full text form."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {seconds}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, spans) in enumerate(tiers.items(), 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {seconds}", f"        intervals: size = {len(spans)}"]
        for place, (start, end, text) in enumerate(spans, 1):
            lines += [f"        intervals [{place}]:", f"            xmin = {start}", f"            xmax = {end}"]
            lines += [f'            text = "{text}"']
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_humanml3d(folder: Path, names: dict[str, tuple[str, float]]) -> dict[str, np.ndarray]:
    """A HumanML3D folder of motions: split and seconds by name; gives the motions back."""
    for part in ("new_joint_vecs", "texts"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    motions = {}
    for seed, (name, (_, seconds)) in enumerate(names.items()):
        motions[name] = from_smplx(parameters(seconds, seed=seed), 20.0)
        np.save(folder / "new_joint_vecs" / f"{name}.npy", motions[name])
        text = f"a person walks in a circle {seed}#a/DET person/NOUN walk/VERB#0.0#0.0\nsomeone bows.#someone#0.5#1.5\n"
        (folder / "texts" / f"{name}.txt").write_text(text, encoding="utf-8")
    for split in ("train", "val", "test"):
        listed = [name for name, (of, _) in names.items() if of == split]
        (folder / f"{split}.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
    return motions
