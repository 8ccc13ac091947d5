"""Videos of any length from VersaAnimator's video network: windows, the first frame, the ramp of guidance."""

import dataclasses
from collections import Counter

import pytest
import torch

from models.diffusion.chaining import anchored_windows
from models.versa.video import generate
from models.versa.video.generate import VersaDriving, VersaSource, generate_latents
from models.versa.video.sample import ramp, sample_window
from tests.models.versa_videos import SIZE, differs, inputs, tiny

PLAIN = {"first": 1.0, "reference": 1.0}


def source_of(network, frames: int, asked: list | None = None, batch: int = 1, **without) -> VersaSource:
    """A source whose frames are the same however they are asked for."""
    given = dataclasses.replace(inputs(network, frames=frames, batch=batch), **without)

    def drive(begin: int, end: int) -> VersaDriving:
        if asked is not None:
            asked.append((begin, end))
        parts = (given.skeletons, given.audio, given.expression, given.blink)
        return VersaDriving(*(None if part is None else part[:, begin:end] for part in parts))

    return VersaSource(frames, given.reference, drive, given.image, given.identity)


def made(network, source, **options) -> torch.Tensor:
    return torch.cat(list(generate_latents(network, source, **{"steps": 2, **options})), 2)


@pytest.fixture(scope="module")
def network():
    return tiny()


@pytest.mark.parametrize(
    ("length", "window", "overlap", "found"),
    [
        (1, 4, None, [(0, 1)]),
        (4, 4, None, [(0, 4)]),
        (5, 4, None, [(0, 4), (2, 5)]),
        (10, 4, None, [(0, 4), (3, 6), (5, 8), (7, 10)]),
        (9, 4, 0, [(0, 4), (4, 7), (6, 9)]),
        (9, 4, 2, [(0, 4), (2, 5), (3, 6), (4, 7), (5, 8), (6, 9)]),
        (3, 2, None, [(0, 2), (2, 3)]),
        (1, 1, None, [(0, 1)]),
    ],
)
def test_windows_that_all_show_the_first_frame(length, window, overlap, found):
    assert anchored_windows(length, window, overlap) == found
    assert all(end - begin <= window - bool(begin) for begin, end in found)


@pytest.mark.parametrize(("length", "window", "overlap"), [(5, 4, 3), (5, 4, -1), (2, 1, None)])
def test_windows_that_do_not_go_on_are_refused(length, window, overlap):
    with pytest.raises(ValueError, match=r"overlap has to be from 0 to 2|hold nothing but the first"):
        anchored_windows(length, window, overlap)


@pytest.mark.parametrize("overlap", [None, 0, 2])
@pytest.mark.parametrize("frames", [1, 4, 5, 11])
def test_any_number_of_frames_in_pieces_and_each_driven_once(network, frames, overlap):
    asked: list[tuple[int, int]] = []
    source = source_of(network, frames, asked)
    pieces = list(generate_latents(network, source, steps=1, guidance=PLAIN, overlap=overlap))
    assert torch.cat(pieces, 2).shape == (1, 4, frames, *SIZE)
    assert all(piece.shape[2] for piece in pieces)
    assert [frame for begin, end in asked for frame in range(begin, end)] == list(range(frames))
    assert torch.cat(pieces, 2).isfinite().all()


@pytest.mark.parametrize("steps", [1, 3])
def test_what_does_not_change_is_computed_once(steps):
    network = tiny()
    calls: Counter[str] = Counter()
    for name in ("image_projection", "denoiser", "face_tokens.identity"):
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.update([name]))
    network.pose_guider.register_forward_hook(lambda _, given, __: calls.update({"pose_guider": len(given[0])}))
    network.audio_projection.register_forward_hook(lambda _, given, __: calls.update({"audio": given[0].shape[1]}))
    made(network, source_of(network, 10), steps=steps)
    assert calls == {
        "image_projection": 1, "face_tokens.identity": 1, "pose_guider": 10, "audio": 10, "denoiser": 4 * steps,
    }  # fmt: skip


