"""Motion of any length: windows that go on from one another."""

import numpy as np
import pytest
import torch

from models.implicit_motion.generate import generate, generate_chunks, seam_statistics, seams
from models.implicit_motion.motion import MotionDiffusion
from tests.models.motion_networks import A, B, C, small, speech, statistics

HOP = 12  # of a window of 18 frames: 4 stand before, 2 behind


def network(**options) -> MotionDiffusion:
    output = small(**options)
    output.set_statistics(statistics())
    return output


def source(size: int | None = None, seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    first = () if size is None else (size,)
    return {
        "source_motion": torch.randn(*first, C, generator=g),
        "appearance": torch.randn(*first, A, generator=g),
    }


def sound(net: MotionDiffusion, frames: int, seed: int = 0) -> torch.Tensor:
    return speech(net, frames, 1, seed)[0]


@pytest.mark.paper("IM-17")
@pytest.mark.parametrize("audio", ["raw", "handcrafted"])
@pytest.mark.parametrize("length", [1, 5, 11, 12, 13, 50])
def test_any_length_is_generated_whole(length, audio):
    net = network(audio=audio)
    motion = generate(net, **source(), audio=sound(net, length))
    assert motion.shape == (length, C)
    assert torch.isfinite(motion).all()


def test_a_seed_repeats_and_another_differs():
    net = network()
    a, b, c = (generate(net, **source(), audio=sound(net, 30), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_batch_is_generated_side_by_side():
    net = network()
    pair = generate(net, **source(2), audio=speech(net, 20, 2))
    first = {name: value[0] for name, value in source(2).items()}
    assert pair.shape == (2, 20, C)
    torch.testing.assert_close(pair[0], generate(net, **first, audio=speech(net, 20, 2)[0]), rtol=1e-3, atol=1e-4)


def test_sequences_of_a_batch_have_noise_of_their_own():
    net = network()
    twice = {name: value.expand(2, -1) for name, value in source(1).items()}
    pair = generate(net, **twice, audio=sound(net, 20).expand(2, -1))
    assert not torch.allclose(pair[0], pair[1], atol=1e-2)


@pytest.mark.paper("IM-14")
def test_a_window_goes_on_from_the_last_four_frames_of_the_one_before_and_the_first_from_zero():
    net, calls = network(sampling_steps=3), []
    net.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append((args[5], kwargs["estimate"])), with_kwargs=True
    )
    motion = generate(net, **source(), audio=sound(net, 3 * HOP), guidance=1.0)
    x0 = net.space.encode(motion[None], source()["source_motion"][None])
    assert len(calls) == 9
    for number, (before, estimate) in enumerate(calls):
        window, step = divmod(number, 3)
        expected = torch.zeros(1, 4, C) if window == 0 else x0[:, window * HOP - 4 : window * HOP]
        torch.testing.assert_close(before, expected, rtol=1e-4, atol=1e-4)
        assert (estimate is None) == (step == 0), "each step is told of the x0 of the step before"


@pytest.mark.paper("IM-14")
def test_each_step_is_told_of_the_x0_of_the_step_before():
    net, told, result = network(sampling_steps=4), [], []

    def listen(module, args, kwargs, output):
        told.append(kwargs["estimate"])
        result.append(output.x0)

    net.register_forward_hook(listen, with_kwargs=True)
    generate(net, **source(), audio=sound(net, HOP), guidance=1.0)
    assert len(told) == 4
    assert all(torch.equal(*pair) for pair in zip(told[1:], result[:-1], strict=True))


def test_speech_is_heard_once_a_window_and_only_that_of_the_window():
    net, heard = network(sampling_steps=3), []
    net.filterbank.register_forward_pre_hook(lambda module, args: heard.append(args[0]))
    whole = sound(net, 3 * HOP)
    generate(net, **source(), audio=whole, guidance=1.0)
    assert len(heard) == 3
    padded = torch.nn.functional.pad(whole, (4 * 640, 2 * 640))
    for number, part in enumerate(heard):
        first = number * HOP * 640
        assert torch.equal(part[0], padded[first : first + 18 * 640])


def test_pieces_come_as_they_are_done_and_do_not_look_ahead():
    """Memory does not grow with the length, and neither does the wait for the first frames."""
    net, windows = network(), []
    net.filterbank.register_forward_pre_hook(lambda module, args: windows.append(args[0].shape))
    pieces = generate_chunks(net, **source(1), audio=speech(net, 50, 1), guidance=1.0)
    first = next(pieces)
    assert first.shape == (1, HOP, C)
    assert len(windows) == 1
    rest = list(pieces)
    assert [piece.shape[1] for piece in rest] == [HOP, HOP, HOP, 2]
    assert set(windows) == {(1, 18 * 640)}
    torch.testing.assert_close(
        torch.cat([first, *rest], 1), generate(net, **source(1), audio=speech(net, 50, 1), guidance=1.0)
    )


def test_what_comes_later_does_not_change_what_was_generated():
    net = network()
    long, short = sound(net, 60), sound(net, 60)[: (2 * HOP + 2) * 640]
    torch.testing.assert_close(
        generate(net, **source(), audio=long)[: 2 * HOP], generate(net, **source(), audio=short)[: 2 * HOP]
    )


def test_the_network_stays_in_its_mode_and_draws_no_global_random_numbers():
    net = network(dropout=0.3).train()
    state = torch.get_rng_state()
    a, b = (generate(net, **source(), audio=sound(net, 5)) for _ in range(2))
    assert net.training
    assert torch.equal(a, b), "dropout is off while generating"
    assert torch.equal(state, torch.get_rng_state())


def test_guidance_acts_and_without_extractors_does_not():
    for switches, same in (({}, False), ({"use_global": False, "use_local": False}, True)):
        net = network(**switches)
        a, b = (generate(net, **source(), audio=sound(net, 5), guidance=weight) for weight in (1.0, 3.0))
        assert torch.equal(a, b) == same


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"source_motion": torch.zeros(C + 1)}, "source_motion"),
        ({"appearance": torch.zeros(A + 1)}, "appearance"),
        ({"audio": torch.zeros(5, 35)}, "audio"),
        ({"audio": torch.zeros(300)}, "shorter than a frame"),
    ],
)
def test_shapes_that_do_not_fit_are_named(changes, word):
    given = {**source(), "audio": torch.zeros(6400), **changes}
    with pytest.raises(ValueError, match=word):
        generate(network(), **given)


