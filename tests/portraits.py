"""Networks of ChatAnyone for tests, small and such as go together, and a person to move with them."""

from typing import Any

import torch
from torch import Tensor

from models.chatanyone.body_motion import BodyMotion
from models.chatanyone.face_motion import FaceMotion
from models.chatanyone.face_refine import FaceRefiner
from models.chatanyone.hands import POINTS
from models.chatanyone.head import INDICES
from models.chatanyone.portrait import Networks, Person
from models.chatanyone.renderer import Renderer
from tests.heads import coefficients, statistics, template
from tests.models.filled import filled
from tests.models.test_chatanyone_face_refine import SMALL as REFINER
from tests.models.test_chatanyone_renderer import SMALL as RENDERER
from tests.models.test_face_motion import SMALL as FACE

HEIGHT, WIDTH = RENDERER["height"], RENDERER["width"]
RENDER: dict[str, Any] = {**RENDERER, "head_points": len(INDICES), "compress": 0}
MOVEMENT, APPEARANCE = 3 * RENDERER["body_points"], RENDERER["channels"] * RENDERER["planes"]
BODY: dict[str, Any] = {
    "width": 32, "layers": 2, "heads": 2, "feedforward": 32, "dropout": 0.0, "audio_layers": 1, "history": 6,
    "preceding": 6, "sampling_steps": 3, "train_steps": 50, "movement_channels": MOVEMENT,
    "appearance_channels": APPEARANCE,
}  # fmt: skip


def body_statistics(renderer: str = "ab" * 32) -> dict[str, Any]:
    """What an index says of `chatanyone.npz` and `pose.npz`; two of the offsets never move."""
    offset = [[0.01, 0.01, 0.02]] * (len(INDICES) - 1) + [[0.01, 1e-4, 1e-4]]
    return {
        "chatanyone": {"std": [[0.05, 0.04, 0.03]] * len(INDICES), "network": renderer},
        "chatanyone_offset": {"std": offset},
        "chatanyone_movement": {"std": [0.2] * MOVEMENT},
        "chatanyone_scale": {"std": [0.02]},
        "chatanyone_place": {"std": [0.03, 0.03, 0.01]},
        "pose": {"mean": [[0.5, 0.7]] * 134, "std": [[0.1, 0.1]] * 134},
    }


def body_motion(**options: Any) -> BodyMotion:
    torch.manual_seed(1)
    made = BodyMotion(**{**BODY, **options})
    made.set_statistics(body_statistics())
    return filled(made).eval()


def networks(refined: bool = True) -> Networks:
    """All of them, as after some training."""
    torch.manual_seed(0)
    face = FaceMotion(**FACE)
    face.set_statistics(statistics())
    renderer, refiner = (
        filled(Renderer(**RENDER)).eval(),
        filled(FaceRefiner(**{**REFINER, "head_points": len(INDICES)})),
    )
    renderer.set_template("ab" * 32)
    return Networks(template(), filled(face).eval(), body_motion(), renderer, refiner.eval() if refined else None)


def hands(*shape: int, seed: int = 3) -> Tensor:
    """(..., 42, 3): the left hand in the picture, the right one not."""
    points = 0.5 + 0.2 * torch.rand(*shape, POINTS, 3, generator=torch.Generator().manual_seed(seed))
    points[..., 2] = 1
    points[..., POINTS // 2 :, :] = torch.tensor([-1.0, -1.0, 0.0])
    return points


def person(seed: int = 0) -> Person:
    """Somebody in a picture."""
    expression, pose, identity = coefficients(1, seed)
    image = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    return Person(image, expression[0], pose[0], identity, hands(seed=seed + 3))
