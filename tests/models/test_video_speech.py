"""Speech of frames and around frames: on time, whatever the frame rate."""

import pytest
import torch

from models.video.speech import audio_windows, layers_at_frames


@pytest.mark.paper("MMGT-18")
@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 50, 60])
def test_what_is_heard_in_a_frame_lands_on_that_frame(fps):
    seconds = 4
    frames, steps = round(seconds * fps), 50 * seconds
    for step in range(9, steps - 9, 7):  # not at the ends, whose frames are seen again
        layers = torch.zeros(1, 2, steps, 3)
        layers[:, :, step] = 1
        heard = layers_at_frames(layers, frames)
        assert heard.shape == (1, frames, 2, 3)
        middle = (step + 0.5) / steps * frames  # of the step, in frames
        strongest = heard[0, :, 0, 0].argmax().item()
        assert abs(strongest + 0.5 - middle) <= 0.5 + 1e-9
        window = audio_windows(heard, 0, frames)[0, strongest, :, 1, 0]
        assert window.argmax() == 2, "the frame itself stands in the middle"


@pytest.mark.paper("MMGT-18")
@pytest.mark.parametrize("fps", [12.5, 25, 30])
def test_nothing_is_lost_and_levels_stay(fps):
    layers = torch.randn(2, 3, 200, 4, generator=torch.Generator().manual_seed(0))
    heard = layers_at_frames(layers, round(4 * fps))
    torch.testing.assert_close(heard.mean(1), layers.mean(2), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(layers_at_frames(torch.ones(1, 1, 200, 1), round(4 * fps)).unique(), torch.ones(1))
    if fps == 25:
        torch.testing.assert_close(heard[:, 7], layers[:, :, 14:16].mean(2))


@pytest.mark.paper("MMGT-18")
def test_a_frame_sees_those_around_it_and_the_ends_again():
    features = torch.arange(10.0).view(1, 10, 1, 1).repeat(2, 1, 3, 4)
    seen = audio_windows(features, 3, 4)
    assert seen.shape == (2, 4, 5, 3, 4)
    assert seen[0, :, :, 0, 0].tolist() == [[f - 2, f - 1, f, f + 1, f + 2] for f in (3.0, 4, 5, 6)]
    assert audio_windows(features, 0, 10)[1, 0, :, 2, 3].tolist() == [0, 0, 0, 1, 2]
    assert audio_windows(features, 9, 1, context=3)[0, 0, :, 0, 0].tolist() == [6, 7, 8, 9, 9, 9, 9]
    handcrafted = torch.randn(2, 10, 35)
    assert torch.equal(audio_windows(handcrafted, 2, 3, context=0)[:, :, 0, 0], handcrafted[:, 2:5])


def test_frames_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"frames 3 to 6 are wanted, but the speech has 6 frames"):
        audio_windows(torch.zeros(1, 6, 1, 1), 3, 4)
