"""From MediaPipe's points to the 134 of the project, by fixed tables.

| ours                      | MediaPipe                                                                        |
|---------------------------|----------------------------------------------------------------------------------|
| body 0:18                 | the pose model's points of the same name; the neck is the middle of the shoulders |
| feet 18:24                | big toe: "foot index"; heel: "heel"; the small toe does not exist: always missing  |
| face 24:92 (iBUG-68)      | vertices of the 478-point face mesh, `FACE_VERTICES`                              |
| left, right hand 92:134   | the hand model's 21 points, which have the same order                            |

Scores: body and feet the lower of MediaPipe's *visibility* (in the picture and not hidden) and *presence* (in the
picture); the neck the lower one of the shoulders; every face point the face model's presence score; every hand point
that hand model's presence score. All lie in [0, 1].
"""

from typing import Final

import numpy as np

from models.human.keypoints import BODY, FACE, FEET, LEFT_HAND, NECK, POINTS, RIGHT_HAND
from preprocessing.pose.holistic import Found

_NONE: Final = -1
# nose, neck, right shoulder, elbow, wrist, left likewise, right hip, knee, ankle, left likewise, right eye, left eye,
# right ear, left ear
BODY_POINTS: Final = (0, _NONE, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
# left big toe, small toe, heel, right big toe, small toe, heel
FOOT_POINTS: Final = (31, _NONE, 29, 32, _NONE, 30)
SHOULDERS: Final = (11, 12)

# iBUG-68 point to the mesh vertex, or the two vertices whose middle it is. The jaw of iBUG has 17 points where the
# mesh's rim has 23 vertices; nose ridge and inner lips lie between vertices in the same way.
FACE_VERTICES: Final[tuple[tuple[int, ...], ...]] = (
    # jaw, from the person's right ear over the chin to the left ear
    (127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,), (152,),
    (400,), (379,), (365,), (397, 288), (288, 361), (323,), (454,), (356,),
    # right brow, left brow
    (70,), (63,), (105,), (66,), (107,),
    (336,), (296,), (334,), (293,), (300,),
    # nose ridge from the root to the tip, nose base from right to left
    (168, 6), (197, 195), (5,), (4,),
    (98,), (97,), (2,), (326,), (327,),
    # right eye, left eye
    (33,), (160,), (158,), (133,), (153,), (144,),
    (362,), (385,), (387,), (263,), (373,), (380,),
    # outer lips: right corner, upper rim, left corner, lower rim
    (61,), (39,), (37,), (0,), (267,), (269,), (291,),
    (321,), (314,), (17,), (84,), (91,),
    # inner lips likewise
    (78,), (81,), (13,), (311,), (308,),
    (402,), (14,), (178,),
)  # fmt: skip
_FIRST: Final = np.array([vertices[0] for vertices in FACE_VERTICES])
_SECOND: Final = np.array([vertices[-1] for vertices in FACE_VERTICES])


def face68(mesh: np.ndarray) -> np.ndarray:
    """The iBUG-68 points of MediaPipe face meshes.

    Args:
        mesh: (..., 468 or 478, C).

    Returns:
        (..., 68, C), the unit unchanged.
    """
    return (mesh[..., _FIRST, :] + mesh[..., _SECOND, :]) / 2


def to_134(found: Found, minimum: float = 0.1) -> np.ndarray:
    """One frame's MediaPipe points in the 134 layout.

    Args:
        found: what MediaPipe found in a frame.
        minimum: points with a lower score are missing.

    Returns:
        (134, 3) float32: x and y as fractions of the frame (outside [0, 1] where the point lies outside the picture)
        and score; a missing point is (-1, -1, 0).
    """
    pose = np.zeros((POINTS, 3), np.float32)
    if found.body is not None:
        scores = found.body[:, 2:].min(1)
        for part, points in ((BODY, BODY_POINTS), (FEET, FOOT_POINTS)):
            have = np.array([i for i, point in enumerate(points) if point != _NONE])
            source = np.array(points)[have]
            pose[part.start + have, :2] = found.body[source, :2]
            pose[part.start + have, 2] = scores[source]
        pose[NECK, :2] = found.body[list(SHOULDERS), :2].mean(0)
        pose[NECK, 2] = scores[list(SHOULDERS)].min()
    for part, points, score in (
        (FACE, None if found.face is None else face68(found.face), found.face_score),
        (LEFT_HAND, found.left_hand, found.left_hand_score),
        (RIGHT_HAND, found.right_hand, found.right_hand_score),
    ):
        if points is not None:
            pose[part, :2], pose[part, 2] = points[:, :2], score
    pose[pose[:, 2] < minimum] = (-1, -1, 0)
    np.clip(pose[:, 2], 0, 1, out=pose[:, 2])
    return pose