def test_seam_statistics_find_a_jump_and_only_a_jump():
    net = network()
    smooth = torch.from_numpy(np.cumsum(np.random.default_rng(0).normal(0, 0.01, (400, C)), 0))
    places = seams(net, 400)
    assert places == list(range(HOP, 400, HOP))
    fine = seam_statistics(smooth, places)
    assert fine["seams"] == len(places)
    assert fine["ratio"] == pytest.approx(1, abs=0.1)
    broken = smooth.clone()
    for place in places:
        broken[place:] += 0.1
    bad = seam_statistics(broken, places)
    assert bad["ratio"] > 5
    assert bad["largest_at_seams"] > bad["percentile_99_9_inside"]
    assert bad["median_inside"] == pytest.approx(fine["median_inside"], rel=0.01)
    with pytest.raises(ValueError, match="seams"):
        seam_statistics(smooth, [])


@pytest.mark.paper("IM-13")
@pytest.mark.parametrize("audio", ["raw", "handcrafted"])
def test_all_of_the_speech_is_read_once_and_acts_on_every_window(audio):
    network = small(audio=audio, global_speech="clip")
    frames = 3 * network.hop
    sound, samples = speech(network, frames), 640 if audio == "raw" else 1
    source, appearance = torch.randn(B, C), torch.randn(B, A)
    read = []
    network.whole.register_forward_hook(lambda *_: read.append("whole"))
    network.whole.inner.register_forward_pre_hook(lambda module, args: read.append(args[0].shape[1]))
    output = generate(network, source, appearance, sound)
    assert read == [frames * (4 if audio == "raw" else 1)], "once, in full length"
    changed = sound.clone()
    changed[:, -samples * network.hop // 2 :] *= 3  # beyond what any frame of the first window hears locally
    first = slice(0, network.hop)
    assert not torch.allclose(generate(network, source, appearance, changed)[:, first], output[:, first])
    window = small(audio=audio, global_speech="window")
    same = [generate(window, source, appearance, one)[:, first] for one in (sound, changed)]
    torch.testing.assert_close(*same)


@pytest.mark.paper("IM-13")
@pytest.mark.parametrize("audio", ["raw", "handcrafted"])
def test_padding_behind_shorter_speech_is_not_heard(audio):
    network = small(audio=audio, global_speech="clip")
    frames, samples = 2 * network.hop, 640 if audio == "raw" else 1
    sound = speech(network, frames + 20)
    source, appearance = torch.randn(B, C), torch.randn(B, A)
    sound[0, frames * samples :] = 0
    lengths = torch.tensor([frames, frames + 20])
    padded = generate(network, source, appearance, sound, lengths=lengths)[0, : network.hop]
    alone = generate(network, source[0], appearance[0], sound[0, : frames * samples])[: network.hop]
    torch.testing.assert_close(padded, alone, rtol=1e-4, atol=1e-4)
    heard_too = generate(network, source, appearance, sound)[0, : network.hop]
    assert not torch.allclose(heard_too, alone, rtol=1e-4, atol=1e-4)
