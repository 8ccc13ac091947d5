"""Speech: repeatable, its sounds where they are said, sentences that never cross splits."""

import itertools

import numpy as np
import pytest

from preprocessing.synthetic.sentences import PARTS, part, sentences
from preprocessing.synthetic.speakers import speaker
from preprocessing.synthetic.speech import RATE, SpeechError, Voice, speak
from preprocessing.synthetic.utterance import utterance


def test_speech_does_not_depend_on_what_was_said_before():
    voice = Voice("en-us+f4", rate=170, pitch=45)
    first, sounds = speak("The baker repaired a golden violin.", voice)
    speak("Something else entirely, by another voice.", Voice("en+m3"))
    repeated, sounds_again = speak("The baker repaired a golden violin.", voice)
    assert np.array_equal(first, repeated)
    assert sounds == sounds_again


def test_sounds_are_in_order_with_stress_and_inside_the_sound():
    wave, sounds = speak("The baker repaired a golden violin.", Voice())
    assert wave.dtype == np.float32
    assert np.abs(wave).max() <= 1
    assert all(one.end <= other.start + 1e-9 for one, other in itertools.pairwise(sounds))
    assert sounds[0].start >= 0
    assert sounds[-1].end <= len(wave) / RATE + 0.01
    assert {sound.stress for sound in sounds} >= {0, 2}
    assert all(sound.name == "_" or not sound.name.startswith(("'", ",")) for sound in sounds)


def test_vowels_are_louder_than_pauses_where_the_times_say_so():
    wave, sounds = speak("My uncle bought a boat, and nobody expected it.", Voice())
    power = {kind: [] for kind in ("vowel", "pause")}
    for sound in sounds:
        piece = wave[round((sound.start + 0.01) * RATE) : round((sound.end - 0.01) * RATE)]
        if len(piece) > 400 and (sound.pause or (sound.vowel and sound.stress == 2)):
            power["pause" if sound.pause else "vowel"].append(float(np.sqrt(np.mean(piece**2))))
    assert min(power["vowel"]) > 5 * min(power["pause"])


def test_unknown_voice_and_no_words_are_named():
    with pytest.raises(SpeechError, match="xx-nobody"):
        speak("Hello.", Voice("xx-nobody"))
    with pytest.raises(SpeechError, match="nothing"):
        speak("", Voice())


def test_no_sentence_is_in_two_splits():
    said = {split: set(itertools.islice(sentences(split, np.random.default_rng(5)), 300)) for split in PARTS}
    for one, other in itertools.combinations(said, 2):
        assert not said[one] & said[other]
    assert all(part(sentence) == split for split in said for sentence in said[split])
    assert min(map(len, said.values())) > 250
    with pytest.raises(ValueError, match="holiday"):
        next(sentences("holiday", np.random.default_rng(0)))


def test_an_utterance_fits_its_frames_and_its_captions():
    for fps in (25.0, 30.0):
        said = utterance(speaker(0), "train", (6, 9), fps, np.random.default_rng(2))
        assert len(said.audio) == round(said.frames / fps * RATE)
        assert 6 * fps <= said.frames <= 9 * fps
        assert np.abs(said.audio).max() < 1
        assert said.captions
        assert all(0 <= c["start"] < c["end"] <= said.frames / fps for c in said.captions)
        assert said.phonemes[0].start == 0
        assert said.phonemes[-1].end == pytest.approx(said.frames / fps)
        assert all(one.end == pytest.approx(other.start, abs=1e-5) for one, other in itertools.pairwise(said.phonemes))
        inside = [s for s in said.phonemes if not s.pause]
        assert all(
            any(c["start"] - 0.01 <= s.start and s.end <= c["end"] + 0.01 for c in said.captions) for s in inside
        )


def test_speakers_differ_and_repeat():
    people = [speaker(number) for number in range(8)]
    assert people == [speaker(number) for number in range(8)]
    assert len({person.name for person in people}) == 8
    assert len({(p.look.skin, p.look.hair, p.look.hairstyle, p.look.cloth) for p in people}) == 8
    assert {p.habits.hands for p in people} == {"right", "left", "both"}
    assert speaker(0, seed=1) != speaker(0)
