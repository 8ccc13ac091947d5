"""Videos of any length from MMGT's second stage: windows, guidance, and what is computed how often."""

import dataclasses
import gc
from collections import Counter

import pytest
import torch

from models.mmgt.video_generate import Driving, VideoSource, generate_latents
from tests.models.video_networks import SIZE, differs, inputs, tiny

PLAIN = {"reference": 1.0, "pose": 1.0, "audio": 1.0}


def source_of(network, frames: int, asked: list | None = None, batch: int = 1, **without) -> VideoSource:
    """A source whose frames are the same however they are asked for."""
    given = dataclasses.replace(inputs(network, frames=frames, batch=batch), **without)

    def drive(begin: int, end: int) -> Driving:
        if asked is not None:
            asked.append((begin, end))
        parts = (None if x is None else x[:, begin:end] for x in (given.skeletons, given.audio, given.masks))
        return Driving(*parts)

    return VideoSource(frames, given.reference, drive, given.image, given.reference_skeleton)


def made(network, source, **options) -> torch.Tensor:
    return torch.cat(list(generate_latents(network, source, **{"steps": 3, **options})), 2)


@pytest.fixture(scope="module")
def network():
    return tiny()


@pytest.mark.parametrize("frames", [1, 3, 4, 5, 9, 33])
def test_any_number_of_frames_in_pieces_and_each_driven_once(network, frames):
    asked: list[tuple[int, int]] = []
    pieces = list(generate_latents(network, source_of(network, frames, asked), steps=2, guidance=PLAIN))
    assert torch.cat(pieces, 2).shape == (1, 4, frames, *SIZE)
    assert [frame for begin, end in asked for frame in range(begin, end)] == list(range(frames))
    assert [piece.shape[2] for piece in pieces] == [end - begin for begin, end in asked]
    assert torch.cat(pieces, 2).isfinite().all()


def test_33_frames_where_32_are_trained_are_two_windows():
    network = tiny(window=32, motion_frames=32)
    pieces = list(generate_latents(network, source_of(network, 33), steps=1, guidance=PLAIN))
    assert [piece.shape[2] for piece in pieces] == [32, 1]


@pytest.mark.parametrize("steps", [1, 4])
def test_what_does_not_change_is_computed_once(steps):
    network = tiny(reference_pose=True)
    calls: Counter[str] = Counter()
    for name in ("reference_unet", "image_projection", "denoiser"):
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.update([name]))
    network.pose_guider.register_forward_hook(lambda _, given, __: calls.update({"pose_guider": len(given[0])}))
    network.audio_projection.register_forward_hook(lambda _, given, __: calls.update({"audio": given[0].shape[1]}))
    frames, windows = 10, 3
    made(network, source_of(network, frames), steps=steps)
    assert calls == {
        "reference_unet": 1,
        "image_projection": 1,
        "pose_guider": frames + 1,  # and the picture's own
        "audio": frames,
        "denoiser": windows * steps,
    }


def test_the_seed_says_which_video(network):
    first = made(network, source_of(network, 7), seed=3)
    assert torch.equal(first, made(network, source_of(network, 7), seed=3))
    assert differs(first, made(network, source_of(network, 7), seed=4))


def test_a_batch_is_its_videos_one_by_one(network):
    """Up to the noise, which each draws from a stream of its own: the first one's is that of a batch of one."""
    both = source_of(network, 6, batch=2)

    def first(begin: int, end: int) -> Driving:
        driving = both.drive(begin, end)
        return Driving(*(getattr(driving, field.name)[:1] for field in dataclasses.fields(driving)))

    one = VideoSource(6, both.reference[:1], first, both.image[:1], both.reference_skeleton[:1])
    torch.testing.assert_close(made(network, both)[:1], made(network, one), atol=1e-4, rtol=1e-3)


def test_a_window_holds_on_to_what_was_made_before(network):
    """Frames that two windows share stay as they are, and those behind depend on them."""
    longer = made(network, source_of(network, 9), window=5, overlap=2)
    shorter = made(network, source_of(network, 9), window=5, overlap=1)
    torch.testing.assert_close(longer[:, :, :5], shorter[:, :, :5])
    assert differs(longer[:, :, 5:8], shorter[:, :, 5:8])
    given = source_of(network, 9)

    def otherwise(begin: int, end: int) -> Driving:
        """The first three frames, of which the second window sees nothing, driven by other poses."""
        driving = given.drive(begin, end)
        skeletons = driving.skeletons.clone()
        skeletons[:, : max(3 - begin, 0)] = 0.0
        return dataclasses.replace(driving, skeletons=skeletons)

    other = made(network, dataclasses.replace(given, drive=otherwise), window=5, overlap=2)
    assert differs(longer[:, :, 3:5], other[:, :, 3:5])
    assert differs(longer[:, :, 5:8], other[:, :, 5:8])


def test_conditions_that_are_kept_for_the_next_window_are_those_made_anew(network, monkeypatch):
    source = source_of(network, 9)
    kept = made(network, source)

    def anew(before, after, shared):
        end = anew.end = anew.end + after.pose.shape[1]
        begin = end - shared - after.pose.shape[1]
        given = inputs(network, frames=9, batch=1)
        parts = {name: getattr(given, name)[:, begin:end] for name in ("skeletons", "audio", "masks")}
        return network.encode(dataclasses.replace(given, **parts))

    anew.end = 4
    monkeypatch.setattr("models.mmgt.video_generate.joined", anew)
    torch.testing.assert_close(made(network, source), kept, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["reference", "pose", "audio"])
