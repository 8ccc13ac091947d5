"""The tokenizer's stage: its configs, what a step does, a whole short run, and how it is measured."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from datamodules.batch import Batch
from models.versa import MotionTokenizer
from models.versa.tokenizer_loss import tokenizer_loss
from settings import ConfigError, build
from settings.command import command
from tests.models.test_versa_tokenizer import SMALL, motions
from tests.motions import make_motion, motion_statistics, write_motion_shards
from tests.nested import nested
from tests.nested import words as words_of
from trainers.evaluate import evaluate
from trainers.evaluation.tables import as_text
from trainers.fit import fit
from trainers.run.checkpoints import read
from trainers.tracking.metrics_csv import read_metrics
from trainers.versa.code_use import CodeUse
from trainers.versa.evaluation.block_pca import BlockPCA, lloyd_max, share_out
from trainers.versa.evaluation.tokenizer import measure
from trainers.versa.tokenizer import TokenizerStage

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "versa" / "tokenizer"
B, M = 3, 20


def values(name: str, *words: str) -> dict[str, Any]:
    return command(fit, ["--config", str(CONFIGS / name), "data.shards=/nowhere", *words], prog="fit")


def stage(**options: Any) -> TokenizerStage:
    torch.manual_seed(0)
    output = TokenizerStage(**nested(TokenizerStage, **{**SMALL, **options}))
    output.use_statistics(motion_statistics(list(motions(8, 40).numpy())))
    output.logged = {}
    output.log = lambda name, value, **_: output.logged.update({name: value})
    return output


def batch(lengths: list[int] | None = None, fps: float = 20.0, seed: int = 0) -> Batch:
    return Batch(
        ids=[f"clip{seed}{i}@0" for i in range(B)],
        starts=torch.zeros(B, dtype=torch.long),
        fps=fps,
        motion=motions(B, M),
        lengths=torch.tensor(lengths) if lengths else None,
    )


@pytest.mark.paper("VA-3")
@pytest.mark.paper("VA-4")
def test_paper_config_has_the_sizes_of_the_specification():
    paper = values("paper.yaml")
    options = paper["stage"]["network"]
    assert (options["codes"], options["rate"], options["width"], options["decay"]) == (512, 4, 512, 0.99)
    assert values("tiny.yaml")["stage"]["network"]["codes"] == 512
    assert round(paper["data"]["window_seconds"] * 20) == 64


@pytest.mark.parametrize(("name", "low", "high"), [("paper.yaml", 15e6, 30e6), ("tiny.yaml", 2e5, 3e6)])
def test_every_config_makes_a_stage(name, low, high):
    options = dict(values(name)["stage"])
    options.pop("name")
    with torch.device("meta"):
        output = TokenizerStage(**options)
    assert low < sum(p.numel() for p in output.network.parameters()) < high


@pytest.mark.paper("VA-4")
def test_a_step_is_the_loss_and_the_codebook_moves_once_it_is_taken():
    output, one = stage(beta=0.5), batch()
    loss = output.training_step(one, 0)
    output.network.eval()
    expected = tokenizer_loss(output.network, output.network(one.motion), **output.weights)["loss"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert {"train/reconstruction", "train/positions", "train/velocities", "train/commitment"} <= output.logged.keys()
    before = output.network.quantizer.codebook.clone()
    output.network.train()
    output.training_step(one, 1)
    assert torch.equal(output.network.quantizer.codebook, before)
    output.on_before_optimizer_step(None)
    assert not torch.equal(output.network.quantizer.codebook, before)
    assert output.logged["train/codes_reset"] == output.network.quantizer.resets
    assert output.logged["train/perplexity"] == output.network.quantizer.perplexity


def test_which_latents_become_codes_depends_on_the_samples_alone():
    def codebook(order: list[int], cut: int) -> torch.Tensor:
        output, one = stage(), batch()
        for part in (order[:cut], order[cut:]):
            some = Batch(ids=[one.ids[i] for i in part], starts=one.starts[part], fps=20.0, motion=one.motion[part])
            torch.rand(len(part))  # the global random numbers do not matter
            output.training_step(some, 0)
        output.on_before_optimizer_step(None)
        return output.network.quantizer.codebook

    torch.testing.assert_close(codebook([0, 1, 2], 1), codebook([2, 0, 1], 2), rtol=1e-4, atol=1e-5)


def test_lengths_are_those_of_the_motion_whatever_the_clips_frame_rate():
    output, short = stage(), batch([25, 10, 5], fps=25.0)
    output.eval()
    with torch.no_grad():
        loss = output.validation_step(short, 0)
        changed = short.motion.clone()
        for i, length in enumerate([20, 8, 4]):
            changed[i, length:] = 9.0
        repeated = output.validation_step(Batch(**{**vars(short), "motion": changed}), 0)
    assert loss.item() == pytest.approx(repeated.item(), rel=1e-6)
    with torch.no_grad():
        changed[1, 7] += 1
        assert output.validation_step(Batch(**{**vars(short), "motion": changed}), 0) != repeated


def test_validation_says_how_far_joints_are_off_and_which_codes_come():
    output = stage().eval()
    with torch.no_grad():
        output.validation_step(batch([M, M, 3]), 0)
    assert {"val/loss", "val/mpjpe", "val/error_contacts", "val/error_root_yaw_velocity"} <= output.logged.keys()
    tokens = output.network.encode(batch().motion)
    expected = torch.cat([tokens[:2].flatten(), output.network.encode(batch().motion[2:, :3])[0]])
    assert output.logged["val/code_use"].compute() == len(expected.unique()) / SMALL["codes"]
    assert output.logged["val/perplexity"].compute() <= len(expected.unique()) + 1e-4


def test_code_use_is_of_all_batches():
    share, perplexity = CodeUse(8), CodeUse(8, "perplexity")
    for tokens, mask in (([[0, 1], [7, 7]], [[1, 1], [1, 0]]), ([[2, 5]], [[1, 0]])):
        for metric in (share, perplexity):
            metric.update(torch.tensor(tokens), torch.tensor(mask))
    assert share.compute() == 4 / 8
    assert perplexity.compute().item() == pytest.approx(4)


def test_data_without_motion_statistics_are_refused():
    with pytest.raises(ConfigError, match=r"preprocessing\.motion"):
        TokenizerStage(**nested(TokenizerStage, **SMALL)).use_statistics({"pose": {}})
    with pytest.raises(ConfigError, match="power of two"):
        TokenizerStage(**nested(TokenizerStage, **{**SMALL, "rate": 6}))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    shards = write_motion_shards(folder / "shards", clips=9, seconds=[2.0, 2.5, 3.1], splits=("train", "train", "val"))
    words = words_of(TokenizerStage, **SMALL)
    words += ["data.batch_size=4", "data.workers=0", "data.window_seconds=1.55", "ema.enabled=true", "ema.decay=0.5"]
    words += ["trainer.max_steps=12", "trainer.val_check_interval=6", "trainer.log_every_n_steps=1"]
    words += ["checkpoint.every_n_steps=6", "samples.count=1", f"data.shards={shards}", f"run={folder / 'run'}"]
    return build(command(fit, ["--config", str(CONFIGS / "tiny.yaml"), *words], prog="fit"), fit)


@pytest.mark.paper("VA-4")
def test_a_short_run_leaves_figures_samples_and_a_network_with_its_codebook(run):
    rows = read_metrics(run / "metrics.csv")
    logged = ("loss", "positions", "velocities", "perplexity", "codes_reset")
    assert {f"train/{name}" for name in logged} <= set(rows[0])
    measured = [row for row in rows if "val/mpjpe" in row]
    assert len(measured) == 2
    assert all(0 < row["val/code_use"] <= 1 for row in measured)
    samples = list((run / "samples").glob("*.mp4"))
    from datamodules.media.files import read_frames

    frames = list(read_frames(samples[0]))
    assert len(frames) == 31
    assert frames[0].shape == (256, 512, 3)
    saved = read(run / "checkpoints" / "step-00000012.ckpt")["state_dict"]
    exported = load_file(run / "export" / "model.safetensors")
    for name in ("codebook", "sizes", "sums"):  # which are no weights, and not averaged as weights are
        assert torch.equal(exported[f"quantizer.{name}"], saved[f"network.quantizer.{name}"])
    assert not torch.equal(exported["encoder.first.weight"], saved["network.encoder.first.weight"])
    assert torch.equal(exported["motion_mean"], saved["network.motion_mean"])
    network = MotionTokenizer.from_pretrained(run / "export").eval()
    assert network.decode(network.encode(motions(1, 13))).shape == (1, 16, 263)


def test_a_run_is_measured_beside_the_mean_pose_and_a_pca_of_as_many_bits(run):
    results = evaluate(run=str(run), clips=None, seconds=None, device="cpu")
    part = results["splits"]["val"]
    systems = part["systems"]
    assert systems.keys() == {"model", "pca", "mean"}
    assert part["clips"] == 3
    assert sum(results["pca_bits"]) == 5, "32 codes"
    assert systems["model"]["bits"]["mean"] == systems["pca"]["bits"]["mean"] == 25
    assert systems["mean"]["of_mean"]["mean"] == 1
    assert systems["pca"]["mpjpe_local"]["mean"] < systems["mean"]["mpjpe_local"]["mean"]
    assert 0 < systems["model"]["code_use"]["mean"] <= systems["model"]["code_use_train"]["mean"] + 0.5
    assert "PCA, as many bits" in as_text(results)
    assert (run / "evaluation" / "figures.json").is_file()


def test_figures_are_millimetres_from_the_truth():
    clips = [motion.numpy() for motion in motions(2, 30)]

    def drifting(motion: np.ndarray) -> np.ndarray:
        output = motion.copy()
        output[:, 2] += 0.001  # a millimetre a frame to the front
        return output

    assert measure(lambda motion: motion, clips) == {
        "mpjpe": 0, "mpjpe_local": 0, "velocity_error": 0, "contacts": 1,
    }  # fmt: skip
    found = measure(drifting, clips)
    assert found["mpjpe_local"] == 0
    assert found["mpjpe"] == pytest.approx(14.5, rel=0.2), "the mean of 0 to 29 mm, less where the person turns round"
    assert found["velocity_error"] == pytest.approx(20, rel=0.05)
    assert measure(lambda motion: 1 - motion.round(), clips[:1])["contacts"] == 0


def test_pca_shares_its_bits_out_as_well_as_can_be():
    rng = np.random.default_rng(0)
    errors = np.cumsum(rng.uniform(0, 1, (3, 6)), 1)[:, ::-1]
    found = share_out(errors, 5)
    every = [(a, b, 5 - a - b) for a in range(6) for b in range(6 - a)]
    best = min(every, key=lambda bits: sum(errors[i, b] for i, b in enumerate(bits)))
    assert tuple(found) == best
    levels = lloyd_max(rng.standard_normal(20_000), 2)
    assert np.allclose(levels, [-0.798, 0.798], atol=0.03), "a normal variable in one bit (Max 1960)"
    four = lloyd_max(rng.standard_normal(20_000), 4)
    assert np.allclose(four, [-1.510, -0.4528, 0.4528, 1.510], atol=0.05)


def test_pca_with_more_bits_is_nearer_and_lengths_are_kept():
    rng = np.random.default_rng(0)
    clips = [make_motion(rng, frames) for frames in (40, 33, 50, 21)]
    errors = []
    for bits in (1, 5, 9):
        pca = BlockPCA(clips, bits, 4)
        assert sum(pca.allocation) == bits
        output = [pca.reconstruct(clip) for clip in clips]
        assert [one.shape for one in output] == [clip.shape for clip in clips]
        errors.append(np.mean([np.square(one - clip).mean() for one, clip in zip(output, clips, strict=True)]))
        blocks = {
            tuple(np.round(block, 6)) for one in output for block in one[: len(one) // 4 * 4].reshape(-1, 4 * 263)
        }
        assert len(blocks) <= 2**bits
    assert errors[0] > errors[1] > errors[2]
