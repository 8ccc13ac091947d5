"""The chains of the systems' own launch files as jobs of a real SLURM, with tiny sizes: commands between trainings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from datamodules.clips import read_clips
from datamodules.shards.index import Index
from models.versa.token2pose import PoseBank
from tests.e2e.cluster import Cluster
from tests.e2e.launches import launch, log
from tests.models.test_implicit_motion_base import SMALL
from tests.motions import write_motion_shards
from tests.shards import write_shards
from trainers.run.folder import RunFolder, read_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TRAINER = {
    "max_steps": 2, "accelerator": "cpu", "val_check_interval": None, "check_val_every_n_epoch": None,
    "limit_val_batches": 0, "enable_progress_bar": False,
}  # fmt: skip


def words(stage: str, config: str | None, **overrides: Any) -> list[str]:
    """Words that make a link of a launch file tiny."""
    given = {f"overrides.{name}": value for name, value in overrides.items()}
    if config:
        quick = {"checkpoint.monitor": None, "samples.count": 0, "data.workers": 0, "data.batch_size": 2}
        given |= {"config": config, "overrides.trainer": TRAINER}
        given |= {f"overrides.{name}": value for name, value in quick.items()}
    return [f"stages.{stage}.{name}={json.dumps(value)}" for name, value in given.items()]


SLURM = ["slurm.gpus_per_node=0", "slurm.cpus_per_task=1", "slurm.time=1200", "slurm.signal=60"]


@pytest.fixture(scope="module")
def chains(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, str]]]:
    """Both chains, submitted one after the other and ended together: launch folder and jobs by system."""
    folder = tmp_path_factory.mktemp("systems")
    keys = ("video.mp4", "speech.npz", "audio.flac")
    write_shards(folder / "clips", clips=4, per_shard=2, seconds=1.0, keys=keys, video_size=(32, 32))
    write_motion_shards(
        folder / "motion", clips=4, per_shard=2, seconds=2.0,
        keys=("pose.npz", "motion.npz", "speech.npz", "audio.flac"),
        info=lambda clip: {"captions": [{"start": 0, "end": 2, "text": f"a person waves {clip} times"}]},
    )  # fmt: skip
    videos, motion = str(folder / "clips"), str(folder / "motion")
    base = {
        **{f"stage.network.{name}": value for name, value in SMALL.items()},
        "stage.discriminator_width": 4, "stage.frames": 2, "data.shards": videos, "data.video_size": [32, 32],
        "data.window": 20,
    }  # fmt: skip
    small = {
        "stage.network.width": 16,
        "stage.network.layers": 1,
        "stage.network.heads": 2,
        "stage.network.feedforward": 32,
    }
    diffusion = small | {
        "stage.network.appearance_channels": SMALL["appearance_channels"],
        "stage.network.audio_width": 8, "stage.network.window": 20,
        "data.window": 20,
    }  # fmt: skip
    codes = {"stage.network.codes": 16, "data.shards": motion}
    text = small | codes | {"stage.network.text_buckets": 32}
    asked = {
        "implicit_motion": [
            "preprocess=null",
            *words("base", "base/tiny.yaml", **base),
            *words("features", None, input=videos, workers=0),
            *words("motion", "motion/tiny.yaml", **diffusion),
        ],
        "versa": [
            "stages.clips=null",
            "stages.evaluator=null",
            *words(
                "tokenizer",
                "tokenizer/tiny.yaml",
                **codes,
                **{"stage.network.width": 16, "stage.network.code_width": 8},
            ),
            *words("text_motion", "text_motion/tiny.yaml", **text),
            *words("audio_motion", "audio_motion/tiny.yaml", **text),
            *words("bank", None, input=motion),
        ],
    }
    started = {
        name: (folder / name, launch(cluster, folder / name, name, *SLURM, *more)) for name, more in asked.items()
    }
    for run, jobs in started.values():
        for job in jobs.values():
            cluster.wait_for_end(job, run, seconds=300)
    return started


def test_features_of_a_base_network_reach_the_motion_stage(cluster: Cluster, chains: dict[str, Any]) -> None:
    folder, jobs = chains["implicit_motion"]
    assert list(jobs) == ["base", "features", "motion"]
    for name, job in jobs.items():
        assert cluster.state(job) == "COMPLETED", log(folder / name)
    assert (folder / "motion" / "export" / "model.safetensors").is_file()
    features = folder / "features" / "output"
    assert {key for shard in Index.load(features).shards for sample in shard.samples for key in sample.keys} == {
        "clip.json", "speech.npz", "audio.flac", "implicit.npz",
    }  # fmt: skip
    motion = read_config(RunFolder(folder / "motion"))
    assert motion is not None
    assert (motion["data"]["shards"], motion["stage"]["base"]) == (str(features), str(folder / "base"))
    # Those of the very network that the chain has trained.
    _, values = next(iter(read_clips(features, ("implicit.npz",))))
    assert values["implicit.npz"]["motion"].shape[0] == 25
    assert np.isfinite(values["implicit.npz"]["motion"]).all()


def test_a_trained_tokenizer_reaches_both_branches_and_the_bank(cluster: Cluster, chains: dict[str, Any]) -> None:
    folder, jobs = chains["versa"]
    assert list(jobs) == ["tokenizer", "text_motion", "audio_motion", "bank"]
    for name, job in jobs.items():
        assert cluster.state(job) == "COMPLETED", log(folder / name)
    text, audio = (
        load_file(folder / name / "export" / "model.safetensors") for name in ("text_motion", "audio_motion")
    )
    frozen = {name for name in text if name.startswith("text.")}
    assert frozen
    assert all((audio[name] == text[name]).all() for name in frozen)
    bank = PoseBank.from_pretrained(folder / "bank" / "output")
    assert (bank.codes, len(bank.tokens) > 0) == (16, True)
    ends, begun = cluster.jobs(jobs["tokenizer"])[0]["EndTime"], cluster.jobs(jobs["bank"])[0]["StartTime"]
    assert ends <= begun
