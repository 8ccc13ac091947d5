"""The stages of PCE's classifiers: what they are shown, what is asked of them, what is logged."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from models.paha.regions import region_mask
from models.paha.univdm import UniVDM
from settings import ConfigError
from tests.autoencoders import save_autoencoder
from tests.models.filled import filled
from tests.models.small import statistics
from tests.nested import nested
from tests.preprocessing.test_negatives import save_univdm
from tests.trainers.video_stages import batch
from trainers.paha.pair_measures import QUARTERS
from trainers.paha.pce import PCEFaceStage, PCENonfaceStage
from trainers.plan import training_config

B, FRAMES = 3, 10
NETWORK = {"width": 8, "depth": 1, "heads": 2, "dropout": 0.0}


@pytest.fixture(scope="module")
def univdm(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("univdm")
    return save_univdm(folder / "run", save_autoencoder(folder / "vae"))


@pytest.fixture
def made(univdm):
    def make(kind: Any = PCEFaceStage, **options: Any) -> Any:
        torch.manual_seed(0)
        given = {"univdm": str(univdm), "lengths": [4, 6], "shift_least": 0.1, "shift_most": 0.1, **NETWORK, **options}
        stage = kind(**nested(kind, **given))
        stage.use_statistics(statistics())
        filled(stage.network, std=0.3)
        stage.logged = {}
        stage.log = lambda name, value, **more: stage.logged.__setitem__(name, float(torch.as_tensor(value).detach()))
        return stage.train()

    return make


def pairs(generated: list[int] = [0, 1, 0]) -> Any:
    """Whole clips of which the latents tell their frame."""
    given = batch()
    numbers = torch.arange(1.0, FRAMES + 1).view(1, FRAMES, 1, 1, 1)
    mean = numbers.expand_as(given.arrays["latents"]["mean"]).clone()
    given.arrays["latents"] |= {"mean": mean, "log_variance": torch.full_like(mean, -60.0)}
    given.speech = torch.arange(FRAMES, dtype=torch.float32).view(1, FRAMES, 1).expand(B, FRAMES, 35).clone()
    given.lengths = torch.tensor([10, 7, 10])
    g = torch.Generator().manual_seed(1)
    given.arrays["pair"] = {
        "generated": torch.tensor(generated, dtype=torch.uint8)[:, None],
        "reference": torch.randn(B, *mean.shape[2:], generator=g),
        "box": torch.tensor([[0.1, 0.1, 0.5, 0.4]]).expand(B, 4),
    }
    return given


class Spy:
    def __init__(self, stage: Any):
        self.calls: list[tuple] = []
        self.scores: list[torch.Tensor] = []
        stage.network.register_forward_hook(self._look)

    def _look(self, module: Any, args: tuple, output: torch.Tensor) -> None:
        self.calls.append(args)
        self.scores.append(output.detach())


def quiet(stage: Any) -> Any:
    """Nearly no noise."""
    stage.network.noise.draw = lambda random: torch.zeros(B, dtype=torch.long)
    return stage


@pytest.mark.paper("PH-13")
@torch.no_grad()
def test_picture_and_sound_are_parts_of_the_same_clip_each_of_its_own_length(made):
    stage, given = quiet(made(mask=0.0)), pairs()
    spy, found = Spy(stage), set()
    for number in range(30):
        given.ids = [f"{number}-{sample}" for sample in range(B)]
        stage.step(given, "train")
        noisy, _, told, video, audio = spy.calls[-1]
        scale = stage.network.latent_scale
        for row in range(B):
            seen = (noisy[row, :, : video[row]].mean((0, 2, 3)) / scale).round() - 1
            heard = told.audio[row, : audio[row], stage.network.audio_context, 0, 0]
            assert (seen.diff() == 1).all()
            assert (heard.diff() == 1).all()
            assert seen[0] == heard[0]
            assert max(seen.max(), heard.max()) < given.lengths[row]
            found.add((int(video[row]), int(audio[row])))
    assert found == {(4, 4), (4, 6), (6, 4), (6, 6)}


@pytest.mark.paper("PH-12")
@pytest.mark.parametrize("kind", [PCEFaceStage, PCENonfaceStage])
@torch.no_grad()
def test_it_sees_its_own_region_in_its_share_and_always_in_validation(made, kind):
    stage, given = quiet(made(kind, mask=0.7)), pairs()
    spy, masked = Spy(stage), []
    inside = region_mask(given.arrays["pair"]["box"], *given.arrays["latents"]["mean"].shape[-2:], kind.region)
    hidden = (1 - inside)[0, 0, 0].bool()

    def look() -> list[bool]:
        noisy, _, told, _, _ = spy.calls[-1]
        for row in range(B):
            seen = noisy[row][..., hidden].abs().max() > 0
            assert bool(told.reference[row][..., hidden].abs().max() > 0) == bool(seen), "the picture alike"
            assert noisy[row][..., ~hidden].abs().min() > 0
            masked.append(not seen)
        return masked[-B:]

    for number in range(100):
        given.ids = [f"{number}-{sample}" for sample in range(B)]
        stage.step(given, "train")
        look()
    assert 0.6 < sum(masked) / len(masked) < 0.8
    stage.eval()
    stage.step(given, "val")
    assert all(look())


@pytest.mark.paper("PH-14")
@torch.no_grad()
def test_the_loss_is_binary_cross_entropy_of_filmed_against_generated(made):
    stage, given = made(), pairs()
    spy = Spy(stage)
    loss = stage.step(given, "train")
    expected = F.binary_cross_entropy_with_logits(spy.scores[0], torch.tensor([1.0, 0.0, 1.0]))
    torch.testing.assert_close(loss, expected)
    assert stage.network.noise.train_steps == 1000, "the UniVDM's own noise, all of its levels"
    assert stage.logged["train/accuracy"] == pytest.approx(
        ((spy.scores[0] > 0) == torch.tensor([True, False, True])).float().mean().item()
    )


@pytest.mark.paper("PH-14")
@pytest.mark.parametrize(("low_noise", "below"), [(1.0, 0.25), (2.0, 0.5)])
@torch.no_grad()
def test_training_draws_little_noise_more_often_where_it_is_asked_to_and_validation_never(made, low_noise, below):
    stage, given = made(low_noise=low_noise), pairs()
    spy = Spy(stage)

    def low(part: str) -> float:
        """Share of the levels in the lowest quarter."""
        stage.train(part == "train")
        spy.calls.clear()
        for number in range(200):
            given.ids = [f"{number}-{sample}" for sample in range(B)]
            stage.step(given, part)
        levels = torch.cat([call[1] for call in spy.calls])
        assert 0 <= levels.min() < 50
        assert 950 < levels.max() <= 999
        return (levels < 250).float().mean().item()

    assert low("train") == pytest.approx(below, abs=0.06)
    assert low("val") == pytest.approx(0.25, abs=0.06)


@torch.no_grad()
def test_in_its_share_of_training_nothing_is_heard_and_in_validation_never(made):
    stage, given = made(drop_audio=0.3), pairs()
    spy = Spy(stage)

    def silent(part: str) -> float:
        stage.train(part == "train")
        spy.calls.clear()
        for number in range(200):
            given.ids = [f"{number}-{sample}" for sample in range(B)]
            stage.step(given, part)
        return (torch.stack([call[4] for call in spy.calls]) == 0).float().mean().item()

    assert silent("train") == pytest.approx(0.3, abs=0.06)
    assert silent("val") == 0
    noisy, levels, inputs, video, _ = spy.calls[-1]
    other = replace(inputs, audio=inputs.audio.flip(0) + 1)
    for heard in (torch.zeros(B, dtype=torch.long), torch.tensor([6, 4, 6])):
        same = torch.equal(*(stage.network(noisy, levels, each, video, heard) for each in (inputs, other)))
        assert same == (heard == 0).all(), "of sound that does not count nothing is heard"


@pytest.mark.parametrize("negatives", ["mismatched", "both"])
@torch.no_grad()
def test_wrong_sound_is_a_negative_of_filmed_clips_alone(made, negatives):
    stage, given = made(negatives=negatives), pairs()
    spy = Spy(stage)
    loss = stage.step(given, "train")
    assert len(spy.calls[0][0]) == B, "pictures are looked at once"
    assert len(spy.scores[0]) == 2 * B
    own, wrong = spy.scores[0].chunk(2)
    right = -own[[0, 2]].sigmoid().log()
    false = -(1 - wrong[[0, 2]].sigmoid()).log()
    made_up = -(1 - own[[1]].sigmoid()).log()
    if negatives == "mismatched":
        expected = (right.sum() + false.sum()) / 4
    else:  # what is right counts as much as both kinds of wrong together
        expected = (2 * right.sum() + false.sum() + made_up.sum()) / (4 + 2 + 1)
    torch.testing.assert_close(loss, expected)
    audio = spy.calls[0][2].audio
    assert not torch.equal(audio[:B], audio[B:])


def test_accuracy_by_noise_level_and_the_area_under_the_curve(made):
    stage, given = made(), pairs()
    spy = Spy(stage)
    levels = torch.tensor([0, 600, 999])
    stage.network.noise.draw = lambda random: levels
    stage.eval()
    with torch.no_grad():
        stage.step(given, "val")
    stage.on_validation_epoch_end()
    hits = ((spy.scores[0] > 0) == torch.tensor([True, False, True])).float().tolist()
    assert [stage.logged.get(f"val/accuracy_{name}") for name in QUARTERS] == [hits[0], None, hits[1], hits[2]]
    score = spy.scores[0]
    area = ((score[0] > score[1]).float() + (score[2] > score[1]).float()) / 2
    assert stage.logged["val/auc"] == pytest.approx(area.item())
    assert set(stage.logged) <= set(stage.figures())


@pytest.mark.paper("PH-10")
def test_its_encoder_begins_as_the_univdms_and_all_of_it_learns(univdm, made):
    torch.manual_seed(3)
    options = {"univdm": str(univdm), "lengths": [4], **NETWORK}
    stage = PCEFaceStage(**nested(PCEFaceStage, **options))
    own = UniVDM.from_pretrained(univdm / "export").denoiser.state_dict()
    for name, value in stage.network.encoder.state_dict().items():
        torch.testing.assert_close(value, own[name])
    assert stage.network.region == "face"
    assert stage.network.autoencoder
    stage.use_statistics(statistics())
    filled(stage.network.encoder, std=0.3)
    stage.log = lambda *args, **more: None
    stage.train().step(pairs(), "train").backward()
    idle = [name for name, p in stage.network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not [name for name, p in stage.network.named_parameters() if p.grad is None], "ranks would wait for them"
    # Of one token of the picture attention has no choice.
    none = (".norm2.", ".attn2.to_q", ".attn2.to_k")
    assert all(any(part in name for part in none) for name in idle), idle


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"univdm": None}, "stage.univdm is needed"),
        ({"univdm": "nowhere"}, "stage.univdm=nowhere"),
        ({"lengths": []}, "stage.lengths is empty"),
        ({"shift_most": 0.05}, "shift_most=0.05 is less than stage.shift_least=0.1"),
        ({"mask": 1.2}, "mask"),
        ({"drop_audio": -0.1}, "drop_audio is a probability"),
        ({"drop_audio": 0.5, "negatives": "mismatched"}, "only sound tells mismatched ones"),
        ({"heads": 3}, "stage.network: width=8"),
    ],
)
def test_options_that_make_no_sense_are_refused(made, options, said):
    with pytest.raises(ConfigError, match=said):
        made(**options)


@pytest.mark.parametrize("negatives", ["distilled", "both"])
@torch.no_grad()
def test_nothing_is_heard_behind_a_clips_end_whatever_stands_beside_it(made, negatives):
    stage, given = made(negatives=negatives, lengths=[10]), pairs()  # whole clips, of which one is shorter
    spy = Spy(stage)
    stage.step(given, "train")
    given.speech = given.speech.clone()
    given.speech[1, given.lengths[1] :] = 99.0
    stage.step(given, "train")
    torch.testing.assert_close(spy.calls[1][2].audio, spy.calls[0][2].audio)
    torch.testing.assert_close(spy.scores[1], spy.scores[0])
    last = spy.calls[0][2].audio[1, int(given.lengths[1]) - 1, :, 0, 0]
    assert last.tolist() == [4, 5, 6, 6, 6], "the last frame again"


@pytest.mark.paper("PH-14")
@pytest.mark.parametrize("size", ["paper", "tiny"])
def test_both_classifiers_are_trained_alike(size):
    face, rest = (training_config(f"paha/pce_{region}/{size}", []) for region in ("face", "nonface"))
    assert rest["stage"].pop("name") == "paha.pce_nonface"
    assert face["stage"].pop("name") == "paha.pce_face"
    assert face == rest
    if size == "paper":
        stage, trainer = face["stage"], face["trainer"]
        assert (stage["optimizer"]["lr"], stage["schedule"]["warmup_steps"]) == (1e-4, 5000)
        assert (face["data"]["global_batch"], trainer["max_steps"]) == (16, 100_000)
        assert stage["lengths"] == [30, 60, 90, 120]
        assert (stage["mask"], stage["negatives"]) == (0.8, "distilled")
    else:
        assert stage_is_small(face)


def stage_is_small(values: dict[str, Any]) -> bool:
    return values["stage"]["network"]["width"] < 512 and values["trainer"]["max_steps"] < 10_000
