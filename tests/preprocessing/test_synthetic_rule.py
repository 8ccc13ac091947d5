"""The rule: sounds to lips, stress to beats, and how much of it key points show."""

import numpy as np
import pytest

from models.human import keypoints as layout
from preprocessing.synthetic import rule
from preprocessing.synthetic.figure import figure
from preprocessing.synthetic.motion import motion
from preprocessing.synthetic.phonemes import Phoneme, viseme, visemes
from preprocessing.synthetic.sentences import sentences
from preprocessing.synthetic.speakers import speaker
from preprocessing.synthetic.speech import Voice, speak

FPS = 25.0


def say(*sounds: tuple) -> list[Phoneme]:
    """(name, seconds[, stress]) one after the other from 0.2 s on."""
    now, said = 0.2, []
    for name, seconds, *stress in sounds:
        said.append(Phoneme(name, now, now + seconds, *stress))
        now += seconds
    return said


@pytest.mark.parametrize("name", ["p", "b", "m"])
def test_lips_close_between_open_vowels(name):
    said = say(("a", 0.25, 2), (name, 0.08), ("a", 0.25, 2))
    opening = rule.lip_rule(said, 25, FPS)
    start, end = rule.closure(said[1])
    closed = [i for i in range(25) if start <= i / FPS <= end]
    assert closed
    assert opening[closed].max() < 0.02
    assert opening[round(0.33 * FPS)] > 0.8
    assert opening[round(0.66 * FPS)] > 0.8


def test_open_vowels_open_further_than_close_ones_and_than_consonants():
    peaks = {name: rule.lip_rule(say((name, 0.3, 2)), 20, FPS).max() for name in ("a", "E", "i", "u:", "s", "w", "f")}
    assert peaks["a"] > peaks["E"] > peaks["i"] > peaks["s"] > peaks["f"]
    assert peaks["i"] > peaks["u:"]


def test_unstressed_vowels_open_less():
    assert rule.lip_rule(say(("a", 0.3, 0)), 20, FPS).max() < rule.lip_rule(say(("a", 0.3, 2)), 20, FPS).max()


def test_mouth_is_shut_in_silence_and_opening_stays_in_range():
    opening = rule.lip_rule(say(("a", 0.3, 2), ("_", 0.4), ("aI", 0.3, 2)), 50, FPS)
    assert opening.min() >= 0
    assert opening.max() <= 1
    assert opening[0] < 1e-6
    assert opening[round(0.7 * FPS)] < 1e-3
    assert opening[-1] < 1e-6


def test_width_rounds_and_spreads():
    assert rule.width_rule(say(("u:", 0.3, 2)), 20, FPS).min() < -0.7
    assert rule.width_rule(say(("i:", 0.3, 2)), 20, FPS).max() > 0.6


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("aI", ("open", "close_front")), ("aI@", ("open", "close_front")), ("3:", ("central",)), ("t#", ("alveolar",)),
        ("tS", ("postalveolar",)), ("@2", ("central",)), ("_:", ("rest",)), ("OI", ("mid_back", "close_front")),
    ],
)  # fmt: skip
def test_espeak_names_come_to_their_viseme(name, expected):
    assert visemes(name) == expected


def test_beats_are_the_longest_stressed_vowels_around():
    said = say(("a", 0.1, 2), ("t", 0.1), ("a", 0.2, 2), ("t", 0.6), ("i", 0.1, 1), ("n", 0.4), ("u:", 0.1, 2))
    beats = rule.beats(said)
    assert beats == pytest.approx([said[2].start, said[6].start])
    assert len(rule.beats([])) == 0


def test_beats_of_real_speech_keep_their_distance():
    _, said = speak("The painter photographed the mysterious library across the valley.", Voice("en-us"))
    beats = rule.beats(said)
    assert len(beats) >= 3
    assert np.diff(beats).min() > rule.BEAT_REACH


def test_stroke_stands_still_on_the_beat_after_a_fast_fall():
    stroke = rule.gesture(np.array([1.0, 1.7]), 300, 100.0)
    speed = np.abs(np.gradient(stroke))
    for beat in (100, 170):
        assert stroke[beat] == pytest.approx(-0.4)
        assert speed[beat + 2 : beat + 9].max() < 0.1 * speed[beat - 15 : beat].max()
    assert stroke[0] == 0
    assert abs(stroke[-1]) < 1e-6


def test_true_key_points_show_the_rule_and_others_do_not():
    who = speaker(1)
    _, said = speak("A clever engineer collected the enormous umbrella in the evening.", who.voice)
    frames = int(said[-1].end * FPS) + 10
    person = figure(who, motion(who, said, frames, FPS, 3))
    shown = rule.recovered(person.keypoints, said, FPS)
    assert shown["lip_variance"] > 0.98
    assert shown["beats_hit"] == 1
    assert shown["beats_precision"] == 1
    assert shown["beat_error_ms"] < 40
    held = rule.recovered(np.repeat(person.keypoints[:1], frames, 0), said, FPS)
    assert held["lip_variance"] < 0.01
    assert held["beats_hit"] == 0
    late = rule.recovered(np.roll(person.keypoints, 8, 0), said, FPS)
    assert late["lip_correlation"] < 0.6
    assert late["beat_error_ms"] > 100


def test_written_lips_follow_the_rule_for_every_speaker():
    for number in range(6):
        who = speaker(number)
        _, said = speak("My mother imagined a purple elephant.", who.voice)
        frames = int(said[-1].end * FPS) + 5
        person = figure(who, motion(who, said, frames, FPS, number))
        shown, wanted = layout.lip_opening(person.keypoints), rule.lip_rule(said, frames, FPS)
        assert np.corrcoef(shown, wanted)[0, 1] > 0.98
        assert shown[wanted < 0.01].max() < 0.01


def test_every_sound_of_the_corpus_has_a_viseme():
    source = sentences("train", np.random.default_rng(0))
    names = {sound.name for _ in range(10) for sound in speak(next(source), Voice("en"))[1]}
    assert all(viseme(name) for name in names)
    assert len(names) > 25