def test_the_first_frame_stands_in_every_window_with_what_drives_it(network):
    given = source_of(network, 10)
    plain = made(network, given, guidance=PLAIN)
    calls: list[tuple] = []
    hook = network.denoiser.register_forward_pre_hook(lambda module, args: calls.append(args))
    made(network, given, guidance=PLAIN, steps=1)
    hook.remove()
    assert [call[0].shape[1] for call in calls] == [4, 4, 4, 4]
    for call in calls[1:]:
        for place in (4, 5):  # tokens of the face, poses
            torch.testing.assert_close(call[place][:, 0], calls[0][place][:, 0])
        torch.testing.assert_close(call[0][:, 0, :4], calls[0][0][:, 0, :4])  # and its noise

    def otherwise(begin: int, end: int) -> VersaDriving:
        """The first frame alone is driven by another pose."""
        driving = given.drive(begin, end)
        if begin:
            return driving
        skeletons = driving.skeletons.clone()
        skeletons[:, 0] = 0
        return dataclasses.replace(driving, skeletons=skeletons)

    other = made(network, dataclasses.replace(given, drive=otherwise), guidance=PLAIN)
    assert differs(other[:, :, 8:], plain[:, :, 8:], 1e-5), "the last window sees it"


def test_where_windows_meet_frames_go_over_from_one_to_the_other(monkeypatch):
    network = tiny(window=6)
    seen: list[dict] = []

    def spied(*args, **options):
        seen.append(options)
        return sample_window(*args, **options)

    monkeypatch.setattr(generate, "sample_window", spied)
    output = made(network, source_of(network, 11), guidance=PLAIN, overlap=2)
    assert output.shape[2] == 11
    (_, first, second, *_) = seen
    assert first["numbers"].tolist() == [0, 4, 5, 6, 7, 8]
    torch.testing.assert_close(first["new"], torch.tensor([0, 0.25, 0.75]))
    # The last one is moved back to fit: what is final stays.
    assert second["numbers"].tolist() == [0, 6, 7, 8, 9, 10]
    torch.testing.assert_close(second["new"], torch.tensor([0, 0, 0.25, 0.75]))
    assert first["known"].shape[2] == 3
    torch.testing.assert_close(output[:, :, 6] * network.latent_scale, second["known"][:, :, 1])


