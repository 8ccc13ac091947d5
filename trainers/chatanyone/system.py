"""ChatAnyone: its stages."""

from typing import Final

from trainers.record import Record

STAGES: Final = {
    "chatanyone.renderer": Record("trainers.chatanyone.renderer:RendererStage"),
    "chatanyone.face_refine": Record("trainers.chatanyone.face_refine:FaceRefineStage"),
}
