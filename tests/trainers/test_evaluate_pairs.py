"""Measuring the classifiers of PAHA: what they are asked, and what is made of their answers."""

import json
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from datamodules.clip import ClipInfo
from datamodules.shards.index import Index
from models.paha.classifier import PCEClassifier
from models.paha.regions import region_mask
from preprocessing.negatives.run import make_negatives
from settings import ConfigError
from tests.autoencoders import save_autoencoder
from tests.preprocessing.test_negatives import options, save_univdm
from tests.trainers.test_evaluate_univdm import save_classifier, with_data
from tests.trainers.video_stages import latent_shards
from trainers.evaluate import evaluate, main
from trainers.evaluation.comparison import spread
from trainers.paha.evaluation.pair_clips import PairClips, Side, pairs_of
from trainers.paha.evaluation.pair_figures import area, figures_about, figures_of, told_apart
from trainers.paha.evaluation.pair_scores import Asker, Scores, together

FPS, FRAMES, LENGTH, CONTEXT = 10.0, 40, 12, 2
SHIFTS = [0.2, 0.5, 1.0, 2.0]
BOX = torch.tensor([0.0, 0.0, 0.5, 0.5])


def side(first: float, frames: int = FRAMES) -> Side:
    """A clip whose latents and sound tell their frame."""
    numbers = first + torch.arange(frames, dtype=torch.float32)
    latents = numbers.view(-1, 1, 1, 1).expand(-1, 4, 2, 2).clone()
    info = ClipInfo(id="a", source="", end=frames / FPS, fps=FPS, frames=frames)
    return Side(info, latents, torch.full_like(latents, -80.0), numbers.view(-1, 1, 1), latents + 0.25)


def pair(number: int, clip: str | None = None, frames: int = FRAMES) -> PairClips:
    real, made = side(1000 * number, frames), side(1000 * number + 500, frames)
    return PairClips(str(number), clip or f"clip{number}", real, made, torch.ones(4, 2, 2), None, BOX)


class Network:
    """A classifier without weights that keeps what it was shown; it knows right sound and filmed clips."""

    latent_scale, region, audio_context, image_channels = 2.0, "face", CONTEXT, 0

    def __init__(self) -> None:
        self.noise = SimpleNamespace(train_steps=100, add=lambda x0, noise, levels: x0 + 0 * noise)
        self.calls: list[tuple] = []

    def __call__(self, noisy, levels, inputs):
        self.calls.append((noisy, levels, inputs))
        seen = noisy[:, 0, :, 0, 0] / self.latent_scale
        heard = inputs.audio[:, :, CONTEXT, 0, 0]
        times = len(heard) // len(seen)
        return -(heard - seen.repeat(times, 1)).abs().mean(1) - 3 * (seen % 1000 >= 500).float().mean(1).repeat(times)


def ask(network, pairs, draws=6, batch=2, seed=0):
    asker = Asker(network, torch.device("cpu"), LENGTH, SHIFTS, draws, batch)
    return together([part for _, part in asker.ask(pairs, seed)])


@pytest.mark.paper("PH-10")
def test_right_sound_is_of_the_same_frames_and_wrong_sound_is_as_far_away_as_it_says():
    network = Network()
    pairs = [pair(number) for number in range(3)]
    scores = ask(network, pairs)
    assert scores.real.shape == (3, 4, 6)
    assert np.allclose(scores.real, 0)
    assert np.allclose(scores.made, -3), "their own sound, too"
    assert np.allclose(scores.plain, -0.25, atol=1e-3)
    for seconds in SHIFTS:
        assert np.allclose(scores.wrong[f"shift_{seconds:g}"], -seconds * FPS)
    other = scores.wrong["other"]
    assert (np.abs(other + 1000 * np.array([1, 1, 2])[:, None, None]) < FRAMES).all()
    starts = {float(seen) for noisy, _, _ in network.calls[::3] for seen in noisy[0, 0, :1, 0, 0] / 2 % 1000}
    assert starts == {CONTEXT, FRAMES - LENGTH - CONTEXT}, "either end, sound around the frames is there"


