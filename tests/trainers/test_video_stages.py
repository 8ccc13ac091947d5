"""The two steps of MMGT's video diffusion: what a step tells the network, its loss, and a sample."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models.human.keypoints import FACE, LEFT_HAND, LIPS
from models.video.conditions import VideoInputs
from models.video.masks import motion_masks
from models.video.skeletons import draw_skeletons
from settings import ConfigError
from tests.autoencoders import FACTOR, save_autoencoder
from tests.trainers.video_stages import B, F, H, T, W, base_of, batch, of_its_own, stage
from trainers.stage.base import SampleGenerator
from trainers.video.batch import pick, places_of

KINDS = ("video_pose", "video_audio")


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> Path:
    return save_autoencoder(tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="module")
def base(tmp_path_factory, vae) -> Path:
    return base_of(tmp_path_factory.mktemp("base"), vae)


@pytest.fixture
def made(vae, base, tmp_path) -> Any:
    """Makes a stage of a kind, on top of a first step with the same options."""

    def make(kind: str, **options: Any) -> Any:
        if kind == "video_pose":
            return stage(kind, vae, **options)
        frozen = {name: options[name] for name in ("predict", "reference_pose") if name in options}
        return stage(kind, vae, base_of(tmp_path / "base", vae, **frozen) if frozen else base, **options)

    return make


class Spy:
    """Remembers what the network was asked."""

    def __init__(self, made: Any):
        self.calls: list[tuple[Any, ...]] = []
        self.words: list[dict[str, Any]] = []
        made.network.register_forward_pre_hook(self._look, with_kwargs=True)

    def _look(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.calls.append(args)
        self.words.append(kwargs)


@pytest.mark.paper("MMGT-14")
@pytest.mark.parametrize("there", [12, 16, 30])
def test_frames_follow_one_another_and_the_first_is_the_reference(there):
    picked = pick(SampleGenerator([f"{n}" for n in range(200)]), there, 12, 2, "consecutive", "first")
    assert (picked.frames.diff(dim=1) == 1).all()
    assert torch.equal(picked.frames[:, 0], picked.reference)
    margin = 2 if there > 15 else 0
    assert picked.frames.min() == margin
    assert picked.frames.max() == there - 1 - margin
    assert torch.equal(picked.all[:, -1], picked.reference)


def test_any_frames_and_any_reference_come_from_all_of_the_window():
    picked = pick(SampleGenerator([f"{n}" for n in range(200)]), 9, 3, 2, "any", "any")
    assert set(picked.frames.flatten().tolist()) == set(picked.reference.tolist()) == set(range(9))
    assert (picked.frames[:, 0] != picked.reference).any()


@pytest.mark.paper("MMGT-14")
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_network_is_told_belongs_to_the_same_frames(kind, made):
    one = made(kind, reference="any", fps=30.0, reference_pose=True)
    given = of_its_own(one, batch())
    # Every frame tells its number: in its latents, in its speech; its pose is its own.
    numbers = torch.arange(float(F))
    given.arrays["latents"]["mean"] = numbers.view(1, F, 1, 1, 1).expand(B, F, 4, H // FACTOR, W // FACTOR).clone()
    given.arrays["latents"]["log_variance"].fill_(-60)
    given.speech = numbers.view(1, F, 1).expand(B, F, 35).clone()
    spy = Spy(one)
    one.dropped = dict.fromkeys(one.dropped, 0.0)
    levels = torch.zeros(B, dtype=torch.long)
    one.network.noise.draw = lambda random: levels  # nearly no noise
    one.step(given, "train")
    (noisy, _, told, left_out), words = spy.calls[0], spy.words[0]
    assert isinstance(told, VideoInputs)
    assert not torch.stack(list(left_out.values())).any()
    scale = one.latents.scale
    frames = (noisy.mean((1, 3, 4)) / scale).round().long()
    assert (frames.diff(dim=1) == 1).all()
    reference = (told.reference.mean((1, 2, 3)) / scale).round().long()
    rows = torch.arange(B)
    pose = given.pose[rows[:, None], frames]
    torch.testing.assert_close(told.skeletons, draw_skeletons(pose, H, W))
    torch.testing.assert_close(told.reference_skeleton, draw_skeletons(given.pose[rows, reference], H, W))
    assert words["temporal"] == (kind == "video_audio")
    if kind == "video_pose":
        assert told.audio is None
        assert told.masks is None
        return
    torch.testing.assert_close(told.masks, motion_masks(pose, H, W))
    heard = told.audio[:, :, :, 0, 0]
    assert torch.equal(heard[:, :, 2].long(), frames), "the frame's own speech stands in the middle"
    assert torch.equal(heard[:, :, 0].long(), (frames - 2).clamp(min=0))


@pytest.mark.paper("MMGT-20")
@pytest.mark.parametrize("predict", ["epsilon", "v", "x0"])
def test_the_loss_is_the_squared_error_of_what_is_predicted(predict, made):
    one = made("video_audio", predict=predict, drop_reference=0.0, drop_pose=0.0, drop_audio=0.0)
    given = of_its_own(one, batch())
    spy = Spy(one)
    outputs = []
    one.network.register_forward_hook(lambda module, args, output: outputs.append(output))
    loss = one.step(given, "train")
    noisy, levels, _, _ = spy.calls[0]
    random = one.generator(given)  # the same numbers again
    picked = pick(random, F, T, 2, "consecutive", "first")
    assert not any(random.uniform().lt(0).any() for _ in one.dropped)
    rows = torch.arange(B)[:, None]
    mean, log_variance = (given.arrays["latents"][name][rows, picked.all] for name in ("mean", "log_variance"))
    latents = one.latents.scale * (mean + (log_variance / 2).exp() * random.normal(*mean.shape[1:]))
    x0 = latents[:, :-1].transpose(1, 2)
    torch.testing.assert_close(random.integers(0, 50), levels)
    noise = random.normal(*x0.shape[1:])
    signal, sigma = one.network.noise.scales(levels, x0)
    torch.testing.assert_close(noisy, signal * x0 + sigma * noise)
    target = {"epsilon": noise, "x0": x0, "v": signal * noise - sigma * x0}[predict]
    torch.testing.assert_close(loss, (outputs[0] - target).square().mean())


@pytest.mark.paper("MMGT-20")
def test_min_snr_and_noise_offset_are_options(made):
    plain = made("video_pose", predict="v")
    other = made("video_pose", predict="v", weighting="min_snr")
    offset = made("video_pose", predict="v", noise_offset=0.5)
    given = of_its_own(plain, batch())
    spies = [Spy(plain), Spy(other), Spy(offset)]
    losses = [each.step(given, "train").item() for each in (plain, other, offset)]
    assert len(set(losses)) == 3
    noisy = [spy.calls[0][0] for spy in spies]
    assert torch.equal(noisy[0], noisy[1])
    _, sigma = plain.network.noise.scales(spies[0].calls[0][1], noisy[0])
    common = (noisy[2] - noisy[0]) / (0.5 * sigma)
    assert common.std((2, 3, 4)).max() < 1e-3, "one number for a channel of the whole video"
    assert common.std() > 0.5


def test_face_and_hands_count_more_where_asked(made):
    plain, other = made("video_pose"), made("video_pose", region_weight=3.0)
    given = of_its_own(plain, batch())
    assert plain.step(given, "train").item() != other.step(given, "train").item()
    nobody = batch(pose=torch.full((B, F, 134, 3), -1.0))
    of_its_own(plain, nobody)
    torch.testing.assert_close(plain.step(nobody, "train"), other.step(nobody, "train"))


def test_lips_count_twice_what_a_face_does_and_hands_as_much_as_a_face():
    pose = torch.full((1, 2, 134, 3), -1.0)
    corners = ((FACE, 0.25, 0.75), (LIPS, 0.5, 0.75), (LEFT_HAND, 0.75, 1.0))
    for points, low, high in corners:
        pose[:, 0, points] = torch.tensor((low, low, 1.0))
        pose[:, 0, points.start] = torch.tensor((high, high, 1.0))
    counts = places_of(pose, FACTOR, 4, 4, 3.0)[0, 0]
    expected = torch.ones(2, 4, 4)
    expected[0, 1:3, 1:3] += 3
    expected[0, 2, 2] += 3
    expected[0, 3, 3] += 3
    torch.testing.assert_close(counts, expected)


@pytest.mark.parametrize("hold", [True, False])
def test_masks_are_held_where_poses_are_left_out_if_asked(hold, made):
    one = made("video_audio", reference="any", drop_pose=0.6, hold_masks=hold)
    given = of_its_own(one, batch())
    numbers = torch.arange(float(F))
    given.arrays["latents"]["mean"] = numbers.view(1, F, 1, 1, 1).expand(B, F, 4, H // FACTOR, W // FACTOR).clone()
    given.arrays["latents"]["log_variance"].fill_(-60)
    spy, seen = Spy(one), set()
    for number in range(8):
        given.ids = [f"{number}-{sample}" for sample in range(B)]
        with torch.no_grad():
            one.step(given, "train")
        told, left_out = spy.calls[-1][2:4]
        reference = (told.reference.mean((1, 2, 3)) / one.latents.scale).round().long()
        held = motion_masks(given.pose[torch.arange(B), reference], H, W)[:, None]
        for sample, without in enumerate(left_out["pose"].tolist()):
            assert (told.masks[sample] == held[sample]).all() == (hold and without)
            seen.add(without)
    assert seen == {True, False}


@pytest.mark.paper("MMGT-21")
@pytest.mark.parametrize(
    ("kind", "names"), [(KINDS[0], ("reference", "pose")), (KINDS[1], ("reference", "pose", "audio"))]
)
def test_each_condition_is_dropped_by_its_own_chance_and_none_in_validation(kind, names, made):
    chances = dict(zip(names, (0.1, 0.85, 0.3), strict=False))
    one = made(kind, **{f"drop_{name}": chance for name, chance in chances.items()})
    spy = Spy(one)
    given = of_its_own(one, batch())
    with torch.no_grad():
        for number in range(70):
            given.ids = [f"{number}-{sample}" for sample in range(B)]
            one.step(given, "train")
        dropped = {name: torch.cat([args[3][name] for args in spy.calls]).float() for name in names}
        for name, chance in chances.items():
            assert dropped[name].mean() == pytest.approx(chance, abs=0.1), name
        both = torch.stack([dropped["reference"], dropped["pose"]]).mean(1)
        joint = (dropped["reference"] * dropped["pose"]).mean()
        assert joint == pytest.approx(float(both.prod()), abs=0.06), "independently of each other"
        one.eval()
        one.step(given, "val")
    assert spy.calls[-1][3] == {}
    assert set(one.logged) == {"train/loss", "val/loss", "val/rmse"}


def test_cached_latents_and_frames_to_encode_give_one_loss(made, vae):
    from models.video.latents import encode

    one = made("video_pose")
    frames = batch(cached=False)
    expected = one.step(frames, "train")
    mean, log_variance = encode(one.latents.network, frames.video)
    given = of_its_own(one, batch())
    given.arrays["latents"] |= {"mean": mean.half(), "log_variance": log_variance.half()}
    torch.testing.assert_close(one.step(given, "train"), expected, rtol=2e-3, atol=0)


def test_poses_lie_where_the_frames_are_where_latents_cover_more(made):
    one = made("video_pose")
    frames = batch(cached=False)
    frames.video = frames.video[..., :-1, :-3]  # 23 x 13 pixels, as latents 24 x 16
    spy = Spy(one)
    one.step(frames, "train")
    found = spy.calls[0][2].skeletons
    assert found.shape[-2:] == (H, W)
    assert found[..., -3:].amax() < found.amax()
    ink = found.mean((0, 1, 2))
    centre = (ink.sum(0) * (torch.arange(W) + 0.5)).sum() / ink.sum()
    assert centre == pytest.approx(0.55 * (W - 3), abs=0.7)


@pytest.mark.paper("MMGT-24")
@pytest.mark.parametrize("masks", ["still", "none"])
def test_ablations_of_the_mask(masks, made):
    one = made("video_audio", masks=masks, reference="any")
    spy = Spy(one)
    one.step(of_its_own(one, batch()), "train")
    found = spy.calls[0][2].masks
    assert (found == found[:, :1]).all(), "it does not move"
    assert (found == 1).all() == (masks == "none")


@pytest.mark.paper("MMGT-24")
def test_without_audio_no_speech_is_read(made):
    one = made("video_audio", use_audio=False)
    assert "speech.npz" not in one.needs
    spy = Spy(one)
    one.step(of_its_own(one, batch(speech=None)), "train")
    assert spy.calls[0][2].audio is None


@pytest.mark.paper("MMGT-18")
def test_layers_of_a_speech_network_and_an_image_encoder_are_read_where_the_network_wants_them(vae, tmp_path):
    sizes = {"audio_layers": 3, "audio_channels": 6, "image_channels": 5}
    one = stage("video_audio", vae, base_of(tmp_path, vae, **sizes), **sizes)
    assert {"image.npz", "speech.npz"} <= set(one.needs)
    spy = Spy(one)
    one.step(of_its_own(one, batch(layers=(3, 6), image=5)), "train")
    assert spy.calls[0][2].audio.shape == (B, T, 5, 3, 6)
    assert spy.calls[0][2].image.shape == (B, 1, 5)
    for wrong, word in ((batch(layers=(2, 6), image=5), "2 layers of 6"), (batch(image=5), "none of a pretrained")):
        with pytest.raises(ConfigError, match=word):
            one.step(of_its_own(one, wrong), "train")
    with pytest.raises(ConfigError, match="image_channels=7"):
        one.step(of_its_own(one, batch(layers=(3, 6), image=7)), "train")


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_shows_reference_truth_and_what_is_made(kind, made):
    one = made(kind).eval()
    given = of_its_own(one, batch())
    with torch.no_grad():
        shown = one.sample(given)["beside"]
    assert shown.shape == (B, T, 3, H, 3 * W)
    reference, true, generated = shown.split(W, -1)
    assert (reference == reference[:, :1]).all()
    torch.testing.assert_close(reference[:, 0], true[:, 0])
    assert not torch.allclose(true, generated, atol=0.05)
