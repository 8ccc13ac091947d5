"""Short runs of both steps of VersaAnimator's video diffusion: figures, exports, going on, data that do not fit."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.versa.video.network import VersaVideo
from pretrained.faces import R100, FaceColours
from settings import ConfigError
from tests.autoencoders import save_autoencoder
from tests.trainers.runs import assert_goes_on, rows
from tests.trainers.versa_video_stages import options
from tests.trainers.video_stages import latent_shards, run
from trainers.run.checkpoints import read

KINDS = ("pose_video", "audio_video")
COLOURS = 512


def short(kind: str, folder: Path, trained: SimpleNamespace, shards: Path | None = None, **changes: Any) -> Path:
    """Four steps of a small stage."""
    more = {"identity_channels": COLOURS} if kind == "audio_video" else {}
    stage = {"network": options(kind, **more), "optimizer": {"name": "adamw", "lr": 1e-3}}
    base = trained.pose_video if kind == "audio_video" else None
    changes["stage"] = stage | changes.pop("stage", {})
    return run(f"versa.{kind}", folder, shards or trained.shards, trained.vae, base, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> SimpleNamespace:
    """Both steps, one on top of the other."""
    folder = tmp_path_factory.mktemp("video")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.report.write_report", lambda folder: None)
        patch.setenv("COSPEECH_CACHE", str(folder / "cache"))
        found = SimpleNamespace(vae=save_autoencoder(folder / "vae"))
        found.shards = latent_shards(folder, found.vae, faces=True)
        for kind in KINDS:
            setattr(found, kind, short(kind, folder / kind, found, samples={"count": 1}))
        yield found


@pytest.mark.paper("VA-15")
@pytest.mark.parametrize("kind", KINDS)
def test_figures_samples_and_the_best_checkpoint_by_the_least_rmse(kind, trained):
    folder = getattr(trained, kind)
    found = rows(folder)
    assert {"train/loss", "val/loss", "val/rmse"} <= {name for row in found for name in row}
    errors = {row["step"]: row["val/rmse"] for row in found if "val/rmse" in row}
    assert len(errors) == 2
    assert read(folder / "checkpoints" / "best.ckpt")["global_step"] == min(errors, key=errors.get) + 1
    assert list((folder / "samples").glob("*.mp4"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_and_a_checkpoint_hold_the_whole_network(kind, trained):
    folder = getattr(trained, kind)
    network = VersaVideo.from_pretrained(folder / "export")
    assert network.face_attention == (kind == "audio_video")
    assert network.autoencoder
    state = read(folder / "checkpoints" / "last.ckpt")
    named = {f"network.{name}" for name, _ in network.named_parameters()}
    assert named <= set(state["state_dict"])
    assert not [name for name in state["state_dict"] if name.startswith("latents")]
    assert set(state["frozen"]) == {"autoencoder", *(("identity",) if kind == "audio_video" else ())}
    assert network.face_network == (FaceColours.sha256 if kind == "audio_video" else "")
    assert sum(len(names) for names in state["parameters"]) == len(named)


@pytest.mark.paper("VA-15")
def test_the_second_step_trains_what_the_first_did_and_what_it_adds(trained):
    first, second = (load_file(getattr(trained, kind) / "export" / "model.safetensors") for kind in KINDS)
    shared = set(first) & set(second)
    assert shared == set(first)
    moved = {name for name in shared if not torch.equal(first[name], second[name])}
    assert any("temporal" in name for name in moved)
    assert any(name.startswith("pose_guider") for name in moved)
    # The output of attention to the face starts at zero.
    outputs = [name for name in set(second) - set(first) if name.endswith("processor.attention.to_out.0.weight")]
    assert outputs
    assert all(second[name].any() for name in outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_going_on_from_a_checkpoint_is_exact(kind, trained, tmp_path):
    assert_goes_on(
        getattr(trained, kind), tmp_path / "again", lambda folder: short(kind, folder, trained, samples={"count": 1})
    )


def test_other_data_and_networks_are_refused_before_anything_is_written(trained, tmp_path):
    latents, audio = trained.shards.parent / "latents", {"network": options("audio_video")}
    for what, words in (
        (
            lambda: short("audio_video", tmp_path / "a", trained, latents),
            r"reads identity\.npz, .* \(writer=identity\)",
        ),
        (
            lambda: short("audio_video", tmp_path / "b", trained, stage=audio),
            r"stage\.network\.identity_channels is 6, but identity\.npz of data\.shards has 512: set .*=512",
        ),
        (
            lambda: short("audio_video", tmp_path / "c", trained, stage={"base": str(trained.audio_video)}),
            "versa.pose_video is",
        ),
        (
            lambda: short("audio_video", tmp_path / "d", trained, stage={"expression": "classifier"}),
            r"reads expression\.npz, .* \(writer=expression\), or set stage\.expression=manifest",
        ),
        (
            lambda: short("audio_video", tmp_path / "f", trained, stage={"identity": R100.names[0]}),
            rf"stage\.identity=glintr100\.onnx is a network with the hash {R100.sha256[:16]}, but identity\.npz of "
            rf"data\.shards was made by {FaceColours.sha256[:16]}: make it again",
        ),
        (lambda: short("pose_video", tmp_path / "e", trained, data={"window": 3}), r"set data\.window=4 or more"),
    ):
        with pytest.raises(ConfigError, match=words):
            what()
    assert not list(tmp_path.iterdir())