@pytest.mark.paper("PH-12")
def test_it_sees_its_own_region_at_levels_of_the_band():
    network = Network()
    ask(network, [pair(number) for number in range(2)])
    seen = region_mask(BOX[None], 2, 2, "face")[0, 0, 0].bool()
    levels = []
    for noisy, level, inputs in network.calls:
        assert noisy[..., ~seen].abs().max() == 0
        assert noisy[..., seen].abs().min() > 0
        assert (inputs.reference[..., ~seen] == 0).all()
        assert (inputs.reference[..., seen] == 2).all()
        levels.append(level.tolist())
    assert len(levels) == 4 * 6 * 3
    for band in range(4):
        found = {one for each in levels[18 * band : 18 * band + 18] for one in each}
        assert min(found) >= 25 * band
        assert max(found) < 25 * (band + 1)
        assert len(found) > 3
    assert levels[0] == levels[1] == levels[2], "filmed, generated and uncompressed at one level"


def test_a_pair_is_asked_alike_whatever_stands_beside_it_in_a_batch():
    pairs = [pair(number) for number in range(5)]
    networks = [Network(), Network()]
    for network in networks:
        network.noise.add = lambda x0, noise, levels: x0 + noise * levels[:, None, None, None, None] / 100
    one, other = (ask(network, pairs, batch=batch) for network, batch in zip(networks, (5, 2), strict=True))
    np.testing.assert_allclose(one.real, other.real, rtol=1e-4)
    np.testing.assert_allclose(one.wrong["other"], other.wrong["other"], rtol=1e-4)
    assert not np.allclose(one.real, ask(networks[0], pairs, seed=1).real)


def test_what_there_is_no_room_for_is_left_out():
    scores = ask(Network(), [pair(0, "same", 30), pair(1, "same", 30)])
    assert np.isfinite(scores.wrong["shift_1"]).all()
    assert np.isnan(scores.wrong["shift_2"]).all(), "thirty frames hold no twelve of them two seconds away"
    assert np.isnan(scores.wrong["other"]).all(), "both are of one clip"
    figures = figures_of(scores, ["same", "same"], [0, 1, 2, 3])
    assert not {"auc_shift_2", "auc_other"} & set(figures)
    assert figures["auc_sound"] == 1


def test_the_area_is_how_often_one_is_above_the_other():
    random = np.random.default_rng(0)
    above, below = random.normal(0.5, 1, 40).round(1), random.normal(0, 1, 30).round(1)
    counted = np.mean([(a > b) + 0.5 * (a == b) for a, b in product(above, below)])
    assert area(above, below) == pytest.approx(counted)
    assert area(np.append(above, np.nan), below) == pytest.approx(counted)
    assert np.isnan(area(above[:0], below))


def made_up(clips: int = 12, seed: int = 0) -> Scores:
    """Filmed clips are known at low noise; sound a second away a little; compression not."""
    random = np.random.default_rng(seed)
    shape = (clips, 4, 5)
    strength = np.array([3.0, 1.0, 0.3, 0.0])[:, None]
    base = random.normal(0, 0.2, (clips, 1, 1))
    real = base + strength + random.normal(0, 1, shape)
    wrong = {"shift_0.2": real - 0.001 * random.normal(0, 1, shape), "shift_1": real - strength / 2}
    wrong["other"] = np.full(shape, np.nan)
    wrong["other"][0] = -5
    return Scores(real, base - strength + random.normal(0, 1, shape), real.copy(), wrong)


