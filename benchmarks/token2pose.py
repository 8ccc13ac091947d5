"""The token2pose bank on held-out motion: the cheapest way through its snippets beside each token's first one.

    python -m benchmarks.token2pose SHARDS TOKENIZER BANK [--split test] [--clips 256] [--autoencoder RUN]

Clips with motion and poses that the bank has not seen are brought to tokens and back to poses: by dynamic programming
with blending, by dynamic programming alone, and by the first snippet of every token. Beside the true poses, in widths
of the shoulders: the acceleration error of the body, FGD as `trainers.evaluate` takes it, on a pose autoencoder that is
trained on the shards (or given), the seam cost, and after retargeting to people of other proportions the largest error
of a bone's longest projected length.
Writes `benchmarks/results/token2pose-DATE.json`.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from datamodules.clip import ClipInfo
from datamodules.clips import read_clips
from datamodules.shards.index import Index
from models.human.keypoints import BODY
from models.human.motion import recover_joints
from models.human.retarget import BONES, Lengths, lengths_of, retarget
from models.versa.token2pose import FPS, PoseBank, normalised, size_of
from models.versa.tokenizer import MotionTokenizer
from preprocessing.bank import KEYS, at_25
from trainers.evaluation.clips import EvaluationClip, visible
from trainers.evaluation.evaluator import load_evaluator
from trainers.evaluation.pose_figures import measure as measure_poses

WAYS: dict[str, dict[str, Any]] = {
    "cheapest way, blended": {},
    "cheapest way": {"blend": False},
    "first snippet": {"candidates": 1, "blend": False},
}


def held_out(shards: str, split: str, limit: int) -> list[str]:
    """Clips of a split with motion and poses."""
    samples = [sample for shard in Index.load(shards).shards for sample in shard.samples]
    return [one.id for one in samples if one.split == split and set(KEYS) <= set(one.keys)][:limit]


def measure(shards: str, tokenizer: str, bank_folder: str, split: str, limit: int, encoder: Any) -> dict[str, Any]:
    """All figures."""
    network = MotionTokenizer.from_pretrained(tokenizer, strict=True).eval()
    bank = PoseBank.from_pretrained(bank_folder, strict=True)
    chosen = held_out(shards, split, limit)
    if not chosen:
        raise SystemExit(f"{shards} has no clips of {split} with motion and poses")
    rows: dict[str, dict[str, list[float]]] = {name: {"acceleration": [], "seam": [], "bones": []} for name in WAYS}
    poses: dict[str, list[np.ndarray]] = {name: [] for name in WAYS}
    clips: list[EvaluationClip] = []
    generator = torch.Generator().manual_seed(0)
    projected = total = 0
    for info, values in read_clips(shards, KEYS, where={"id": chosen}):
        motion = torch.from_numpy(values["motion.npz"]["motion"])
        with torch.no_grad():
            tokens = network.encode(motion[None])[0]
            joints = recover_joints(network.decode(tokens[None])[0])
        keypoints, scores = at_25(values["pose.npz"]["keypoints"], values["pose.npz"]["scores"], info)
        size = size_of(keypoints, scores)
        if size is None:
            raise SystemExit(f"{info.id} shows no shoulders")
        truth = normalised(keypoints, scores, *size)
        count = min(len(truth), bank.frames * len(tokens))
        shown = visible(_framed(truth[:count], scores[:count], info, *size))
        clips.append(EvaluationClip(info, shown, speech=np.zeros((0, 0)), onsets=np.zeros(0)))
        stretch = 0.7 + 0.6 * torch.rand(len(BONES), generator=generator)
        for name, how in WAYS.items():
            output = bank.look_up(tokens, joints, **how)
            both = (scores[:count] > 0) & (output.scores[:count] > 0)
            rows[name]["acceleration"].append(_acceleration_error(output.keypoints[:count], truth[:count], both))
            rows[name]["seam"].append(output.seam_cost)
            poses[name].append(_framed(output.keypoints[:count], output.scores[:count], info, *size))
            have = lengths_of(output.keypoints, output.scores)
            target = Lengths(have.bones * stretch, *have[1:])
            moved = lengths_of(retarget(output.keypoints, output.scores, target), output.scores).bones
            rows[name]["bones"].append(float(((moved - target.bones).abs() / target.bones).nan_to_num(0).max()))
        projected += int((output.snippets < 0).sum())
        total += len(tokens)
    figures = {
        name: {
            "acceleration_error": round(float(np.mean(values["acceleration"])), 4),
            "fgd": round(measure_poses(poses[name], clips, encoder)["fgd"], 5),
            "seam_cost": round(float(np.mean(values["seam"])), 6),
            "largest_bone_error": round(float(np.max(values["bones"])), 6),
        }
        for name, values in rows.items()
    }
    best, first = figures["cheapest way, blended"], figures["first snippet"]
    return {
        "clips": len(chosen), "split": split, "snippets": len(bank.tokens), "tokens": int(bank.known.sum()),
        "projected": round(projected / total, 4), "figures": figures,
        "ratios": {key: round(best[key] / first[key], 4) for key in ("acceleration_error", "fgd", "seam_cost")},
    }  # fmt: skip


def _acceleration_error(output: torch.Tensor, truth: torch.Tensor, seen: torch.Tensor) -> float:
    """Mean distance of accelerations, widths of the shoulders a second squared, of body points seen in three frames."""
    there = (seen[2:] & seen[1:-1] & seen[:-2])[:, BODY]
    difference = (output.diff(n=2, dim=0) - truth.diff(n=2, dim=0))[:, BODY] * FPS**2
    return float(difference.norm(dim=-1)[there].mean())


def _framed(
    poses: torch.Tensor, scores: torch.Tensor, info: ClipInfo, unit: torch.Tensor, home: torch.Tensor
) -> np.ndarray:
    """Poses in widths of the shoulders at the true person's place and size: (T, 134, 3) as fractions of the frame."""
    square = torch.tensor([info.width or 1, info.height or 1])
    inside = torch.where((scores > 0)[..., None], (poses * unit + home) / square, -1.0)
    return torch.cat([inside, scores[..., None]], -1).numpy()


def main() -> None:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("shards")
    parser.add_argument("tokenizer")
    parser.add_argument("bank")
    parser.add_argument("--split", default="test")
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--autoencoder", help="a trained human.pose_autoencoder; trained now where it is left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        encoder, _ = load_evaluator(options.autoencoder, Path(folder), options.shards)
        found = measure(options.shards, options.tokenizer, options.bank, options.split, options.clips, encoder)
    print(found)
    print(write_result("token2pose", {"machine": describe(), "seed": 0, **found}))


if __name__ == "__main__":
    main()
