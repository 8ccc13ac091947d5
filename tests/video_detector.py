"""A small network with the call of the published I3D, for tests."""

import torch


class VideoDetector(torch.nn.Module):
    """Has the call of the published I3D."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 400)

    def forward(
        self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> torch.Tensor:
        return self.layer(x.float().mean([2, 3, 4]))