@pytest.mark.paper("PH-14")
def test_each_question_has_its_own_figure():
    scores, clips = made_up(), [f"clip{number // 2}" for number in range(12)]
    low = figures_of(scores, clips, [0])
    real, made = scores.real[:, 0].ravel(), scores.made[:, 0].ravel()
    assert low["accuracy"] == pytest.approx(((real > 0).mean() + (made <= 0).mean()) / 2)
    assert low["auc_generated"] == pytest.approx(area(real, made))
    assert low["auc_generated"] > 0.9
    assert low["auc_shift_0.2"] == pytest.approx(0.5, abs=0.02)
    assert low["auc_shift_1"] == pytest.approx(area(real, scores.wrong["shift_1"][:, 0]))
    assert low["auc_shift_1"] > 0.7
    chosen = [(real > other[:, 0].ravel()).astype(float) for other in scores.wrong.values()]
    there = [chosen[0], chosen[1], chosen[2][:5]]
    assert low["chosen_sound"] == pytest.approx(np.concatenate(there).mean())
    assert low["auc_other"] == 1
    assert low["auc_plain"] == low["auc_generated"]
    assert low["auc_compression"] == 0.5
    assert low["auc_generated"] > figures_of(scores, clips, [3])["auc_generated"]
    assert len(low["accuracy"].without) == 6, "pairs of one clip are left out together"
    rest = figures_of(
        Scores(
            scores.real[2:], scores.made[2:], scores.plain[2:], {name: each[2:] for name, each in scores.wrong.items()}
        ),
        clips[2:],
        [0],
    )
    assert low["auc_generated"].without[0] == pytest.approx(rest["auc_generated"])
    assert low["auc_other"].shown.tolist() == [True] + 5 * [False]
    assert set(low) <= set(figures_about([0.2, 1.0]))


