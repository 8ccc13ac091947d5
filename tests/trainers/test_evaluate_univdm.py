"""Measuring UniVDM: rows with guidance and without, what classifiers think of them, what they cost."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from models.human.autoencoder import PoseAutoencoder
from models.paha.classifier import PCEClassifier
from models.paha.regions import face_box, region_mask
from models.paha.univdm import UniVDM, UniVDMInputs
from models.video.latents import encode
from models.video.speech import audio_windows
from settings import ConfigError
from tests.autoencoders import save_autoencoder
from tests.models.filled import filled
from tests.preprocessing.test_negatives import save_univdm
from tests.trainers.video_stages import latent_shards
from trainers.evaluate import evaluate, main
from trainers.evaluation.talks import load_talks
from trainers.evaluation.videos import load_shots
from trainers.paha.evaluation import cost, video_model
from trainers.paha.evaluation.video_model import Made, UniVDMModel

SIZE, WINDOW = (24, 16), 6
QUICK = {"reader_steps": 2, "pose_steps": 2, "splits": ["val"], "clips": None, "seconds": 0.6, "seeds": [0]}
MADE = {"model", "sg", "dg", "shuffled_audio"}
ROWS = MADE | {"source", "reconstruction", "truth"}
POSES = {"fgd", "diversity", "bas", "bas_distance"}
SCORES, RISES = {"score_face", "score_nonface"}, {"rises_face", "rises_nonface"}
STRONG = {"weight_nonface": 40.0, "weight_face": 40.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def vae(folder) -> Path:
    return save_autoencoder(folder / "vae")


@pytest.fixture(scope="module")
def shards(folder, vae) -> Path:
    return latent_shards(folder, vae, [0.8, 1.0])


@pytest.fixture(scope="module")
def run(folder, vae, shards) -> Path:
    return with_data(save_univdm(folder / "univdm", vae), shards)


def with_data(run: Path, shards: Path) -> Path:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(settings | {"data": {"name": "clips", "shards": str(shards)}}))
    return run


def save_classifier(folder: Path, univdm: Path, region: str, seed: int = 0, **changed) -> Path:
    torch.manual_seed(seed)
    options = UniVDM.from_pretrained(univdm / "export")._hub_mixin_config | changed
    network = PCEClassifier(univdm=options, region=region, width=8, depth=1, heads=2, dropout=0.0)
    filled(network, std=0.3).save_pretrained(folder / "export")
    settings = {"stage": {"name": f"paha.pce_{region}", "lengths": [4, 6]}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture(scope="module")
def both(folder, run) -> dict[str, str]:
    return {
        f"pce_{region}": str(save_classifier(folder / f"pce_{region}", run, region)) for region in ("face", "nonface")
    }


@pytest.fixture(scope="module")
def encoder(folder) -> Path:
    torch.manual_seed(0)
    PoseAutoencoder(window=8, width=8, features=2).save_pretrained(folder / "encoder" / "export")
    (folder / "encoder" / "config.yaml").write_text(yaml.safe_dump({"stage": {"name": "human.pose_autoencoder"}}))
    return folder / "encoder"


@pytest.fixture
def measure(run, both, encoder):
    def measure(out: Path | None = None, guided: bool = True, **options) -> dict:
        given = {**QUICK, "evaluator": str(encoder), "out": out, **(both if guided else {}), **options}
        return evaluate(run=str(run), **given)

    return measure


@pytest.fixture
def noted(monkeypatch) -> list[tuple[int, str, Made]]:
    """Every video that is made: seed, guide, what came out."""
    made, generate = [], UniVDMModel.generate

    def noting(self, source, size, seed, guide, box):
        made.append((seed, guide, generate(self, source, size, seed, guide, box)))
        return made[-1][2]

    monkeypatch.setattr(UniVDMModel, "generate", noting)
    return made


@pytest.mark.paper("PH-20")
def test_every_row_and_figure_stands_in_the_table_beside_the_paper_s(measure, run, noted, caplog, logged):
    output = measure(seeds=[0, 1], **STRONG)
    part = output["splits"]["val"]
    systems = part["systems"]
    assert set(systems) == set(part["labels"]) == ROWS
    assert (part["clips"], part["seconds"]) == (2, 1.2)
    shared = {"psnr", "ssim", "lip_correlation", "retrieval", "seam", "drift_colour", "psnr_mouth_hands"}
    for name in MADE:
        assert shared | POSES | SCORES | set(cost.FIGURES) <= set(systems[name])
        assert (set(systems[name]) >= RISES) == (name in ("sg", "dg"))
    for name in ("source", "reconstruction"):
        assert set(systems[name]) >= POSES
        assert not (SCORES | set(cost.FIGURES)) & set(systems[name])
    assert set(systems["truth"]) >= SCORES | POSES
    assert systems["truth"]["fgd"]["mean"] == pytest.approx(0, abs=1e-6)
    assert systems["truth"]["bas_distance"]["mean"] == 0
    for row in ("truth", "reconstruction"):
        assert {"pose_read_error", "pose_read_motion"} <= set(systems[row])
    assert len({systems[name]["psnr"]["mean"] for name in MADE}) == 4
    # Two clips, two seeds, four rows; the same noise for each guide, another for each clip.
    seeds = {(seed, guide) for seed, guide, _ in noted}
    assert seeds == {(seed, guide) for seed in (0, 1, 1000, 1001) for guide in ("none", "sg", "dg")}
    assert {"lip_correlation", "fgd", "score_face"} <= set(part["verdicts"])
    assert all(one["outcome"] == "too few clips" for one in part["verdicts"].values())
    assert part["verdicts"]["fgd"]["best_baseline"] in ("shuffled_audio", "source"), "guides are no rivals"
    assert set(part["guided"]) == {"sg", "dg"}
    assert "Sequential guidance: too few clips" in part["verdicts"]["lip_correlation"]["text"]
    assert output["guidance"]["guide_rate"] == 0.5
    assert all(about["guides"] for about in output["judged_by"].values())
    assert "judge_face=RUN asks another" in caplog.text
    assert "the classifier that guides" in output["figures"]["score_face"]["meaning"]
    rows = {row["system"]: row for row in output["paper"]["rows"]}
    assert rows["PAHA, DG (PATS)"] == {
        "system": "PAHA, DG (PATS)", "fvd": 2048.75, "bas": 0.1602, "fgd": 14.661, "sync_c": 6.328, "diversity": 98.24,
        "segment_seconds": 112,
    }  # fmt: skip
    stored = json.loads((run / "evaluation" / "figures.json").read_text())
    assert stored["splits"]["val"]["systems"].keys() == systems.keys()


@pytest.mark.paper("PH-18")
@pytest.mark.parametrize("twice", [1, 2])
def test_evaluations_and_gradients_are_counted_at_the_paper_s_setting(measure, tmp_path, twice):
    options = {"clips": 1, "seconds": 0.4, "steps": 30}  # two segments, the second a shorter one
    if twice == 2:
        options |= {"guidance_audio": 1.5}
    systems = measure(tmp_path, **options)["splits"]["val"]["systems"]
    found = {name: (systems[name]["evaluations"]["mean"], systems[name]["gradients"]["mean"]) for name in MADE}
    assert found == {
        "model": (30 * twice, 0), "sg": (30 * twice, 30), "dg": (60 * twice, 30), "shuffled_audio": (30 * twice, 0),
    }  # fmt: skip


@pytest.mark.paper("PH-18")
def test_seconds_are_of_whole_segments_with_and_without_decoding_once_warm(measure, tmp_path, monkeypatch):
    clock, steps = [0.0], [0]

    def now(device):
        # A segment asks three times: before, when it is sampled, when it is decoded.
        part = steps[0] % 3
        clock[0] += (0.0, 5.0, 2.0)[part] * (100 if steps[0] < 12 else 1)  # cold at first
        steps[0] += 1
        return clock[0]

    monkeypatch.setattr(video_model, "now", now)
    systems = measure(tmp_path, guided=False)["splits"]["val"]["systems"]
    assert systems["model"]["segment_seconds"]["mean"] == 7
    assert systems["model"]["sampling_seconds"]["mean"] == 5
    assert not set(cost.FIGURES) & set(systems["truth"])
    assert not {"sg", "dg"} & set(systems)
    costs = [cost.Cost(4.0, 3.0, 30, 0), cost.Cost(6.0, 3.0, 30, 0), cost.Cost(1.0, 0.5, 30, 0)]
    assert cost.whole(costs, [(0, 6), (5, 11), (10, 12)])["segment_seconds"] == 5
    assert cost.whole(costs[:1], [(0, 3)])["segment_seconds"] == 4


@pytest.mark.paper("PH-15")
def test_scores_are_of_each_segment_with_the_clip_s_own_speech_whatever_made_it(
    measure, tmp_path, shards, both, run, noted, folder
):
    other = save_classifier(folder / "other", run, "face", seed=5)
    output = measure(tmp_path, judge_face=str(other), judge_levels=[0.1, 0.3], **STRONG)
    systems = output["splits"]["val"]["systems"]
    assert output["judged_by"]["face"]["name"] == "other"
    assert not output["judged_by"]["face"]["guides"]
    assert output["judged_by"]["nonface"]["guides"]
    univdm = UniVDM.from_pretrained(run / "export")
    ids = output["splits"]["val"]["ids"]
    talks = load_talks(str(shards), ids, 0.6, SIZE, "crop", ("speech.npz",))
    shots = {shot.info.id: shot for shot in load_shots(str(shards), "val", None, 0.6, SIZE)}
    for region, where in (("face", other), ("nonface", Path(both["pce_nonface"]))):
        judge = PCEClassifier.from_pretrained(where / "export").eval()
        by_row = {}
        for row, guide, skip in (("model", "none", 0), ("sg", "sg", 0), ("dg", "dg", 0), ("shuffled_audio", "none", 1)):
            per_clip = []
            for number, talk in enumerate(talks):
                made = [each for seed, kind, each in noted if (seed, kind) == (1000 * number, guide)][skip]
                per_clip.append(by_hand(univdm, judge, region, made.latents, talk, shots[talk.info.id], number, folder))
            by_row[row] = per_clip
            assert systems[row][f"score_{region}"]["mean"] == pytest.approx(np.mean(per_clip), rel=1e-4, abs=1e-5)
        for guide in ("sg", "dg"):
            rises = np.mean([one > plain for one, plain in zip(by_row[guide], by_row["model"], strict=True)])
            assert systems[guide][f"rises_{region}"]["mean"] == rises
        assert by_row["model"] != by_row["shuffled_audio"]


def by_hand(univdm, judge, region, latents, talk, shot, number, folder) -> float:
    """The mean logit over segments and two noise levels."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(folder / "vae")
    reference = encode(vae, shot.frames[:1])[0] * vae.config.scaling_factor
    box = face_box(torch.from_numpy(talk.pose[:1]), *SIZE, SIZE)[None]
    seen = region_mask(box, *latents.shape[-2:], region)
    speech = torch.from_numpy(talk.speech["handcrafted"])[None]
    starts = [0, 6, 9]  # of fifteen frames, six each
    random, logits = torch.Generator().manual_seed(number), []
    for level in (100, 300):
        noise = torch.randn((3, *latents.shape[1:2], 6, *latents.shape[3:]), generator=random)
        for each, start in zip(noise, starts, strict=True):
            levels = torch.tensor([level])
            z = univdm.noise.add(latents[:, :, start : start + 6], each[None], levels)
            inputs = UniVDMInputs(
                reference * seen[:, :, 0], None, audio_windows(speech, start, 6, univdm.audio_context).float()
            )
            with torch.no_grad():
                logits.append(float(judge(z * seen, levels, inputs)))
    return float(np.mean(logits))


