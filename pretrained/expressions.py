"""Networks that tell expressions of faces, through transformers: any image classifier with the usual labels (VA-14)."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.human.expressions import EXPRESSIONS, expression_called
from pretrained.frozen import freeze
from pretrained.hashes import tensors_hash
from pretrained.images import folder_or_name, normalisation, read_network
from settings import ConfigError

WHERE: Final = (
    "give the folder, or the hub name, of a transformers image classifier of facial expressions; with no network, "
    "fetch it elsewhere with `hf download NAME --local-dir FOLDER` and give FOLDER"
)
_SIDE: Final = 224
_USUAL: Final = ([0.5] * 3, [0.5] * 3)


class ExpressionClassifier(nn.Module):
    """Faces to how likely each label of `EXPRESSIONS` is; classes that have none of them count for nothing.

    Args:
        network: transformers' own, an image classifier.
        mean, std: of each colour, which pictures are normalised by.

    Raises:
        ValueError: no class of it is called as an expression is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.network = network
        config: Any = network.config
        names = [str(config.id2label[number]) for number in range(config.num_labels)]
        labels = [expression_called(name) for name in names]
        self.classes = [(number, EXPRESSIONS.index(label)) for number, label in enumerate(labels) if label is not None]
        if not self.classes:
            raise ValueError(f"its classes are {', '.join(names)}, none of which is one of {', '.join(EXPRESSIONS)}")
        self.side = int(getattr(config, "image_size", _SIDE))
        for name, value in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    def forward(self, faces: Tensor) -> Tensor:
        """Pictures of faces (N, 3, H, W) uint8 to (N, 8), the shares of what has a label adding up to 1."""
        pictures = faces.to(self.mean.device).float() / 255
        square = F.interpolate(pictures, (self.side, self.side), mode="bilinear", antialias=True)
        logits = self.network(pixel_values=(square - self.mean) / self.std).logits.float()
        known, labels = (torch.tensor(part, device=logits.device) for part in zip(*self.classes, strict=True))
        shares = logits[:, known].softmax(1)
        return shares.new_zeros(len(faces), len(EXPRESSIONS)).index_add(1, labels, shares)


def load_expression_classifier(option: str, where: str) -> tuple[ExpressionClassifier, str]:
    """A classifier of expressions, frozen, in full precision, and the SHA-256 of its tensors.

    Args:
        option: name of the option that says where it is, for messages.
        where: its folder or hub name.

    Raises:
        ConfigError: none there, a damaged one, or one of other classes.
    """
    from transformers import AutoModelForImageClassification

    name = folder_or_name(option, where, WHERE)
    network = read_network(AutoModelForImageClassification.from_pretrained, option, where, name, WHERE)
    try:
        return freeze(ExpressionClassifier(network, *normalisation(name, *_USUAL))), tensors_hash(network)
    except ValueError as error:
        raise ConfigError(f"{option}={where} tells no expressions: {error}; {WHERE}") from None
