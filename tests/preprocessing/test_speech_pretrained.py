"""Layers of pretrained networks: tiny saved models of all three kinds."""

import numpy as np
import pytest
import torch

from datamodules.clip import ClipInfo, check
from preprocessing.speech.pretrained import PretrainedSpeech
from preprocessing.step import Draft, SourceFile
from tests.speech_models import saved_speech_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: (root / kind, saved_speech_model(root / kind, kind)) for kind in ("Wav2Vec2", "WavLM", "Hubert")}


def speech(seconds: float) -> np.ndarray:
    return 0.1 * np.random.default_rng(1).standard_normal(round(seconds * 16_000)).astype(np.float32)


@pytest.mark.parametrize("kind", ["Wav2Vec2", "WavLM", "Hubert"])
def test_all_layers_at_exactly_50_hz(tmp_path, models, kind):
    folder, network = models[kind]
    info = ClipInfo(id="a", source="a.mp4", end=2.36, fps=25, frames=59)
    clip = Draft(
        info=info, video=b"", fps=25, audio=speech(2.36), source=SourceFile(tmp_path / "a.mp4", "a.mp4", tmp_path)
    )
    PretrainedSpeech(str(folder))(clip)
    arrays = clip.arrays["speech.npz"]
    assert arrays["layers"].shape == (3, 118, 16)
    assert arrays["layers"].dtype == np.float16
    assert arrays["layer_ids"].tolist() == [0, 1, 2]
    check("speech.npz", arrays, info)
    # The same as calling the network by hand on normalised sound with the 80 samples that make it whole.
    sound = clip.audio
    normal = np.pad((sound - sound.mean()) / np.sqrt(sound.var() + 1e-7), 40).astype(np.float32)
    with torch.inference_mode():
        states = network(torch.from_numpy(normal)[None], output_hidden_states=True).hidden_states
    want = torch.stack(states)[:, 0].numpy()
    np.testing.assert_allclose(arrays["layers"], want, atol=2e-3, rtol=2e-3)


def test_chosen_layers_keep_their_numbers(models):
    folder, _ = models["WavLM"]
    everything, chosen = PretrainedSpeech(str(folder)), PretrainedSpeech(str(folder), layers=[-1, 0])
    assert chosen.layer_ids == [2, 0]
    audio = speech(1)
    np.testing.assert_array_equal(chosen.features(audio, 50), everything.features(audio, 50)[[2, 0]])


def test_long_sound_in_pieces_is_close_to_the_whole(models):
    folder, _ = models["Hubert"]
    audio = speech(6)
    whole = PretrainedSpeech(str(folder)).features(audio, 300).astype(np.float32)
    pieces = PretrainedSpeech(str(folder), chunk_seconds=2, context_seconds=1).features(audio, 300).astype(np.float32)
    assert pieces.shape == whole.shape
    # Layer 0 comes out of convolutions alone: with context the pieces are the whole, seams included.
    np.testing.assert_allclose(pieces[0], whole[0], atol=2e-3)


def test_the_models_own_normalisation_is_kept(tmp_path):
    saved_speech_model(tmp_path / "plain", "Wav2Vec2", do_normalize=False)
    plain = PretrainedSpeech(str(tmp_path / "plain"))
    assert not plain.normalize
    audio = speech(1)
    forced = PretrainedSpeech(str(tmp_path / "plain"), normalize=True)
    assert not np.allclose(plain.features(audio, 50), forced.features(audio, 50), atol=1e-3)
    # Loudness is all that normalisation takes away.
    np.testing.assert_allclose(forced.features(audio, 50), forced.features(audio / 2, 50), atol=5e-3)


def test_another_rate_of_states_is_brought_to_50_hz(tmp_path):
    sizes = {"conv_kernel": (10, 3, 3, 3, 3, 2, 4), "conv_stride": (5, 2, 2, 2, 2, 2, 4)}
    saved_speech_model(tmp_path / "slow", "Wav2Vec2", **sizes)
    assert PretrainedSpeech(str(tmp_path / "slow"), layers=[0]).features(speech(2), 100).shape == (1, 100, 16)


def test_messages_say_what_to_do(tmp_path, models, monkeypatch):
    with pytest.raises(ValueError, match=r"no such folder.*hf download"):
        PretrainedSpeech(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty.*cannot be loaded"):
        PretrainedSpeech(str(tmp_path / "empty"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"cospeech-nobody/no-such-model.*hf download"):
        PretrainedSpeech("cospeech-nobody/no-such-model")
    with pytest.raises(ValueError, match="layers 0 to 2"):
        PretrainedSpeech(str(models["WavLM"][0]), layers=[3])
    with pytest.raises(ValueError, match="'all' or a list"):
        PretrainedSpeech(str(models["WavLM"][0]), layers="last")


def test_other_kinds_of_models_and_missing_preprocessors_are_refused(tmp_path, models):
    import transformers

    transformers.BertModel(
        transformers.BertConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=10
        )
    ).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="is a bert"):
        PretrainedSpeech(str(tmp_path / "bert"))
    models["WavLM"][1].save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match=r"preprocessor_config.json"):
        PretrainedSpeech(str(tmp_path / "bare"))
    assert PretrainedSpeech(str(tmp_path / "bare"), normalize=True).normalize
