"""Small motion transformers and inputs for them."""

from typing import Any

import torch
from torch import nn

from models.versa.spans import Layout, lay_out
from models.versa.transformer import MotionTransformer
from tests.models.filled import filled

CODES = 24
SMALL: dict[str, Any] = {
    "codes": CODES, "width": 32, "layers": 3, "heads": 2, "feedforward": 48, "dropout": 0.0, "text_buckets": 64,
    "text_layers": 1, "window": 12, "steps": 4,
}  # fmt: skip
TEXTS = ["A person is giving a speech.", "a person waves the right hand twice", "someone bows"]
B, N = 3, 10
LENGTHS = [10, 7, 4]


def transformer(awake: bool = True, **options: Any) -> MotionTransformer:
    """A network in evaluation mode; with both branches the audio branch is made to say something of its own."""
    torch.manual_seed(0)
    output = MotionTransformer(**{**SMALL, **options})
    if awake:
        for (
            parameter
        ) in output.parameters():  # the scale of a trained one, which says different things of different inputs
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.25)
        filled(output)
    return output.eval()


def layout() -> Layout:
    """The second text all along, the third for a part, and the second half of the last sequence."""
    return lay_out([[(0, 10, 1)], [(1, 4, 2)], [(0, 2, 0), (2, 4, 1)]], LENGTHS)


def inputs(network: MotionTransformer, seed: int = 0) -> dict[str, Any]:
    """What `forward` takes: tokens of which some are hidden, texts and speech, of several lengths."""
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, CODES, (B, N), generator=g)
    hidden = torch.rand(B, N, generator=g) < 0.5
    found: dict[str, Any] = {
        "tokens": tokens.masked_fill(hidden, CODES),
        "places": layout().places,
        "lengths": torch.tensor(LENGTHS),
    }
    if network.text is not None:
        found |= {"text": network.read(TEXTS), "which": layout().which}
    if network.audio is not None:
        found["audio"] = torch.randn(B, 4 * N, 35, generator=g)
        found["heard"] = 4 * torch.tensor(LENGTHS)
    return found