@pytest.mark.paper("PH-17")
def test_at_rate_0_guided_rows_are_the_unguided_one_and_no_score_rises(measure, tmp_path):
    systems = measure(tmp_path, guide_rate=0.0)["splits"]["val"]["systems"]
    for name in ("psnr", "lip_correlation", "fgd", "score_face"):
        assert systems["sg"][name]["values"] == systems["dg"][name]["values"] == systems["model"][name]["values"]
    assert systems["sg"]["rises_face"]["mean"] == systems["sg"]["rises_nonface"]["mean"] == 0
    assert systems["sg"]["gradients"]["mean"] == 0


def test_shuffled_audio_hears_another_clip_and_the_rest_its_own(measure, tmp_path, shards, monkeypatch):
    told, source = [], UniVDMModel.source

    def noting(self, first, talk, features):
        told.append((talk.info.id, features))
        return source(self, first, talk, features)

    monkeypatch.setattr(UniVDMModel, "source", noting)
    ids = measure(tmp_path, guided=False)["splits"]["val"]["ids"]
    speech = {
        talk.info.id: talk.speech["handcrafted"]
        for talk in load_talks(str(shards), ids, 0.6, SIZE, "crop", ("speech.npz",))
    }
    assert [name for name, _ in told] == [name for name in ids for _ in range(2)]
    for (name, own), (_, other) in zip(told[::2], told[1::2], strict=True):
        assert np.array_equal(own[:, 0], speech[name])
        assert np.array_equal(other[:, 0], next(values for each, values in speech.items() if each != name))


