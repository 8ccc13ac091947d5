"""The paper's two speeds are taken of what it counts (IM-20)."""

import inspect

import pytest
import torch

from benchmarks import implicit_motion
from models.implicit_motion import ImplicitMotion
from tests.models.motion_networks import small
from tests.models.test_implicit_motion_base import SMALL


@pytest.mark.paper("IM-20")
def test_one_second_is_25_frames_both_ways_at_the_papers_size(monkeypatch):
    base, diffusion = ImplicitMotion(**SMALL).eval(), small(motion_channels=768, appearance_channels=16)
    rendered, encoded, pictures = [], [], []
    render, encode, encode_source = base.render, base.encode_motion, base.encode_source
    monkeypatch.setattr(
        base, "render", lambda source, motion: rendered.append(motion.shape[1]) or render(source, motion)
    )
    monkeypatch.setattr(base, "encode_motion", lambda frames: encoded.append(len(frames)) or encode(frames))
    monkeypatch.setattr(base, "encode_source", lambda image: pictures.append(len(image)) or encode_source(image))
    found = implicit_motion.measure(base, diffusion, torch.device("cpu"), repeats=1)
    assert set(found) == set(implicit_motion.PAPER)
    assert all(one["median"] > 0 for one in found.values())
    assert pictures == [1] * 4, "the picture once a run: both ways, once to warm up and once timed"
    assert sum(encoded) == 2 * 25  # image to image alone reads motion from frames, once to warm up and once timed
    assert sum(rendered) == 2 * 2 * 25
    sizes = inspect.signature(ImplicitMotion.__init__).parameters
    assert sizes["image_size"].default == 256


@pytest.mark.paper("IM-20")
def test_the_first_run_warms_up_and_is_not_counted(monkeypatch):
    """On a clock of the test's own: runs take 100, 1, 2 and 3 seconds."""
    now, takes = [0.0], iter((100.0, 1.0, 2.0, 3.0))
    monkeypatch.setattr(implicit_motion.time, "perf_counter", lambda: now[0])

    def act() -> None:
        now[0] += next(takes)

    assert implicit_motion.seconds_of(act, torch.device("cpu"), repeats=3) == [1.0, 2.0, 3.0]
