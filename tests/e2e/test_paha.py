"""The chain of PAHA at its smallest: UniVDM, pairs that it makes, both classifiers, a video that they guide."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file

from datamodules.clips import read_clips
from datamodules.media.files import SAMPLE_RATE, read_frames
from models.paha.classifier import PCEClassifier
from preprocessing.negatives.options import Options
from preprocessing.negatives.run import make_negatives
from settings import ConfigError
from tests.autoencoders import save_autoencoder
from tests.encoded import ROUNDING, before_encoding
from tests.trainers.paha_stages import LENGTHS, run_stage
from tests.trainers.runs import assert_goes_on, rows
from tests.trainers.video_stages import latent_shards
from trainers.animate import animate
from trainers.export import export

pytestmark = pytest.mark.slow

KINDS = ("univdm", "pce_face", "pce_nonface")


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("paha")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.report.write_report", lambda folder: None)
        patch.setenv("COSPEECH_CACHE", str(folder / "cache"))
        found = SimpleNamespace(folder=folder, vae=save_autoencoder(folder / "vae"))
        found.shards = latent_shards(folder, found.vae)
        found.univdm = run_stage("univdm", folder / "univdm", found.shards, found.vae)
        found.pairs = folder / "pairs"
        make_negatives(
            Options(
                run=str(found.univdm), input=str(found.shards), output=str(found.pairs), checkpoint=2, lengths=LENGTHS,
                progress=False, device="cpu",
            )
        )  # fmt: skip
        for kind in KINDS[1:]:
            setattr(found, kind, run_stage(kind, folder / kind, found.pairs, found.univdm))
        for info, values in read_clips(found.shards, ("video.mp4", "audio.flac", "pose.npz"), where={"split": "val"}):
            Image.fromarray(next(iter(read_frames(values["video.mp4"])))).save(folder / "me.png")
            soundfile.write(folder / "speech.wav", values["audio.flac"], SAMPLE_RATE)
            np.savez(folder / "me.npz", **{name: array[:1] for name, array in values["pose.npz"].items()})
            found.frames = info.frames
            break
        yield found


@pytest.mark.paper("PH-11")
def test_the_pairs_are_of_the_network_of_the_step_that_was_asked_for(chain, tmp_path):
    out = export(run=chain.univdm, checkpoint="2", out=tmp_path / "out")
    saved = chain.pairs / "network-2"
    assert (saved / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match=r"checkpoint=3: there is no .*step-00000003.ckpt"):
        make_negatives(
            Options(
                run=str(chain.univdm), input=str(chain.shards), output=str(tmp_path / "pairs"), checkpoint=3,
                lengths=LENGTHS, progress=False,
            )
        )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_going_on_from_a_checkpoint_is_exact(kind, chain, tmp_path):
    source = (chain.shards, chain.vae) if kind == "univdm" else (chain.pairs, chain.univdm)
    assert_goes_on(getattr(chain, kind), tmp_path / "again", lambda folder: run_stage(kind, folder, *source))


def test_classifiers_log_their_figures_and_are_saved_whole(chain):
    for kind in KINDS[1:]:
        folder = getattr(chain, kind)
        named = {name for row in rows(folder) for name in row}
        assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/auc"} <= named
        network = PCEClassifier.from_pretrained(folder / "export")
        assert network.region == kind.removeprefix("pce_")
        weights = load_file(folder / "export" / "model.safetensors")
        assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items() if name in weights)


def video(chain: SimpleNamespace, out: Path, **options) -> np.ndarray:
    frames: dict[Path, np.ndarray] = {}
    with before_encoding(frames):
        made = animate(
            run=str(chain.univdm), image=chain.folder / "me.png", audio=chain.folder / "speech.wav", out=out,
            pose=chain.folder / "me.npz", steps=4, **options,
        )  # fmt: skip
    assert made.frames == chain.frames
    return frames[made.video]


@pytest.mark.paper("PH-17")
def test_a_video_is_guided_by_both_by_one_and_at_rate_0_not_at_all(chain, tmp_path):
    both = {"pce_face": str(chain.pce_face), "pce_nonface": str(chain.pce_nonface)}
    strong = {"weight_nonface": 300.0, "weight_face": 300.0}
    plain = video(chain, tmp_path / "plain.mp4")
    sequential = video(chain, tmp_path / "sg.mp4", guide="sg", **both, **strong)
    assert np.abs(sequential - plain).max() > ROUNDING
    far = strong | {"weight_differential": 100.0}  # one region does little to the other in so small a network
    differential = video(chain, tmp_path / "dg.mp4", guide="dg", **both, **far)
    assert np.abs(differential - sequential).max() > ROUNDING
    alone = video(chain, tmp_path / "face.mp4", guide="sg", pce_face=both["pce_face"], **strong)
    assert np.abs(alone - sequential).max() > ROUNDING
    none = video(chain, tmp_path / "rate.mp4", guide="sg", guide_rate=0.0, **both, **strong)
    assert np.array_equal(none, plain)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"guide": "dg", "pce_face": "pce_face"}, "guide=dg compares two classifiers"),
        ({"guide": "sg"}, "guide=sg needs pce_face=RUN"),
        ({"pce_face": "pce_face"}, "pce_face is given, but guide=none"),
        ({"guide": "sg", "pce_face": "pce_nonface"}, "one of paha.pce_face is needed"),
        ({"guide": "sg", "pce_face": "univdm"}, "one of paha.pce_face is needed"),
    ],
)
def test_guidance_that_cannot_be_is_refused_in_words(chain, tmp_path, options, said):
    runs = {name: str(getattr(chain, value)) if name != "guide" else value for name, value in options.items()}
    with pytest.raises(ConfigError, match=said):
        video(chain, tmp_path / "out.mp4", **runs)


def test_a_classifier_of_another_latent_space_is_refused(chain, tmp_path):
    shutil.copytree(chain.pce_face / "export", tmp_path / "other")
    network = PCEClassifier.from_pretrained(tmp_path / "other")
    network._hub_mixin_config["univdm"]["autoencoder"] = "f" * 64
    network.save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError, match="trained on latents of another autoencoder"):
        video(chain, tmp_path / "out.mp4", guide="sg", pce_face=str(tmp_path / "other"))


def test_pairs_of_another_autoencoder_are_refused_before_training(chain, tmp_path):
    other = save_autoencoder(tmp_path / "vae", seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSPEECH_CACHE", str(tmp_path / "cache"))
        shards = latent_shards(tmp_path, other)
        univdm = run_stage("univdm", tmp_path / "univdm", shards, other)
        with pytest.raises(ConfigError, match="was made by"):
            run_stage("pce_face", tmp_path / "pce", chain.pairs, univdm)
    with pytest.raises(ConfigError, match=r"data.window .* gives 4 frames: set data.windows=clip"):
        run_stage("pce_face", tmp_path / "pce", chain.pairs, chain.univdm, data={"windows": "stride", "window": 4})
    with pytest.raises(ConfigError, match=r"pair.npz.*make pairs with"):
        run_stage("pce_face", tmp_path / "pce", chain.shards, chain.univdm)
