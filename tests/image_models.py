"""Small networks that look at pictures, in the format of the published ones, made up, for tests."""

from pathlib import Path
from typing import Any

SIDE, CHANNELS = 16, 6


def saved_image_encoder(folder: Path, seed: int = 0, whole: bool = False, **preprocessor: Any) -> Path:
    """Save one of two layers, alone or with the text half; gives the folder."""
    import torch
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPTextConfig,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "projection_dim": CHANNELS,
    }  # fmt: skip
    vision = CLIPVisionConfig(**sizes, image_size=SIDE, patch_size=8)
    if whole:
        text = CLIPTextConfig(**sizes, vocab_size=20, bos_token_id=0, eos_token_id=1, pad_token_id=1)
        both = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=CHANNELS)
        CLIPModel(both).save_pretrained(folder)
    else:
        CLIPVisionModelWithProjection(vision).save_pretrained(folder)
    if preprocessor:
        CLIPImageProcessor(**preprocessor).save_pretrained(folder)
    return folder


def saved_classifier(folder: Path, classes: tuple[str, ...], seed: int = 0) -> Path:
    """Save an image classifier of such classes; gives the folder."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": SIDE, "patch_size": 8,
    }  # fmt: skip
    names = dict(enumerate(classes))
    network = ViTForImageClassification(ViTConfig(**sizes, id2label=names, label2id={v: k for k, v in names.items()}))
    torch.nn.init.normal_(network.classifier.weight, std=2.0)
    network.save_pretrained(folder)
    ViTImageProcessor(image_mean=[0.4] * 3, image_std=[0.3] * 3).save_pretrained(folder)
    return folder