def test_nothing_is_said_of_few_clips_or_of_what_chance_gives():
    scores = made_up(24)
    clips = [f"clip{number}" for number in range(24)]
    found = spread([figures_of(scores, clips, [0])])
    said = {name: told_apart(figure, name, "at low noise") for name, figure in found.items()}
    outcomes = {name: one["outcome"] for name, one in said.items()}
    assert outcomes["auc_generated"] == outcomes["auc_shift_1"] == outcomes["accuracy"] == "win"
    assert outcomes["auc_shift_0.2"] == outcomes["auc_compression"] == "open"
    assert "not told apart" in said["auc_shift_0.2"]["text"]
    assert "compression tells it nothing" in said["auc_compression"]["text"]
    assert outcomes["auc_other"] == "too few clips", "one clip alone shows it"
    turned = Scores(-scores.real, -scores.made, scores.plain + 3, scores.wrong)
    found = spread([figures_of(turned, clips, [0])])
    assert told_apart(found["auc_generated"], "auc_generated", "")["outcome"] == "loss"
    assert "compression gives clips away" in told_apart(found["auc_compression"], "auc_compression", "")["text"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("pairs")
    vae = save_autoencoder(folder / "vae")
    shards = latent_shards(folder, vae, [0.8, 1.0])
    univdm = save_univdm(folder / "univdm", vae)
    make_negatives(options(univdm, vae, shards, folder / "out", keep_video=False))
    runs = {
        region: with_data(save_classifier(folder / region, univdm, region), folder / "out")
        for region in ("face", "nonface")
    }
    return SimpleNamespace(folder=folder, univdm=univdm, pairs=folder / "out", shards=shards, **runs)


QUICK = {"splits": ["val"], "seeds": [0, 1], "draws": 2, "shifts": [0.04, 0.08, 2.0]}


@pytest.mark.paper("PH-12")
@pytest.mark.parametrize("region", ["face", "nonface"])
def test_held_out_pairs_are_measured_by_noise(world, region, capsys):
    output = evaluate(run=str(getattr(world, region)), **QUICK)
    part = output["splits"]["val"]
    assert output["region"] == region
    assert list(part["labels"].values()) == [
        "all noise", "low noise", "low middle noise", "high middle noise", "high noise",
    ]  # fmt: skip
    assert (part["clips"], part["pairs"], part["length"]) == (2, 4, 4), "the least that it was trained with"
    figures = {"accuracy", "auc_generated", "auc_sound", "chosen_sound", "auc_shift_0.04", "auc_shift_0.08"}
    figures |= {"auc_other", "auc_plain", "auc_compression"}
    for system in part["systems"].values():
        assert set(system) == figures, "no pair holds two seconds more"
        assert all(0 <= one["mean"] <= 1 for one in system.values())
    assert set(part["verdicts"]) == figures
    assert {one["outcome"] for one in part["verdicts"].values()} == {"too few clips"}
    stored = json.loads((getattr(world, region) / "evaluation" / "figures.json").read_text())
    assert stored["splits"]["val"]["systems"]["low"]["accuracy"]["mean"] == part["systems"]["low"]["accuracy"]["mean"]
    assert main([f"run={getattr(world, region)}", "draws=1", "seeds=[0]", "splits=[val]", "clips=2"]) == 0
    printed = capsys.readouterr().out
    assert "AUC, sound off by 0.2 s" in printed
    assert "The paper prints no figures of its classifiers by themselves" in printed


def test_a_classifier_that_knows_is_told_so(world, monkeypatch):
    """Latents of generated clips are marked where they are read, and only filmed ones score."""
    from trainers.paha.evaluation import pair_clips

    side_of = pair_clips._side

    def marked(info, values, *args):
        made = bool(values["pair.npz"]["generated"][0])
        one = side_of(info, values, *args)
        one.mean.fill_(-9 if made else 9)
        one.plain.fill_(9)
        return one

    def forward(self, noisy, levels, inputs, video_frames=None, audio_frames=None):
        seen = noisy.flatten(1).sum(1).sign()
        return seen.repeat(len(inputs.audio) // len(noisy))

    monkeypatch.setattr(pair_clips, "_side", marked)
    monkeypatch.setattr(PCEClassifier, "forward", forward)
    low = evaluate(run=str(world.face), out=world.folder / "known", **QUICK)["splits"]["val"]["systems"]["low"]
    assert low["accuracy"]["mean"] == low["auc_generated"]["mean"] == 1
    assert low["auc_sound"]["mean"] == low["auc_compression"]["mean"] == low["chosen_sound"]["mean"] == 0.5


def test_what_cannot_be_measured_is_said(world, tmp_path):
    stranger = save_classifier(tmp_path / "stranger", world.univdm, "face", autoencoder="f" * 64)
    for run, asked, said in (
        (world.face, {"data": str(world.shards)}, "pair.npz, of `python -m preprocessing.negatives`"),
        (world.face, {"length": 15}, "length=15: the shortest pair has"),
        (stranger, {"data": str(world.pairs)}, "latents are of another autoencoder"),
        (world.face, {"guide_rate": 0.3}, "means nothing to a network of paha.pce_face"),
    ):
        with pytest.raises(ConfigError, match=said):
            evaluate(run=str(run), out=tmp_path, **{**QUICK, **asked})


def test_pairs_that_lack_a_clip_are_left_out_and_named(world, caplog, logged):
    index = Index.load(world.pairs)
    whole = pairs_of(index, "train", None)
    samples = [sample for shard in index.shards for sample in shard.samples]
    gone = next(sample.id for sample in samples if sample.split == "train" and sample.id.endswith("-made"))
    for shard in index.shards:
        shard.samples[:] = [sample for sample in shard.samples if sample.id != gone]
    left = pairs_of(index, "train", None)
    assert set(whole) - set(left) == {gone.removesuffix("-made")}
    assert f"1 pairs lack a clip and are left out ({gone.removesuffix('-made')})" in caplog.text
    assert len(pairs_of(index, "train", 3)) == 3
    for shard in index.shards:
        shard.samples[:] = [sample for sample in shard.samples if not sample.id.endswith("-made")]
    with pytest.raises(ConfigError, match="train holds no pair of a filmed and a generated clip"):
        pairs_of(index, "train", None)
