"""UniVDM's stage: what a step is told, what is learned, parts that count more."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models.paha.reweighting import part_weights
from tests.autoencoders import FACTOR, save_autoencoder
from tests.models.filled import filled
from tests.models.small import statistics
from tests.nested import nested
from tests.trainers.video_stages import B, F, batch, of_its_own
from trainers.paha.univdm import UniVDMStage

T = 4
NETWORK: dict[str, Any] = {
    "channels": [8, 16], "layers": 1, "head_channels": 4, "cross_channels": 8, "norm_groups": 4, "motion_heads": 2,
    "motion_frames": 8, "downscaling": FACTOR, "image_channels": 0, "audio_layers": 1, "audio_channels": 35,
    "audio_tokens": 2, "audio_width": 8, "window": T, "sampling_steps": 2, "train_steps": 50,
}  # fmt: skip


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> Path:
    return save_autoencoder(tmp_path_factory.mktemp("vae"))


@pytest.fixture
def made(vae):
    def make(**options: Any) -> Any:
        torch.manual_seed(0)
        stage = UniVDMStage(**nested(UniVDMStage, **{"autoencoder": str(vae), **NETWORK, **options}))
        stage.use_statistics(statistics())
        filled(stage.network, std=0.3)
        stage.logged = {}
        stage.log = lambda name, value, **more: stage.logged.__setitem__(name, float(torch.as_tensor(value).detach()))
        return stage.train()

    return make


class Spy:
    """Remembers what the network was asked, and what it said."""

    def __init__(self, stage: Any):
        self.calls: list[tuple] = []
        self.outputs: list[torch.Tensor] = []
        stage.network.register_forward_hook(self._look)

    def _look(self, module: Any, args: tuple, output: torch.Tensor) -> None:
        self.calls.append(args)
        self.outputs.append(output)


def numbered(stage: Any) -> Any:
    """Windows whose latents and speech tell their frame."""
    given = of_its_own(stage, batch())
    numbers = torch.arange(float(F))
    given.arrays["latents"]["mean"] = numbers.view(1, F, 1, 1, 1).expand_as(given.arrays["latents"]["mean"]).clone()
    given.arrays["latents"]["log_variance"].fill_(-60)
    given.speech = numbers.view(1, F, 1).expand(B, F, 35).clone()
    return given


@pytest.mark.paper("PH-2")
@pytest.mark.paper("PH-3")
def test_a_step_is_told_of_the_same_frames_and_given_their_first_in_its_share(made):
    stage = made(first_frame=0.7, drop_reference=0.0, drop_audio=0.0)
    stage.network.noise.draw = lambda random: torch.zeros(B, dtype=torch.long)  # nearly no noise
    given, spy, shares = numbered(stage), Spy(stage), []
    for number in range(40):
        given.ids = [f"{number}-{sample}" for sample in range(B)]
        with torch.no_grad():
            stage.step(given, "train")
        noisy, _, told, _ = spy.calls[-1]
        frames = (noisy.mean((1, 3, 4)) / stage.latents.scale).round().long()
        assert (frames.diff(dim=1) == 1).all()
        heard = told.audio[:, :, :, 0, 0].long()
        assert torch.equal(heard[:, :, 2], frames)
        torch.testing.assert_close(told.first.mean((1, 2, 3)) / stage.latents.scale, frames[:, 0].float())
        shares += told.given.tolist()
    assert sum(shares) / len(shares) == pytest.approx(0.7, abs=0.12)


@pytest.mark.paper("PH-1")
@pytest.mark.paper("PH-4")
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_loss_is_the_error_of_the_noise_without_frames_that_are_given(share, made):
    stage = made(first_frame=share, par=False)
    given, spy = of_its_own(stage, batch()), Spy(stage)
    loss = stage.step(given, "train")
    noisy, levels, told, _ = spy.calls[0]
    assert told.given.all() == bool(share)
    signal, sigma = stage.network.noise.scales(levels, noisy)
    torch.testing.assert_close(signal.square() + sigma.square(), torch.ones_like(signal))
    error = spy.outputs[0]
    # The noise, found again of what was made noisy.
    random = stage.generator(given)
    random_noise = (noisy - signal * _clean(stage, given, random)) / sigma
    error = (error - random_noise).square()[:, :, int(share) :]
    torch.testing.assert_close(loss, error.mean(), rtol=2e-3, atol=1e-4)


def _clean(stage: Any, given: Any, random: Any) -> torch.Tensor:
    from trainers.video.batch import pick

    picked = pick(random, F, T, 2, "consecutive", "any")
    for _ in stage.dropped:
        random.uniform()
    return stage._of(given, picked, random)[:, :-1].transpose(1, 2)


@pytest.mark.paper("PH-8")
def test_parts_count_more_by_the_clip_s_own_poses(made):
    stage = made(first_frame=0.0)
    given, spy = of_its_own(stage, batch()), Spy(stage)
    told: list[Any] = []
    own = stage.tell
    stage.tell = lambda *args: told.append(own(*args)) or told[-1]
    loss = stage.step(given, "train")
    noisy, levels, _, _ = spy.calls[0]
    random = stage.generator(given)
    x0 = _clean(stage, given, random)
    signal, sigma = stage.network.noise.scales(levels, noisy)
    error = (spy.outputs[0] - (noisy - signal * x0) / sigma).square()
    places = told[0].places
    assert places.max() > 2
    torch.testing.assert_close(loss, (error * places).mean(), rtol=2e-3, atol=1e-3)
    plain = made(first_frame=0.0, par=False)
    assert plain.step(of_its_own(plain, batch()), "train").item() != loss.item()


@pytest.mark.paper("PH-9")
def test_without_reliable_points_the_loss_is_the_plain_one(made):
    pose = batch().pose
    pose[..., 2] = 0.5
    losses = [one.step(of_its_own(one, batch(pose=pose)), "train") for one in (made(), made(par=False))]
    assert torch.equal(*losses)
    reliable = made(par_reliable=0.3)
    assert reliable.step(of_its_own(reliable, batch(pose=pose)), "train") != losses[0]


@pytest.mark.paper("PH-6")
def test_the_paper_s_threshold_and_weights_are_the_defaults(made):
    stage = made()
    pose = batch().pose[:, :T]
    expected = part_weights(pose, 6, 4, reliable=0.8, parts=10.0, whole=2.0)
    torch.testing.assert_close(part_weights(pose, 6, 4, **stage.weights), expected)


def test_a_sample_shows_reference_truth_and_what_is_made_and_validation_is_told_all(made):
    stage = made().eval()
    given, spy = of_its_own(stage, batch()), Spy(stage)
    with torch.no_grad():
        shown = stage.sample(given)["beside"]
        stage.step(given, "val")
    height, width = shown.shape[-2:]
    assert shown.shape[:3] == (B, T, 3)
    assert width == 3 * (16 * height // 24)
    told, left_out = spy.calls[-1][2:]
    assert told.first is None
    assert left_out == {}
    assert set(stage.logged) == {name for name in stage.figures() if name.startswith("val/")}


@pytest.mark.paper("PH-5")
def test_all_of_the_network_is_trained(made):
    stage = made(first_frame=0.5)
    stage.step(of_its_own(stage, batch()), "train").backward()
    assert all(p.grad is not None for p in stage.network.parameters())
    assert stage.frozen() == {"autoencoder": stage.latents.sha256}


@pytest.mark.paper("PH-21")
@pytest.mark.parametrize("par", [True, False])
@torch.no_grad()
def test_a_validation_tells_the_error_of_hands_and_face_from_the_rest_with_par_and_without(made, par):
    stage = made(par=par).eval()
    given = of_its_own(stage, batch())
    stage.step(given, "val")
    assert set(stage.logged) == {name for name in stage.figures() if name.startswith("val/")}
    parts = part_weights(given.pose, 6, 4, parts=2, whole=1) > 1
    assert parts.any()
    assert not parts.all()
    low, high = sorted(stage.logged[f"val/rmse_{name}"] for name in ("parts", "rest"))
    assert low < stage.logged["val/rmse"] < high
    given.pose[..., 2] = 0.7  # nothing that may be relied on
    stage.step(given, "val")
    assert stage.logged["val/rmse_parts"] == 0
    assert stage.logged["val/rmse_rest"] == pytest.approx(stage.logged["val/rmse"], rel=1e-5)