def test_in_the_overlap_the_one_before_counts_less_and_less(network):
    """x0 is that of the window before times 1 - share, and the window's own times share."""
    given, known = inputs(network, batch=1, frames=4), torch.full((1, 4, 3, *SIZE), 5.0)
    noise = torch.randn(1, 4, 4, *SIZE, generator=torch.Generator().manual_seed(0))
    own = sample_window(network, given, noise, steps=1, guidance=PLAIN)
    blended = sample_window(
        network, given, noise, steps=1, guidance=PLAIN, known=known,
        new=torch.tensor([0, 0.25, 0.75]),
    )  # fmt: skip
    torch.testing.assert_close(blended[:, :, 0], known[:, :, 0])
    torch.testing.assert_close(blended[:, :, 1], 0.75 * known[:, :, 1] + 0.25 * own[:, :, 1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(blended[:, :, 2], 0.25 * known[:, :, 2] + 0.75 * own[:, :, 2], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(blended[:, :, 3], own[:, :, 3])


@pytest.mark.paper("VA-11")
def test_guidance_rises_from_the_first_frame_to_the_last_as_in_svd(network):
    numbers = torch.arange(5)
    torch.testing.assert_close(ramp(1.0, 3.0, numbers, 5).flatten(), torch.linspace(1, 3, 5))
    assert ramp(1.0, 3.0, torch.tensor([0, 4, 5, 400]), 5).flatten().tolist() == [1, 3, 3, 3], "a frame has one weight"
    given = inputs(network, batch=1, frames=4)
    noise = torch.randn(1, 4, 4, *SIZE, generator=torch.Generator().manual_seed(0))

    def sampled(first: float, last: float) -> torch.Tensor:
        return sample_window(network, given, noise, steps=1, guidance={"first": first, "reference": last})

    with_all, far, ramped = sampled(1, 1), sampled(2, 2), sampled(1, 2)
    share = torch.linspace(0, 1, 4)[:, None, None]
    torch.testing.assert_close(ramped, torch.lerp(with_all, far, share), rtol=1e-3, atol=1e-3)
    assert differs(far, with_all)
    torch.testing.assert_close(ramped[:, :, 0], with_all[:, :, 0], rtol=1e-3, atol=1e-3)


def test_guidance_is_two_passes_and_a_condition_with_its_own_weight_a_further_one(network):
    rows: list[int] = []
    hook = network.denoiser.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    for guidance, expected in (
        (None, 2), (PLAIN, 1), ({"audio": 4.0}, 4), ({"blink": 0.0}, 2), ({**PLAIN, "pose": 2.0}, 3),
    ):  # fmt: skip
        rows.clear()
        made(network, source_of(network, 4), steps=1, guidance=guidance)
        assert rows == [expected], guidance
    rows.clear()
    made(network, source_of(network, 4, audio=None), steps=1, guidance={"audio": 4.0})
    assert rows == [2], "what is not there is not asked for"
    hook.remove()
    louder = made(network, source_of(network, 4), guidance={"audio": 4.0})
    assert differs(louder, made(network, source_of(network, 4)))


def test_the_seed_says_which_video_whatever_else_is_in_the_batch(network):
    both = source_of(network, 6, batch=2)
    first = made(network, both, seed=3)
    assert torch.equal(first, made(network, both, seed=3))
    assert differs(first, made(network, both, seed=4))

    def alone(begin: int, end: int) -> VersaDriving:
        driving = both.drive(begin, end)
        return VersaDriving(*(getattr(driving, field.name)[:1] for field in dataclasses.fields(driving)))

    one = VersaSource(6, both.reference[:1], alone, both.image[:1], both.identity[:1])
    torch.testing.assert_close(made(network, one, seed=3), first[:1], atol=1e-3, rtol=1e-3)


def test_noise_on_the_reference_is_put_there_and_told(network):
    calls: list[tuple] = []
    hook = network.denoiser.register_forward_pre_hook(lambda module, args: calls.append(args))
    for strength in (0.0, 0.4):
        made(network, source_of(network, 2), steps=1, guidance=PLAIN, augmentation=strength)
    hook.remove()
    (without, _, told, *_), (with_noise, _, told_more, *_) = calls
    assert (told[0, 2].item(), told_more[0, 2].item()) == (0.0, pytest.approx(0.4))
    added = (with_noise - without)[:, :, 4:] * network.latent_scale
    assert added.std().item() == pytest.approx(0.4, rel=0.3)
    assert torch.equal(added[:, 0], added[:, 1]), "the same in all frames"


def test_what_makes_no_sense_is_refused(network):
    def broken(**changes):
        return dataclasses.replace(source_of(network, 4), **changes)

    def driven(**changes):
        given = source_of(network, 4)
        return broken(drive=lambda a, b: dataclasses.replace(given.drive(a, b), **changes))

    nan = torch.full((1, 4), torch.nan)
    for source, options, said in (
        (broken(frames=0), {}, "no frames"),
        (broken(reference=torch.full((1, 4, *SIZE), torch.nan)), {}, r"reference: some of its numbers are not finite"),
        (driven(blink=nan), {}, r"blink of frames 0 to 3: some of its numbers are not finite"),
        (driven(blink=nan[:, :2]), {}, "blink of frames 0 to 3 are wanted, got 2"),
        (driven(expression=torch.full((1, 4), 3)), {}, "expression 3 is none.*neutral, happy, sad"),
        (source_of(network, 4), {"guidance": {"text": 2.0}}, "no condition is called 'text'"),
        (source_of(network, 9), {"overlap": 3}, "overlap has to be from 0 to 2"),
    ):
        with pytest.raises(ValueError, match=said):
            made(network, source, **options)
    assert not network.training
