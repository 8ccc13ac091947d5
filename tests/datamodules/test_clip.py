"""The clip schema: what goes in comes out, and what breaks the schema is named."""

import io

import numpy as np
import pytest

from datamodules.clip import BadSample, ClipInfo, check, decode, encode
from datamodules.keys import KEYS

INFO = ClipInfo(id="clip-0", source="a.mp4", end=2.0, fps=25, frames=50, sample_rate=16000, samples=32000)


def pose(frames: int = 50) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "keypoints": rng.random((frames, 134, 2), np.float32),
        "scores": rng.random((frames, 134), np.float32),
    }


def test_arrays_come_back_as_they_went_in_and_bytes_repeat() -> None:
    data = encode("pose.npz", pose())
    assert data == encode("pose.npz", pose())
    back = decode("pose.npz", data)
    check("pose.npz", back, INFO)
    np.testing.assert_array_equal(back["keypoints"], pose()["keypoints"])


def test_clip_json_comes_back() -> None:
    info = INFO.model_copy(
        update={"captions": [{"start": 0.0, "end": 1.0, "text": "Guten Tag, 世界"}], "consent": True}
    )
    back = decode("clip.json", encode("clip.json", ClipInfo.model_validate(info.model_dump())))
    assert back.captions[0].text == "Guten Tag, 世界"
    assert back.consent is True


def test_sound_comes_back_to_16_bit() -> None:
    audio = np.sin(np.arange(32000) / 20).astype(np.float32) * 0.5
    back = decode("audio.flac", encode("audio.flac", audio))
    check("audio.flac", back, INFO)
    np.testing.assert_allclose(back, audio, atol=1 / 32000)


def nan_pose() -> dict[str, np.ndarray]:
    value = pose()
    value["keypoints"][3, 4, 1] = np.nan
    return value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (nan_pose(), "pose.npz: NaN"),
        (pose(49), "keypoints has a wrong shape"),
        ({**pose(), "scores": np.full((50, 134), 1.5, np.float32)}, "scores out of range"),
        ({"keypoints": pose()["keypoints"]}, "scores is missing"),
        ({**pose(), "more": np.zeros(3)}, "unknown array more"),
        ({**pose(), "scores": np.zeros((50, 134), np.float64)}, "scores has a wrong type"),
    ],
)
def test_arrays_that_break_the_schema_are_named(value: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(BadSample, match=says) as error:
        check("pose.npz", value, INFO)
    assert error.value.clip_id == "clip-0"


@pytest.mark.parametrize("key", ["pose.npz", "audio.flac", "clip.json", "speech.npz"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_damaged_bytes_are_a_bad_sample(key: str, damage: str) -> None:
    whole = {
        "pose.npz": lambda: encode("pose.npz", pose()),
        "speech.npz": lambda: encode("speech.npz", {"handcrafted": np.zeros((50, 35), np.float32)}),
        "audio.flac": lambda: encode("audio.flac", np.zeros(32000, np.float32)),
        "clip.json": lambda: encode("clip.json", INFO),
    }[key]()
    data = {"cut": whole[: len(whole) // 3], "empty": b"", "text": b"not what it says"}[damage]
    with pytest.raises(BadSample, match=key.replace(".", r"\.")):
        decode(key, data, "clip-0")


def test_pickled_arrays_are_refused() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, keypoints=np.array([{"a": 1}], dtype=object), scores=np.zeros(3))
    with pytest.raises(BadSample, match=r"pose\.npz"):
        decode("pose.npz", buffer.getvalue())


def test_wrong_sound_is_named() -> None:
    with pytest.raises(BadSample, match="other length"):
        check("audio.flac", np.zeros(31999, np.float32), INFO)
    with pytest.raises(BadSample, match="not mono"):
        check("audio.flac", np.zeros((32000, 2), np.float32), INFO)


def test_an_unknown_key_is_a_mistake_of_the_code() -> None:
    with pytest.raises(KeyError, match=r"pose\.npz"):
        encode("poses.npz", {})


def test_every_array_says_what_it_means() -> None:
    assert all(field.meaning for key in KEYS.values() for field in key.arrays.values())
