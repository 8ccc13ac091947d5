"""The one list: the systems, each of which registers its stages in `trainers/<system>/system.py`."""

from typing import Final

from settings import Registry
from trainers.chatanyone.system import STAGES as CHATANYONE
from trainers.human.system import STAGES as HUMAN
from trainers.implicit_motion.system import STAGES as IMPLICIT_MOTION
from trainers.mmgt.system import STAGES as MMGT
from trainers.paha.system import STAGES as PAHA
from trainers.record import Record, Tool
from trainers.versa.system import STAGES as VERSA
from trainers.video.system import STAGES as VIDEO

RECORDS: Final[dict[str, Record]] = {
    **MMGT,
    **IMPLICIT_MOTION,
    **VERSA,
    **HUMAN,
    **VIDEO,
    **PAHA,
    **CHATANYONE,
}
"""Stage to what its system registers; a new system adds its own here and edits no other file."""

STAGES: Final = Registry("stage", {name: record.stage for name, record in RECORDS.items()})
"""A LightningModule each."""

ANIMATORS: Final[dict[str, Tool]] = {name: one.animator for name, one in RECORDS.items() if one.animator}
"""Stage to what turns its trained network into files."""

EVALUATORS: Final[dict[str, Tool]] = {name: one.evaluator for name, one in RECORDS.items() if one.evaluator}
"""Stage to what measures it."""

STREAMERS: Final[dict[str, Tool]] = {name: one.streamer for name, one in RECORDS.items() if one.streamer}
"""Stage to what makes it live."""

DATAMODULES: Final = Registry("datamodule", {"clips": "datamodules.reader:ClipDataModule"})
