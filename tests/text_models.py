"""A small CLIP text network in the format of the published ones, made up, for tests."""

import json
from pathlib import Path


def saved_clip(folder: Path, seed: int = 0) -> str:
    """Save a CLIP text model of 8 channels with a tokenizer of single letters; returns where."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(97 + i) for i in range(26)]
    words = ["<|startoftext|>", *letters, *(f"{letter}</w>" for letter in letters), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    torch.manual_seed(seed)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    CLIPTextModel(CLIPTextConfig(vocab_size=len(words), **sizes, **ends)).save_pretrained(folder)
    return str(folder)