@pytest.mark.paper("PH-20")
def test_a_copy_of_the_truth_is_told_from_noise(measure, tmp_path, shards, monkeypatch):
    shots = {shot.info.id: shot.frames for shot in load_shots(str(shards), "val", None, 0.6, SIZE)}
    ids, found = list(shots), {}

    def answer(kind):
        def generate(self, source, size, seed, guide, box):
            frames = shots[ids[seed // 1000]]
            if kind == "noise":
                frames = torch.rand(frames.shape, generator=torch.Generator().manual_seed(seed))
            return Made(frames, torch.zeros(1, 4, len(frames), 6, 4), dict.fromkeys(cost.FIGURES, 1.0))

        return generate

    for kind in ("copy", "noise"):
        monkeypatch.setattr(UniVDMModel, "generate", answer(kind))
        found[kind] = measure(tmp_path / kind, guided=False)["splits"]["val"]["systems"]
    copy, noise = (found[kind]["model"] for kind in ("copy", "noise"))
    truth = found["copy"]["truth"]
    assert copy["fgd"]["mean"] == pytest.approx(0, abs=1e-6)
    assert copy["fgd"]["mean"] < noise["fgd"]["mean"]
    assert copy["bas_distance"]["mean"] == 0
    assert copy["diversity"]["mean"] == truth["diversity"]["mean"] != noise["diversity"]["mean"]
    assert copy["retrieval"]["mean"] > noise["retrieval"]["mean"]
    assert copy["lip_correlation"]["mean"] == truth["lip_correlation"]["mean"]
    assert copy["psnr"]["mean"] == 100


@pytest.mark.paper("PH-21")
def test_ablations_and_sweeps_are_options_and_stand_in_the_same_table(
    run, both, encoder, vae, shards, folder, tmp_path, capsys
):
    plain = with_data(save_univdm(folder / "without", vae), shards)
    network = UniVDM.from_pretrained(plain / "export")
    with torch.no_grad():
        network.denoiser.conv_out.weight.mul_(0.5)
    network.save_pretrained(plain / "export")
    words = [
        f"run={run}", f'beside={{"without PAR": "{plain}"}}', f"pce_face={both['pce_face']}", "clips=1", "seconds=0.4",
        "seeds=[0]", "reader_steps=2", "pose_steps=2", f"evaluator={encoder}", f"out={tmp_path}", "splits=[val]",
        "guide_rate=1.0", "weight_face=60",
    ]  # fmt: skip
    assert main(words) == 0
    printed = capsys.readouterr().out
    for said in ("without PAR", "2048.75", "85", "98", "Seconds a segment"):
        assert said in printed
    output = json.loads((tmp_path / "figures.json").read_text())
    systems = output["splits"]["val"]["systems"]
    assert set(systems) == ROWS - {"dg"} | {"without PAR"}, "one classifier guides sequentially alone"
    assert len({systems[name]["psnr"]["mean"] for name in ("model", "without PAR", "sg")}) == 3
    assert output["guidance"]["weight_face"] == 60
    assert systems["sg"]["gradients"]["mean"] == 1, "two steps: none behind the last"
    assert "score_nonface" not in systems["sg"]
    assert "score_face" in systems["without PAR"]


def test_what_cannot_be_measured_is_said(measure, run, both, vae, shards, folder, tmp_path, monkeypatch):
    slow = with_data(save_univdm(folder / "slow", vae, fps=30.0), shards)
    stranger = save_classifier(folder / "stranger", run, "face", autoencoder="f" * 64)
    nonface = both["pce_nonface"]
    for options, said in (
        ({"guides": ["dg"], "pce_nonface": None}, r"guides=\[dg\] compares two classifiers"),
        ({"guides": ["sg"], "pce_nonface": None, "pce_face": None}, r"guides=\[sg\] needs pce_face=RUN"),
        ({"beside": {"sg": str(run)}}, "choose another name"),
        ({"beside": {"slow": str(slow)}}, "slow was trained at 30"),
        ({"beside": {"judge": nonface}}, "one of paha.univdm is needed"),
        ({"judge_face": nonface}, "one of paha.pce_face is needed"),
        ({"judge_face": str(stranger)}, "trained on latents of another autoencoder"),
        ({"poses": "mediapipe"}, "poses=mediapipe: somebody is found in 0% .* give poses=reader"),
        ({"splits": ["test"]}, "no clips with"),
        ({"weights": {"vgg": "x"}}, "figures need weights of"),
    ):
        with pytest.raises(ConfigError, match=said):
            measure(tmp_path, **options)
    monkeypatch.setattr("trainers.paha.evaluation.video_model.face_box", _faceless)
    with pytest.raises(ConfigError, match="no face is seen in it"):
        measure(tmp_path)


def _faceless(*args):
    raise ValueError("no face is seen")


def test_a_gradient_that_is_not_finite_names_the_classifier(measure, run, folder, tmp_path):
    broken = save_classifier(folder / "broken", run, "face")
    network = PCEClassifier.from_pretrained(broken / "export")
    with torch.no_grad():
        network.head[-1].weight.fill_(torch.nan)
    network.save_pretrained(broken / "export")
    with pytest.raises(ConfigError, match="could not be guided: the gradient of the face classifier is not finite"):
        measure(tmp_path, pce_face=str(broken))
