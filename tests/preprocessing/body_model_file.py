"""A body model in the official SMPL-X file format, made from published anthropometry, with nothing of the licensed one.

The skeleton is `models.human.body`'s; hands and face are ours, with the proportions of a person 1.70 m tall. Vertices
stand in rings around the joints and along the bones; those with a meaning of their own in SMPL-X (nose, ears, toes,
finger tips, face landmarks) stand where that part of a body is.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from models.human.body import HEIGHT, PARENTS, REST_JOINTS
from preprocessing.synthetic import head

VERTICES = 10_475
JOINTS = 55
FACE_UNIT = 0.095  # metres, of the face template
_HEAD, _JAW, _WRISTS = 15, 22, (20, 21)
# The vertices that smplx gives a meaning, in its order: nose, eyes, ears; toes and heels; finger tips.
SELECTED = (
    9120, 9929, 9448, 616, 6, 5770, 5780, 8846, 8463, 8474, 8635,
    5361, 4933, 5058, 5169, 5286, 8079, 7669, 7794, 7905, 8022,
)  # fmt: skip
# Of the left hand in the rest pose, from the wrist: the joint at the palm, then bones to the next joints and the tip.
_FINGERS = {
    "index": ((0.090, 0.000, 0.025), (0.040, 0.024, 0.022), (1.0, 0.0, 0.05)),
    "middle": ((0.092, 0.000, 0.003), (0.044, 0.027, 0.024), (1.0, 0.0, 0.0)),
    "pinky": ((0.078, -0.003, -0.036), (0.032, 0.018, 0.020), (1.0, 0.0, -0.10)),
    "ring": ((0.086, 0.000, -0.018), (0.041, 0.025, 0.023), (1.0, 0.0, -0.05)),
    "thumb": ((0.022, -0.010, 0.025), (0.044, 0.033, 0.028), (0.75, -0.15, 0.65)),
}
_TIPS = ("thumb", "index", "middle", "ring", "pinky")  # smplx's order of the tips
_TOES = ((-0.010, -0.056, 0.194), (0.035, -0.058, 0.160), (0.0, -0.040, -0.062))  # of the left foot, from the ankle
_RELAXED = -0.25  # radians about z of every finger joint of a left hand at rest
_MIRROR = np.array([-1.0, 1.0, 1.0])


def parents() -> list[int]:
    """Of SMPL-X's 55 joints."""
    hands = [
        p for wrist, first in ((20, 25), (21, 40)) for f in range(5) for p in (wrist, first + 3 * f, first + 3 * f + 1)
    ]
    return [*PARENTS, _HEAD, _HEAD, _HEAD, *hands]