def test_guidance_goes_further_the_way_that_a_condition_leads(network, name):
    """At one step x0 is none + w1 (first - none) + w2 (both - first) + ...: linear in every weight."""
    source = source_of(network, 4)
    at = [made(network, source, steps=1, guidance={**PLAIN, name: weight}) for weight in (0.0, 1.0, 2.0)]
    assert differs(at[0], at[1])
    torch.testing.assert_close(at[2] - at[1], at[1] - at[0], atol=1e-3, rtol=1e-3)


def test_guidance_is_one_stacked_pass_and_the_networks_own_where_none_is_given():
    network = tiny(guidance_reference=1.0, guidance_pose=1.0, guidance_audio=2.0)
    rows: list[int] = []
    network.denoiser.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    own = made(network, source_of(network, 4), steps=2)
    assert rows == [2, 2]
    assert torch.equal(own, made(network, source_of(network, 4), steps=2, guidance={"audio": 2.0}))
    rows.clear()
    made(network, source_of(network, 4), steps=1, guidance={"reference": 1.5, "pose": 2.5, "audio": 3.0})
    made(network, source_of(network, 4), steps=1, guidance=PLAIN)
    made(network, source_of(network, 4, audio=None), steps=1, guidance={"pose": 2.0})
    made(network, source_of(network, 4, audio=None), steps=1)
    assert rows == [4, 1, 2, 1], "what is not there is not asked for"


@pytest.mark.paper("MMGT-22")
def test_driven_by_speech_by_poses_or_by_both(network):
    both = made(network, source_of(network, 6))
    by_speech = made(network, source_of(network, 6, skeletons=None))
    by_poses = made(network, source_of(network, 6, audio=None))
    assert differs(both, by_speech)
    assert differs(both, by_poses)
    assert differs(by_speech, by_poses)
    left_out = made(network, source_of(network, 6), guidance={**PLAIN, "audio": 0.0})
    plain = made(network, source_of(network, 6, audio=None), guidance=PLAIN)
    torch.testing.assert_close(left_out, plain, atol=1e-3, rtol=1e-3)


@pytest.mark.paper("MMGT-20")
@pytest.mark.parametrize("predict", ["epsilon", "v", "x0"])
def test_what_trains_the_network_samples_it(predict, monkeypatch):
    """A network that knows the answer is led from the noise to it along its own noise object's levels."""
    network = tiny(predict=predict, latent_scale=0.5)
    source = source_of(network, 4)
    truth = torch.randn(1, 4, 4, *SIZE)

    def perfect(noisy, levels, conditions, left_out, temporal):
        scales = trained.scales(levels, noisy)
        noise = (noisy - scales.signal * truth) / scales.sigma
        drawn.append(noise)
        return network.preconditioning.target(truth, noise, scales)

    trained, drawn = network.noise, []
    monkeypatch.setattr(network, "forward", perfect)
    torch.testing.assert_close(made(network, source, guidance=PLAIN) * 0.5, truth, atol=1e-3, rtol=1e-3)
    assert len(drawn) == 3
    for noise in drawn[1:]:
        torch.testing.assert_close(noise, drawn[0], atol=1e-3, rtol=1e-3, msg="the noise in the sample is another")


def test_what_cannot_be_generated_is_told(network):
    with pytest.raises(ValueError, match="no frames"):
        made(network, dataclasses.replace(source_of(network, 4), frames=0))
    with pytest.raises(ValueError, match="a window of 9 frames, but temporal attention has positions for 8"):
        made(network, source_of(network, 9), window=9)
    with pytest.raises(ValueError, match="overlap has to be from 0 to 3"):
        made(network, source_of(network, 9), overlap=4)
    with pytest.raises(ValueError, match="no condition is called 'sound'; there are reference, pose, audio"):
        made(network, source_of(network, 4), guidance={"sound": 1.0})


def test_the_network_is_left_as_it_was(network):
    network.train()
    pieces = generate_latents(network, source_of(network, 9), steps=1)
    next(pieces)
    pieces.close()
    assert network.training
    network.eval()


def test_memory_does_not_grow_with_the_length(network):
    """What stays alive between windows is the same early and late."""
    alive = []
    for piece in generate_latents(network, endless(network, 16), steps=1, guidance=PLAIN):
        del piece
        gc.collect()
        alive.append(sum(x.numel() for x in gc.get_objects() if issubclass(type(x), torch.Tensor)))
    assert len(alive) == 5
    assert alive[2:-1] == alive[1:2] * 2


def endless(network, frames: int) -> VideoSource:
    """A source that makes its frames when they are asked for."""
    given = inputs(network, frames=1, batch=1)

    def drive(begin: int, end: int) -> Driving:
        each = (given.skeletons, given.audio, given.masks)
        return Driving(*(x.expand(-1, end - begin, *x.shape[2:]) for x in each))

    return VideoSource(frames, given.reference, drive, given.image, given.reference_skeleton)
