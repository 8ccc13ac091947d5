"""What the streaming benchmark counts: parts, networks, delays of a stream at the speed of speech (CA-15, CA-16)."""

import time

import numpy as np
import pytest
import torch

from benchmarks import streaming
from models.chatanyone.portrait import Networks
from tests.trainers.live import networks


@pytest.fixture(scope="module")
def made() -> Networks:
    return networks(body=True)


@pytest.mark.paper("CA-16")
def test_every_part_is_counted_and_what_is_no_network_is_overhead(made, monkeypatch):
    found = streaming.by_part(made, streaming.How(), seconds=1.0)
    assert found["frames"] == 25
    assert set(found["parts_ms_a_frame"]) == {"face", "body", "render", "refine", "out"}
    assert all(found["parts_ms_a_frame"][name] > 0 for name in ("face", "body", "render", "refine"))
    assert 0 < found["networks_ms_a_frame"] < found["processor_ms_a_frame"]
    assert found["overhead"] == pytest.approx(
        1 - found["networks_ms_a_frame"] / found["processor_ms_a_frame"], abs=0.02
    )
    hear = type(made.face).hear

    def slow(*given):
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass
        return hear(*given)

    monkeypatch.setattr(type(made.face), "hear", slow)
    assert streaming.by_part(made, streaming.How(), seconds=1.0)["overhead"] > found["overhead"]
    assert "render" not in vars(made.renderer)  # the clocks are taken off again


def test_steps_cost_and_pieces_are_counted_from_their_own_first_frame(made):
    steps = streaming.by_steps(made, [1, 8])
    assert steps["8"] > steps["1"]
    found = streaming.live(made, streaming.How(), seconds=3.0, piece=0.2)
    assert found["frames"] == 75
    assert found["piece_to_first_frame"]["median"] >= 0.2  # the look-ahead has to be waited for
    assert found["behind"]["median"] > 0
    assert len(found["memory_mib_by_sixth"]) == 6


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_networks_are_of_the_configs_sizes(preset):
    for stage in ("face_motion", "renderer", "face_refine", "body_motion"):
        assert streaming.sizes(stage, preset)
    if preset == "tiny":
        found = streaming.networks(preset, 64, 64, {"body", "refiner"}, torch.device("cpu"))
        assert found.renderer.height == 64
        assert found.face.audio == "mel"
        person = streaming.portrait(found)
        assert np.asarray(person.pictures(person.move(person.hear(torch.zeros(0), 0)))).shape == (5, 64, 64, 3)
