"""A frame to its motion features."""

from torch import Tensor, nn

MOTION = 768
"""Numbers that say how the person in a frame is posed: 8 x 8 x 12."""


class MotionEncoder(nn.Module):
    """Each frame to 768 numbers (IM-4), by a timm backbone trained from scratch.

    Args:
        backbone: timm's name of the network; `convnext_tiny` has 768 features, those of another are mapped to 768.

    Raises:
        ValueError: timm knows no such backbone.
    """

    def __init__(self, backbone: str = "convnext_tiny"):
        super().__init__()
        import timm  # takes a second, which other systems need not spend

        try:
            self.backbone = timm.create_model(backbone, pretrained=False, num_classes=0)
        except RuntimeError as error:
            raise ValueError(f"timm knows no backbone {backbone!r} ({error}); see timm.list_models()") from None
        features: int = self.backbone.num_features  # type: ignore[assignment]
        self.head = nn.Identity() if features == MOTION else nn.Linear(features, MOTION)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] to (B, 768)."""
        return self.head(self.backbone(4 * frames - 2))  # about the spread that the backbone is initialised for
