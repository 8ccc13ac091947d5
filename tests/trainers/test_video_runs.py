"""Short runs of both steps of MMGT's video diffusion: figures, samples, checkpoints, exports, going on."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from datamodules.media.files import read_frames
from models.mmgt.video import MMGTVideo
from settings import ConfigError
from tests.autoencoders import save_autoencoder
from tests.trainers.runs import assert_goes_on, rows
from tests.trainers.video_stages import H, W, latent_shards, run
from trainers.export import export
from trainers.run.checkpoints import read

KINDS = ("video_pose", "video_audio")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> SimpleNamespace:
    """Both steps, one on top of the other."""
    folder = tmp_path_factory.mktemp("video")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.report.write_report", lambda folder: None)
        patch.setenv("COSPEECH_CACHE", str(folder / "cache"))
        found = SimpleNamespace(vae=save_autoencoder(folder / "vae"), other=save_autoencoder(folder / "other", seed=1))
        found.shards = latent_shards(folder, found.vae)
        found.video_pose = run("video_pose", folder / "pose", found.shards, found.vae, samples={"count": 1})
        found.video_audio = run(
            "video_audio", folder / "audio", found.shards, found.vae, found.video_pose, samples={"count": 1}
        )
        found.folder = folder
        yield found


def again(trained: SimpleNamespace, kind: str, folder: Path, **changes) -> Path:
    base = trained.video_pose if kind == "video_audio" else None
    changes.setdefault("samples", {"count": 1})
    return run(kind, folder, changes.pop("shards", trained.shards), trained.vae, base, **changes)


@pytest.mark.paper("MMGT-21")
@pytest.mark.parametrize("kind", KINDS)
def test_figures_and_the_best_checkpoint_by_the_least_rmse(kind, trained):
    found = rows(getattr(trained, kind))
    assert {"train/loss", "val/loss", "val/rmse"} <= {name for row in found for name in row}
    errors = {row["step"]: row["val/rmse"] for row in found if "val/rmse" in row}
    assert len(errors) == 2
    best = read(getattr(trained, kind) / "checkpoints" / "best.ckpt")
    assert best["global_step"] == min(errors, key=errors.get) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_validation_shows_reference_real_and_generated_frames_with_sound(kind, trained):
    file = sorted((getattr(trained, kind) / "samples").glob("*.mp4"))[-1]
    frames = np.stack(list(read_frames(file)))
    assert len(frames) == 4
    height, width = frames.shape[1:3]
    assert width / height == pytest.approx(3 * W / H, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_holds_the_whole_network_and_a_checkpoint_what_is_trained(kind, trained):
    folder = getattr(trained, kind)
    network = MMGTVideo.from_pretrained(folder / "export")
    assert network.autoencoder
    assert network.latent_scale > 0
    state = read(folder / "checkpoints" / "last.ckpt")
    named = {f"network.{name}" for name, _ in network.named_parameters()}
    own = {name for name in named if "audio" in name or "motion_modules" in name}
    held = named & set(state["state_dict"])
    assert held == own if kind == "video_audio" else not held & own
    assert not [name for name in state["state_dict"] if name.startswith("latents")]
    assert sum(len(names) for names in state["parameters"]) == len(held)
    assert len(state["optimizer_states"][0]["state"]) == len(held)
    assert set(state["callbacks"]["EMA"]["averages"]) == {name.removeprefix("network.") for name in held}
    assert set(state["frozen"]) == ({"autoencoder", "base"} if kind == "video_audio" else {"autoencoder"})


def test_what_the_second_step_does_not_train_is_the_first_s(trained):
    first, second = (load_file(getattr(trained, kind) / "export" / "model.safetensors") for kind in KINDS)
    assert first.keys() == second.keys()
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    assert moved
    assert all("audio" in name or "motion_modules" in name for name in moved)


@pytest.mark.parametrize("kind", KINDS)
def test_going_on_from_a_checkpoint_is_exact(kind, trained, tmp_path):
    assert_goes_on(getattr(trained, kind), tmp_path / "again", lambda folder: again(trained, kind, folder))


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_exported_with_what_it_does_not_hold(kind, trained, tmp_path):
    torch.manual_seed(99)
    out = export(run=getattr(trained, kind), out=tmp_path / "out")
    for name in ("model.safetensors", "config.json"):
        assert (out / name).read_bytes() == (getattr(trained, kind) / "export" / name).read_bytes()


def test_frames_are_encoded_in_the_step_where_asked(trained, tmp_path):
    cached = rows(trained.video_pose)
    found = rows(again(trained, "video_pose", tmp_path / "run", data={"latents": "encode"}))
    for one, other in zip(cached, found, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name] == pytest.approx(other[name], rel=5e-3), name


def test_other_networks_and_data_are_refused(trained, tmp_path):
    shards, pose = trained.shards, trained.video_pose
    for what, words in (
        (lambda: run("video_pose", tmp_path / "a", shards, trained.other), "latents.npz of data.shards was made by"),
        (lambda: run("video_audio", tmp_path / "b", shards, trained.other, pose), "latents of another autoencoder"),
        (lambda: run("video_audio", tmp_path / "c", shards, trained.vae, trained.video_audio), "mmgt.video_pose is"),
        (lambda: again(trained, "video_pose", tmp_path / "d", data={"window": 3}), "set data.window=4 or more"),
        (
            lambda: again(trained, "video_pose", tmp_path / "e", shards=shards.parent / "frames"),
            "none of the clips of data.shards has it",
        ),
    ):
        with pytest.raises(ConfigError, match=words):
            what()
    assert not list(tmp_path.iterdir()), "before anything is written"


def test_a_run_goes_on_beside_the_same_base_alone(trained, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(trained.video_audio, folder)
    other = tmp_path / "base"
    shutil.copytree(trained.video_pose, other)
    network = MMGTVideo.from_pretrained(other / "export")
    with torch.no_grad():
        network.pose_guider.state_dict()[next(iter(network.pose_guider.state_dict()))].add_(1)
    network.save_pretrained(other / "export")
    with pytest.raises(ConfigError, match=r"stage.base had the hash"):
        run("video_audio", folder, trained.shards, trained.vae, other, trainer={"max_steps": 6})
