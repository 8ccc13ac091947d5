"""PAHA: its stages."""

from typing import Final

from trainers.record import Record

STAGES: Final = {"paha.univdm": Record("trainers.paha.univdm:UniVDMStage")}