def write_body_model(path: Path, correctives: float = 0.0, contours: bool = True, seed: int = 0) -> Path:
    """Write `SMPLX_NEUTRAL.npz`; `correctives` metres of change of shape with every bent joint, as a deviation."""
    random = np.random.default_rng(seed)
    joints, tips, toes = _skeleton()
    face, moves, jaw_share = _face(joints[_HEAD])  # (68, 3), (5, 68, 3), (68,)
    bones = np.array(parents())
    owner = np.arange(VERTICES) % (JOINTS - 1) + 1  # the joint at the end of the bone that a vertex stands around
    along = random.random(VERTICES)[:, None]
    ring = random.normal(size=(VERTICES, 3))
    ring *= 0.02 / np.linalg.norm(ring, axis=1, keepdims=True)
    template = joints[bones[owner]] * (1 - along) + joints[owner] * along + ring
    weights = np.zeros((VERTICES, JOINTS))
    weights[np.arange(VERTICES), bones[owner]] = 1
    expressions = np.zeros((VERTICES, 3, 10))
    free = iter(np.setdiff1d(np.arange(VERTICES), SELECTED).tolist())

    regressor = np.zeros((JOINTS, VERTICES))
    for joint, place in enumerate(joints):
        for corner in 0.015 * np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]):
            vertex = next(free)
            template[vertex], weights[vertex] = place + corner, np.eye(JOINTS)[joint]
            regressor[joint, vertex] = 0.25
    single = [*_head_points(joints[_HEAD], face), *toes, *tips]
    owners = (
        [_HEAD] * 5
        + [10, 10, 7, 11, 11, 8]
        + [27 + 3 * f for f in (4, 0, 1, 3, 2)]
        + [42 + 3 * f for f in (4, 0, 1, 3, 2)]
    )
    for vertex, place, joint in zip(SELECTED, single, owners):
        template[vertex], weights[vertex] = place, np.eye(JOINTS)[joint]
    triangles = []
    for mark, place in enumerate(face):
        corners = [next(free) for _ in range(3)]
        triangles.append(corners)
        for corner, beside in zip(corners, 0.002 * np.array([(1, 0, 0), (-0.5, 0.8, 0), (-0.5, -0.8, 0)])):
            template[corner] = place + beside
            weights[corner] = (1 - jaw_share[mark]) * np.eye(JOINTS)[_HEAD] + jaw_share[mark] * np.eye(JOINTS)[_JAW]
            expressions[corner, :, :5] = moves[:, mark].T
    template[next(free)] = (0, HEIGHT, 0)
    template[next(free)] = (0, 0, 0)

    posed = np.zeros((VERTICES, 3, 486), np.float32)
    used = np.array([*SELECTED, *np.array(triangles).ravel()])
    posed[used] = correctives * random.normal(size=(len(used), 3, 486))
    tree = np.stack([np.array([2**32 - 1, *bones[1:]]), np.arange(JOINTS)]).astype(np.uint32)
    relaxed = np.tile([0, 0, _RELAXED], 15) * np.repeat([1.0] * 12 + [0.0] * 3, 3)
    marks = np.full((68, 3), 1 / 3)
    more = {
        "dynamic_lmk_faces_idx": np.tile(np.arange(17), (79, 1)),
        "dynamic_lmk_bary_coords": np.tile(marks[:17], (79, 1, 1)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        v_template=template,
        f=np.array(triangles, np.uint32),
        shapedirs=np.concatenate([_shapes(template), expressions], -1),
        posedirs=posed,
        J_regressor=regressor,
        kintree_table=tree,
        weights=weights,
        hands_componentsl=np.eye(45),
        hands_componentsr=np.eye(45),
        hands_meanl=relaxed,
        hands_meanr=-relaxed,
        lmk_faces_idx=np.arange(17, 68),
        lmk_bary_coords=marks[17:],
        **(more if contours else {}),
    )
    return path


def _skeleton() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints (55, 3), finger tips (10, 3) left first, and toes and heels (6, 3) left first."""
    joints = np.zeros((JOINTS, 3))
    joints[:22] = REST_JOINTS
    joints[_JAW] = joints[_HEAD] + (0, -0.01, 0.02)
    joints[23], joints[24] = (joints[_HEAD] + FACE_UNIT * np.array([side * 0.335, 0.14, 0.8]) for side in (1, -1))
    tips = {}
    for side, (wrist, first) in enumerate(zip(_WRISTS, (25, 40))):
        flip = np.ones(3) if side == 0 else _MIRROR
        for number, (name, (base, bones, direction)) in enumerate(_FINGERS.items()):
            unit = np.array(direction) / np.linalg.norm(direction)
            at = np.array(base)
            for joint, bone in enumerate(bones):
                joints[first + 3 * number + joint] = joints[wrist] + flip * at
                at = at + bone * unit
            tips[side, name] = joints[wrist] + flip * at
    toes = [joints[ankle] + flip * np.array(toe) for ankle, flip in ((7, np.ones(3)), (8, _MIRROR)) for toe in _TOES]
    return joints, np.array([tips[side, name] for side in (0, 1) for name in _TIPS]), np.array(toes)


def _face(at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """iBUG-68 (68, 3) of a resting face; how five expressions move it (5, 68, 3); share of the jaw's motion (68,)."""
    look = SimpleNamespace(jaw=1.0, eyes=1.0, nose=1.0, lips=1.0)
    zero, one = np.zeros(6), np.eye(6)
    still = SimpleNamespace(
        frames=6,
        opening=0.3 * one[5],
        width=one[1] - one[2],
        brows=one[3],
        blink=one[4],
        gaze=np.zeros((6, 2)),
        head=zero,
    )
    parts = head.face(still, look)
    order = ("jaw", "brows", "nose", "eyes", "outer_lips", "inner_lips")
    template = np.concatenate([parts[name] for name in order], 1)  # (6, 68, 3)
    metres = at + FACE_UNIT * (template * (1, -1, 1) + (0, 0.14, 0.15))
    share = np.zeros(68)
    share[:17] = np.clip((template[0, :17, 1] - 0.35) / 0.7, 0, 1)
    share[[55, 56, 57, 58, 59]] = 0.8
    share[[65, 66, 67]] = 0.8
    share[[48, 54, 60, 64]] = 0.4
    return metres[0], metres[1:] - metres[0], share


def _head_points(at: np.ndarray, face: np.ndarray) -> list[np.ndarray]:
    """Nose, right eye, left eye, right ear, left ear."""
    ears = [at + FACE_UNIT * np.array([side * 0.79, 0.0, 0.0]) for side in (-1, 1)]
    return [face[30], face[36:42].mean(0), face[42:48].mean(0), *ears]


def _shapes(template: np.ndarray) -> np.ndarray:
    """(V, 3, 10): size, breadth, legs, arms, head, then smooth changes without a name."""
    x, y, z = template.T
    hips = float(REST_JOINTS[1, 1])
    shapes = np.zeros((VERTICES, 3, 10))
    shapes[:, :, 0] = 0.025 * template
    shapes[:, 0, 1] = 0.02 * np.clip(x, -0.25, 0.25)
    shapes[:, 2, 1] = 0.05 * z
    shapes[:, 1, 2] = 0.02 * np.minimum(y, hips)
    shapes[:, 0, 3] = 0.02 * np.sign(x) * np.maximum(np.abs(x) - 0.22, 0)
    shapes[:, 1, 4] = 0.03 * np.maximum(y - 1.4, 0)
    for number in range(5, 10):
        shapes[:, 0, number] = 0.004 * np.sin(number * y) * np.sign(x) * np.minimum(np.abs(x), 0.2) / 0.2
        shapes[:, 1, number] = 0.004 * np.cos(number * y)
    return shapes
