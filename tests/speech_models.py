"""Small pretrained speech networks in the format of the published ones, made up, for tests."""

from pathlib import Path
from typing import Any

import torch

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
    "conv_bias": True,
}


def saved_speech_model(folder: Path, kind: str, do_normalize: bool = True, **changes: Any) -> torch.nn.Module:
    """Save a Wav2Vec2, WavLM or Hubert of two layers and 16 channels, with its preprocessor; returns it."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **changes})
    network = getattr(transformers, f"{kind}Model")(config).eval()
    network.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
    return network
