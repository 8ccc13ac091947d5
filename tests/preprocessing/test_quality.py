"""The quality filter: every reason by a clip that has just that fault, and nothing dropped without it."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

from datamodules.clip import ClipInfo
from datamodules.media.files import read_audio
from models.human.keypoints import FACE, HANDS, INNER_LIP_BOTTOM, POINTS
from preprocessing.quality import Quality, measure
from preprocessing.speech.activity import clipped_share, lip_audio_correlation, loudness, speech_share
from preprocessing.speech.silero import WINDOW, silero_share, speech_chances
from preprocessing.step import Draft, Drop, SourceFile
from preprocessing.synthetic.speakers import speaker as someone
from preprocessing.synthetic.speech import RATE as SYNTHESIS
from preprocessing.synthetic.utterance import utterance

MEDIA = Path(os.environ.get("COSPEECH_MEDIA", "nowhere"))
RATE, FPS, FRAMES = 16_000, 25, 200


def syllables(seconds: float = FRAMES / FPS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sound with the ups, downs and changing colours of speech, and its loudness at every frame."""
    random = np.random.default_rng(seed)
    count = round(seconds * RATE)
    steps = round(seconds * 5)
    loud = np.interp(np.arange(count) / RATE * 5, np.arange(steps), random.choice([0.0, 0.003, 0.3, 1.0], steps))
    pitch = np.interp(np.arange(count) / RATE * 5, np.arange(steps), random.uniform(300, 2500, steps))
    audio = 0.3 * loud * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) + 1e-4 * random.standard_normal(count)
    return audio.astype(np.float32), loud[np.arange(FRAMES) * RATE // FPS]


def speaker(**changes) -> Draft:
    """A clip of a talking person whom no filter minds: head and body in the picture, lips that go with the sound."""
    audio, loud = syllables()
    pose = np.full((FRAMES, POINTS, 2), 0.5, np.float32)
    pose[:, :18] = np.linspace((0.4, 0.3), (0.6, 0.9), 18)
    pose[:, FACE, 0], pose[:, FACE, 1] = 0.5, 0.3
    pose[:, 24 + 8, 1], pose[:, 24 + 17 : 24 + 27, 1] = 0.4, 0.2
    pose[:, INNER_LIP_BOTTOM, 1] += 0.02 * loud
    info = ClipInfo(id="a", source="a.mp4", end=FRAMES / FPS, fps=FPS, frames=FRAMES, width=512, height=512)
    clip = Draft(info=info, video=b"", fps=FPS, audio=audio, source=SourceFile(Path("a.mp4"), "a.mp4", Path(".")))
    clip.arrays["pose.npz"] = {"keypoints": pose, "scores": np.full((FRAMES, POINTS), 0.9, np.float32)}
    clip.extras["people"] = np.ones(8, int)
    for name, value in changes.items():
        setattr(clip, name, value)
    return clip


def reason(clip: Draft, **options) -> str | None:
    try:
        Quality(**options)(clip)
    except Drop as drop:
        return drop.reason if drop.detail else "the figure that decided is not named"
    return None


def hide(clip: Draft, points: slice | int | list[int], frames: slice) -> Draft:
    clip.arrays["pose.npz"]["scores"][frames, points] = 0
    clip.arrays["pose.npz"]["keypoints"][frames, points] = -1
    return clip


def test_a_speaker_is_kept_with_all_figures():
    clip = speaker()
    assert reason(clip) is None
    want = {
        "pose_confidence", "face", "face_size", "face_whole", "body", "legs", "hands", "left_hand", "right_hand",
        "frontal", "shoulders", "jumps", "body_jumps", "jitter", "lip_movement", "people", "more_people", "loudness",
        "snr", "clipping", "speech", "lip_audio_correlation",
    }  # fmt: skip
    assert set(clip.figures) == want
    assert all(np.isfinite(value) for value in clip.figures.values())
    assert clip.figures["face_size"] == pytest.approx(0.2)
    assert clip.figures["lip_audio_correlation"] > 0.5


def test_more_than_one_person():
    clip = speaker()
    clip.extras["people"] = np.array([1, 1, 2, 1, 1, 2, 1, 1])
    assert reason(clip) == "more_than_one_person"
    assert reason(clip, max_more_people=0.3) is None


def test_without_a_count_nobody_is_said_to_be_alone():
    clip = speaker()
    del clip.extras["people"]
    assert reason(clip) is None
    assert "people" not in clip.figures


def test_no_face_or_a_tiny_one():
    assert reason(hide(speaker(), FACE, slice(0, 60))) == "no_face"
    assert reason(speaker(), min_face_size=0.3) == "no_face"


def test_partial_body_by_what_is_required():
    clip = hide(speaker(), [3, 6], slice(None))  # elbows
    assert reason(clip) is None
    assert reason(clip, require="upper_body") is None
    assert reason(clip, require="half_body") == "partial_body"
    outside = speaker()
    outside.arrays["pose.npz"]["keypoints"][:, [2, 5], 1] = 1.05  # shoulders below the picture
    assert reason(outside) is None
    assert reason(outside, require="upper_body") == "partial_body"
    assert reason(hide(speaker(), 9, slice(0, 100)), require="full_body") == "partial_body"


def test_hands_are_demanded_only_when_asked_for():
    clip = hide(speaker(), HANDS, slice(0, 150))
    assert reason(clip) is None
    assert clip.figures["hands"] == pytest.approx(0.25)
    assert reason(clip, min_hands=0.5) == "hands_unseen"


def test_unstable_detection_by_jumps_and_by_flicker():
    jumping = speaker()
    jumping.arrays["pose.npz"]["keypoints"][::10, :, 0] += 0.3
    assert reason(jumping) == "unstable_detection"
    flickering = hide(speaker(), slice(None), slice(0, FRAMES, 9))
    assert reason(flickering) == "unstable_detection"
    walking = speaker()
    walking.arrays["pose.npz"]["keypoints"][..., 0] += np.linspace(-0.3, 0.3, FRAMES)[:, None]
    assert reason(walking) is None


def test_faults_of_the_sound():
    assert reason(speaker(audio=None)) == "no_audio"
    assert reason(speaker(audio=None), require_audio=False) is None
    assert reason(speaker(audio=np.zeros(FRAMES * 640, np.float32))) == "silence"
    assert reason(speaker(audio=syllables()[0] * 1e-3)) == "silence"
    assert reason(speaker(audio=(syllables()[0] * 30).clip(-1, 1))) == "clipping"


def test_a_closed_mouth_is_no_speech_whatever_the_sound():
    clip = speaker()
    clip.arrays["pose.npz"]["keypoints"][:, INNER_LIP_BOTTOM, 1] = 0.301
    assert reason(clip) == "no_speech"
    assert "lips" in clip_detail(clip)
    assert reason(clip, require_speech=False) is None


def clip_detail(clip: Draft) -> str:
    with pytest.raises(Drop) as caught:
        Quality()(clip)
    return caught.value.detail


def test_music_and_noise_are_no_speech_though_lips_move():
    time = np.arange(FRAMES * 640) / RATE
    tones = [
        np.sin(2 * np.pi * 220 * 2 ** (k / 12) * time) * (np.floor(time * 2) % 4 == i)
        for i, k in enumerate((0, 4, 7, 12))
    ]
    noise = np.random.default_rng(0).standard_normal(len(time))
    for audio in (0.1 * sum(tones), 0.1 * noise, 0.1 * np.sin(2 * np.pi * 100 * time)):
        assert reason(speaker(audio=audio.astype(np.float32))) == "no_speech"


def test_noisy_speech_is_kept_where_the_lips_go_with_it():
    audio, _ = syllables()
    noisy = (audio + 0.05 * np.random.default_rng(1).standard_normal(len(audio))).astype(np.float32)
    assert speech_share(noisy) < 0.25
    clip = speaker(audio=noisy)
    assert reason(clip) is None
    foreign = speaker(audio=noisy)
    random = np.random.default_rng(5)
    foreign.arrays["pose.npz"]["keypoints"][:, INNER_LIP_BOTTOM, 1] = 0.3 + 0.02 * random.random(FRAMES)
    assert reason(foreign) == "no_speech"


def test_options_are_checked():
    with pytest.raises(ValueError, match="min_face is a share"):
        Quality(min_face=80)
    with pytest.raises(ValueError, match="one of head, upper_body"):
        Quality(require="legs")


def test_face_step_decides_about_the_face_where_there_is_one():
    clip = speaker()
    clip.arrays["face.npz"] = {
        "scores": np.r_[np.zeros(100), np.ones(100)].astype(np.float32),
        "boxes": np.tile(np.array([0.4, 0.2, 0.6, 0.5], np.float32), (FRAMES, 1)),
    }
    figures = measure(clip)
    assert figures["face"] == pytest.approx(0.5)
    assert figures["face_size"] == pytest.approx(0.3)


def test_loudness_leaves_pauses_out():
    tone = np.sin(2 * np.pi * 440 * np.arange(4 * RATE) / RATE).astype(np.float32)
    assert loudness(tone) == pytest.approx(-3.01, abs=0.05)
    assert loudness(0.1 * tone) == pytest.approx(-23.01, abs=0.05)
    assert loudness(np.concatenate([0.1 * tone, np.zeros(8 * RATE, np.float32)])) == pytest.approx(-23.2, abs=0.3)
    assert loudness(np.zeros(100, np.float32)) == -100


def test_clipping_needs_samples_in_a_row():
    audio = np.zeros(1000, np.float32)
    audio[[10, 20, 21, 30, 31, 32, 33]] = 1.0
    assert clipped_share(audio) == pytest.approx(0.004)
    assert clipped_share(-audio) == pytest.approx(0.004)
    assert clipped_share(np.empty(0, np.float32)) == 0


def test_lips_and_sound_that_belong_together_correlate_even_when_shifted():
    audio, loud = syllables()
    opening = loud + 0.1 * np.random.default_rng(3).standard_normal(FRAMES)
    together = lip_audio_correlation(opening, audio, FPS)
    assert together > 0.6
    assert lip_audio_correlation(np.roll(opening, 2), audio, FPS) > 0.5
    assert lip_audio_correlation(np.roll(opening, 60), audio, FPS) < 0.3
    assert lip_audio_correlation(np.zeros(FRAMES), audio, FPS) == 0


@pytest.mark.skipif(not (MEDIA / "speech").is_dir(), reason="no real media (COSPEECH_MEDIA)")
def test_real_speech_is_speech_and_the_soundtrack_is_not():
    for path in sorted((MEDIA / "speech").glob("*.wav")):
        assert speech_share(read_audio(path)) > 0.8, path.name
    assert speech_share(read_audio(MEDIA / "videos_negative" / "liveportrait_s18.mp4")) < 0.2
    assert loudness(read_audio(MEDIA / "videos_negative" / "liveportrait_s20.mp4")) == -100


def spoken():
    """Speech of the synthesizer, 16 kHz."""
    said = utterance(someone(0, 0), "train", (3.0, 6.0), 25.0, np.random.default_rng(0))
    return resample_poly(said.audio, RATE, SYNTHESIS).astype(np.float32)


def test_speech_is_heard_in_noise_where_its_energy_does_not_show_it():
    audio = spoken()
    noise = np.random.default_rng(0).normal(size=len(audio)) * np.sqrt((audio**2).mean())
    assert silero_share(audio) > 0.7
    assert speech_share(audio + noise) == 0
    assert silero_share(audio + noise) > 0.4
    assert silero_share(noise) == silero_share(np.zeros(5000)) == silero_share(np.zeros(10)) == 0
    # One call for all windows, as the network's own step by step: nothing of a later window reaches an earlier one.
    whole = speech_chances(audio)
    np.testing.assert_allclose(speech_chances(audio[: 40 * WINDOW]), whole[:40], atol=1e-5)
    assert len(whole) == len(audio) // WINDOW


def test_what_hears_speech_is_chosen_by_name():
    clip = speaker(audio=spoken())
    clip.info.frames = len(clip.arrays["pose.npz"]["keypoints"])
    assert measure(clip)["speech"] == silero_share(clip.audio)
    assert measure(clip, share="energy")["speech"] == speech_share(clip.audio)
    heard = speaker(audio=syllables()[0])
    Quality(speech_share="energy")(heard)
    assert heard.figures["speech"] == speech_share(heard.audio) > 0.25
