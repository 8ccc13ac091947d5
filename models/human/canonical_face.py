"""A face without an expression, in three dimensions: the points that no mouth and no brow moves."""

from typing import Final

import numpy as np

# The points that keep their place on the skull while a mouth speaks and brows move: eye corners, nose.
RIGID: Final = (36, 39, 42, 45, 27, 28, 29, 30, 31, 33, 35)
CANONICAL: Final = np.array(
    [
        (-4.445859, 2.663991, 3.173422),
        (-1.856432, 2.585245, 3.757904),
        (1.856432, 2.585245, 3.757904),
        (4.445859, 2.663991, 3.173422),
        (0.0, 2.872141, 5.512321),
        (0.0, 1.393891, 6.545678),
        (0.0, 0.365669, 7.242870),
        (0.0, -0.463170, 7.586580),
        (-1.405627, -1.714196, 5.241087),
        (0.0, -2.089024, 6.058267),
        (1.405627, -1.714196, 5.241087),
    ]
)
"""`RIGID` (of iBUG-68) on MediaPipe's canonical face, in centimetres: x to the person's left, y up, z out of the face.

Taken from `canonical_face_model.obj` (Apache-2.0) at the vertices that `preprocessing.pose.mapping` names.
"""
