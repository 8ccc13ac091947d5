"""Numbers with their ranges, as types: what a config key or an option of a command may be.

Every number of a signature that is a config has one (a test walks all of them). Neither NaN nor infinity is in any.
"""

from typing import Annotated

from pydantic import Field

Whole = Annotated[int, Field(ge=0)]
"""0 or more."""

Count = Annotated[int, Field(ge=1)]
"""1 or more."""

CountOrAll = Annotated[int, Field(ge=-1)]
"""-1, which is no limit, or more."""

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What every generator of random numbers takes as its seed."""

Port = Annotated[int, Field(ge=1, le=65535)]

Number = Annotated[float, Field(ge=-1e30, le=1e30)]
"""Any finite number."""

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]

Fraction = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, a probability, a confidence."""

Decay = Annotated[float, Field(ge=0, lt=1)]
"""Share of the old value that a moving average keeps."""

Fps = Annotated[float, Field(gt=0, le=1000)]
"""Frames a second."""

Layer = Annotated[int, Field(ge=-1000, le=1000)]
"""A layer of a network by its number; negative ones are counted from the last."""

Pixels = Annotated[int, Field(ge=8, le=16384)]
"""A side of a picture."""
