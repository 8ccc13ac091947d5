"""The head template's command, head.npz of every clip, and Whisper's layers (CA-1, CA-4)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from datamodules.clips import read_clips
from datamodules.shards.index import Index
from models.chatanyone.head import HeadTemplate
from preprocessing.features import run as features
from preprocessing.features.run import Options as FeatureOptions
from preprocessing.features.run import make_features
from preprocessing.head.run import Options, main, make_template
from preprocessing.speech.whisper import WhisperSpeech
from preprocessing.verify import verify
from settings import ConfigError
from settings.hashes import file_hash
from tests.heads import coefficients, keypoints, template
from tests.preprocessing.body_model_file import write_body_model
from tests.shards import write_shards

FACELESS, AWAY = 4, 5


def heads(clip: int, members: list) -> list:
    """Clips of talking heads; one shows no face, one turns away for most of it."""
    from datamodules.clip import decode, encode

    output = []
    for key, data in members:
        if key == "pose.npz":
            frames = len(decode("pose.npz", data, "a")["scores"])
            expression, pose, identity = coefficients(frames, clip)
            if clip == AWAY:
                pose[frames // 3 :, 1] = 1.4
            points = template().landmarks(expression, pose, identity.expand(frames, -1))[..., :2]
            value = keypoints(points)
            if clip == FACELESS:
                value["scores"][:] = 0
            data = encode("pose.npz", value)
        output.append((key, data))
    return output


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, clips=6, seconds=1.2, keys=("pose.npz", "speech.npz", "audio.flac"), change=heads)
    return folder


@pytest.fixture(scope="module")
def made(shards, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("made") / "head"
    make_template(Options(input=str(shards), output=str(output)))
    return output


@pytest.mark.paper("CA-1")
def test_a_template_is_made_of_shards_and_fitted_to_every_clip(shards, made, tmp_path, capsys):
    summary = json.loads((made / "summary.json").read_text())
    assert summary["kind"] == "linear"
    assert summary["sha256"] == file_hash(made / "model.safetensors")
    words = [f"input={shards}", f"output={tmp_path / 'out'}", f"network={made}", "writer=head", "workers=0"]
    assert features.main(words) == 0
    told = capsys.readouterr().out
    assert "4 clips with head.npz" in told
    assert "no head: no frame shows 40 of the 68 face points" in told
    assert "no head from the front in 67 % of the frames" in told
    clips = {info.id: values for info, values in read_clips(tmp_path / "out", ("head.npz", "pose.npz"))}
    assert len(clips) == 4
    found = HeadTemplate.from_pretrained(made)
    for values in clips.values():
        head = values["head.npz"]
        assert head["expression"].shape == (30, 16)
        assert head["pose"].shape == (30, 6)
        assert bytes(head["network"]).hex() == summary["sha256"]
        assert head["error"].min() >= 0
        assert head["error"].max() < 0.003
        points = found.landmarks(*(torch.from_numpy(head[name]) for name in ("expression", "pose")))
        person = found.landmarks(
            torch.from_numpy(head["expression"]), torch.from_numpy(head["pose"]),
            torch.from_numpy(head["identity"]).expand(30, -1),
        )  # fmt: skip
        truth = values["pose.npz"]["keypoints"][:, 24:92]
        assert np.abs(person[..., :2].numpy() - truth).mean() < 0.002  # a square frame: fractions are heights
        assert np.abs(points[..., :2].numpy() - truth).mean() < 0.02
    index = Index.load(tmp_path / "out")
    assert index.statistics["head"]["network"] == summary["sha256"]
    assert len(index.statistics["head"]["mean"]) == 16
    assert len(index.statistics["head_pose"]["std"]) == 6
    assert not list(verify(tmp_path / "out"))


def test_an_oblong_frame_has_heights_for_units(shards, made):
    from datamodules.clip import ClipInfo
    from preprocessing.head.points import seen_face

    pose = keypoints(torch.full((2, 68, 2), 0.5))
    wide = ClipInfo(id="a", source="a.mp4", end=1, fps=2, frames=2, width=200, height=100)
    torch.testing.assert_close(seen_face(wide, pose).points[0, 0], torch.tensor([1.0, 0.5], dtype=torch.float64))


def test_what_is_no_template_is_named(shards, made, tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"network=.*nowhere"):
        make_features(FeatureOptions(str(shards), str(tmp_path / "o"), str(tmp_path / "nowhere"), {"name": "head"}))
    HeadTemplate().save_pretrained(tmp_path / "empty")
    with pytest.raises(ConfigError, match="empty head template"):
        make_features(FeatureOptions(str(shards), str(tmp_path / "o"), str(tmp_path / "empty"), {"name": "head"}))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    with pytest.raises(ConfigError, match="is no head template"):
        make_template(Options(input=str(shards), output=str(tmp_path / "other")))
    with pytest.raises(ConfigError, match=r"no clips with pose.npz in split=val"):
        make_template(Options(input=str(shards), output=str(tmp_path / "new"), split="val"))
    assert main([f"input={shards}", f"output={tmp_path / 'new'}", "template=smplx"]) == 2
    assert "template.model=PATH" in capsys.readouterr().err


def test_the_body_models_head_is_made_where_its_file_is(shards, tmp_path):
    model = write_body_model(tmp_path / "SMPLX_NEUTRAL.npz")
    summary = make_template(
        Options(input=str(shards), output=str(tmp_path / "head"), template={"name": "smplx", "model": str(model)})
    )
    assert summary["kind"] == "smplx"
    made = make_features(
        FeatureOptions(
            str(shards), str(tmp_path / "out"), str(tmp_path / "head"), {"name": "head"}, workers=0, progress=False
        )
    )
    assert made["clips"] == 4


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=16, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=16, vocab_size=20, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("whisper")
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.mark.paper("CA-4")
def test_whispers_layers_are_speech_features(whisper, shards, tmp_path):
    speech = WhisperSpeech(str(whisper), [0, -1], device="cpu")
    sound = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)
    output = speech.features(sound, 125)
    assert output.shape == (2, 125, 16)
    assert output.dtype == np.float16
    extractor = WhisperFeatureExtractor()
    mel = extractor(sound, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        states = speech.network(mel, output_hidden_states=True).hidden_states
    np.testing.assert_allclose(output[1], states[-1][0, :125].numpy(), atol=2e-3)

    words = [f"input={shards}", f"output={tmp_path / 'out'}", f"network={whisper}", "writer=speech"]
    assert features.main([*words, "writer.layers=[1,2]", "workers=0"]) == 0
    _, values = next(iter(read_clips(tmp_path / "out", ("speech.npz",))))
    assert values["speech.npz"]["layers"].shape == (2, 60, 16)
    assert list(values["speech.npz"]["layer_ids"]) == [1, 2]


def test_long_speech_is_read_in_pieces(whisper):
    speech = WhisperSpeech(str(whisper), [-1], device="cpu")
    sound = np.random.default_rng(0).normal(0, 0.1, 32 * 16_000).astype(np.float32)
    output = speech.features(sound, 1600)
    assert output.shape == (1, 1600, 16)
    assert np.isfinite(output).all()
    with pytest.raises(ConfigError, match="under 15"):
        WhisperSpeech(str(whisper), context_seconds=20.0)


def test_another_kind_of_speech_network_is_named(whisper, tmp_path):
    from preprocessing.speech.pretrained import PretrainedSpeech

    with pytest.raises(ConfigError, match=r"is a whisper, not one of .*name: whisper"):
        PretrainedSpeech(str(whisper))
    with pytest.raises(ConfigError, match="no such folder"):
        WhisperSpeech(str(tmp_path / "nowhere"))
