"""What implicit motion's diffusion hears: F_ag of all of the speech, F_al of each frame's slice, learned filters."""

import pytest
import torch

from models.implicit_motion import motion
from models.implicit_motion.audio import Filterbank
from models.implicit_motion.motion import Spoken
from tests.models.motion_networks import WINDOW, B, inputs, small, speech
from tests.models.test_implicit_motion_diffusion import AUDIO


@pytest.mark.paper("IM-13")
@AUDIO
def test_f_ag_is_one_vector_that_every_sound_of_the_window_acts_on(audio):
    network = small(audio=audio)
    sound = speech(network, WINDOW)
    heard = network(**{**inputs(network), "speech": sound}).heard.whole
    assert heard.shape == (B, 32)
    samples = sound.shape[1] // WINDOW
    for frame in range(WINDOW):
        changed = sound.clone()
        changed[:, frame * samples : (frame + 1) * samples] *= -3 if audio == "handcrafted" else 3
        assert not torch.equal(network(**{**inputs(network), "speech": changed}).heard.whole, heard), frame


def f_ag(network, *clips):
    """F_ag of clips of any lengths in one padded batch, a window of each."""
    sound = torch.nn.utils.rnn.pad_sequence(list(clips), batch_first=True)
    samples = 640 if network.audio == "raw" else 1
    frames = torch.tensor([len(clip) // samples for clip in clips])
    given = {**inputs(network), "speech": sound[:, : WINDOW * samples]}
    given = {name: value[:1].expand(len(clips), *value.shape[1:]) for name, value in given.items()} | {
        "speech": given["speech"]
    }
    return network(**given, spoken=Spoken(sound, frames)).heard.whole


@pytest.mark.paper("IM-13")
@AUDIO
def test_f_ag_hears_all_of_the_speech_and_not_its_padding(audio):
    network = small(audio=audio, global_speech="clip")
    short, long = speech(network, 40, 1)[0], speech(network, 75, 1, seed=1)[0]
    alone, together = f_ag(network, short), f_ag(network, short, long)
    torch.testing.assert_close(together[:1], alone)
    outside = short.clone()
    outside[-len(short) // 8 :] *= 3  # far behind the window, whose sound is the beginning
    assert not torch.allclose(f_ag(network, outside), alone)
    assert not torch.allclose(together[1:], alone)


@pytest.mark.paper("IM-13")
def test_f_ag_of_the_window_is_the_switch_and_what_older_networks_have():
    network = small(global_speech="window")
    assert torch.equal(f_ag(network, *speech(network, 40)), f_ag(network, *speech(network, 40)[:, : WINDOW * 640]))
    assert not small().reads_clip
    assert not small(use_global=False, global_speech="clip").reads_clip
    whole = small(global_speech="clip")
    with pytest.raises(ValueError, match="all of the speech"):
        whole(**inputs(whole))
    with pytest.raises(ValueError, match="global_speech"):
        small(global_speech="file")


@pytest.mark.paper("IM-13")
@AUDIO
def test_speech_longer_than_a_clip_is_read_in_pieces_that_add_up(audio, monkeypatch):
    network = small(audio=audio, global_speech="clip")
    sound, samples = speech(network, 50, 1), 640 if audio == "raw" else 1
    monkeypatch.setattr(motion, "LONGEST", 20 / 25)
    whole = network.hear_all(Spoken(sound, torch.tensor([50])))
    total = count = 0
    for begin, end in ((0, 20), (20, 40), (40, 50)):
        piece = sound[:, begin * samples : end * samples]
        read, steps = network.whole.read(network._steps(piece, end - begin))
        total, count = total + read, count + steps
    torch.testing.assert_close(whole, network.whole.outer(total / count))
    padded = torch.nn.functional.pad(sound, (0, 30 * samples) if audio == "raw" else (0, 0, 0, 30))
    torch.testing.assert_close(network.hear_all(Spoken(padded, torch.tensor([50]))), whole)


@pytest.mark.paper("IM-13")
def test_windows_of_one_clip_share_its_vector():
    network = small(global_speech="clip")
    sound, read = speech(network, 40, 2), []
    network.whole.inner.register_forward_pre_hook(lambda module, args: read.append(len(args[0])))
    rows = torch.tensor([0, 0, 1, 0])
    whole = network.hear_all(Spoken(sound, torch.tensor([40, 40]), rows))
    assert read == [2]
    assert torch.equal(whole[0], whole[3])
    assert not torch.equal(whole[0], whole[2])


@pytest.mark.paper("IM-13")
@pytest.mark.parametrize("reach", [0, 1, 3])
@AUDIO
def test_f_al_of_a_frame_hears_its_own_slice_and_nothing_else(audio, reach):
    network = small(audio=audio, audio_reach=reach)
    sound = speech(network, WINDOW)
    heard = network(**{**inputs(network), "speech": sound}).heard.frames
    assert heard.shape == (B, network.hop, 32) == (B, WINDOW - 4 - reach, 32)
    samples, frame = sound.shape[1] // WINDOW, 9
    margin = 120 if audio == "raw" else 0  # a filter is 400 samples long and reads 120 beside its step
    changed = sound.clone()
    changed[:, frame * samples + margin : (frame + 1) * samples - margin] *= 3
    differs = (network(**{**inputs(network), "speech": changed}).heard.frames != heard).any(-1).all(0)
    first = frame - 4  # the first four frames of a window are not predicted
    assert differs.nonzero().flatten().tolist() == list(range(first - reach, first + reach + 1))


@pytest.mark.parametrize("steps", [2, 4, 8])
def test_filters_hear_the_pitch_and_the_moment_of_a_tone(steps):
    """Untrained, as the filters begin: a tone shows at its own height on the mel scale, from when it sounds."""
    bank = Filterbank(40, steps)
    times = torch.arange(10 * 640) / 16_000
    loudest = []
    for hertz in (300, 1000, 3000):
        heard = bank(0.3 * torch.sin(2 * torch.pi * hertz * times)[None] * (times >= 0.2), 10)
        assert heard.shape == (1, 10 * steps, 40)
        assert heard[0, : 4 * steps].amax() < -1 < 1 < heard[0, 5 * steps : 6 * steps].amax()  # it begins with frame 5
        loudest.append(int(heard[0, -steps].argmax()))
    assert loudest == sorted(set(loudest))


def test_other_frame_rates_are_heard_at_their_frames():
    network = small(fps=30.0)
    given = inputs(network)
    output = network(**{**given, "speech": torch.randn(B, round(WINDOW / 30 * 16_000))})
    assert output.noise.shape == given["noisy"].shape
