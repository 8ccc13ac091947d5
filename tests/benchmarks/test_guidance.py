"""What guidance costs, counted at the paper's setting."""

import pytest

from benchmarks import guidance


@pytest.mark.paper("PH-18")
def test_evaluations_and_gradients_are_those_of_the_paper(monkeypatch):
    small = {"channels": (8, 16), "head_channels": 4, "cross_channels": 8, "norm_groups": 4, "motion_heads": 2}
    monkeypatch.setattr(guidance, "TINY", guidance.TINY | small)
    monkeypatch.setattr(guidance, "CLASSIFIER", {"width": 8, "depth": 1, "heads": 2})
    found = guidance.measure(16, 4, 1)["guides"]
    counts = {name: (row["evaluations"], row["gradients"]) for name, row in found.items()}
    assert counts == {"none": (30, 0), "sg": (30, 30), "dg": (60, 30)}
    assert all(row["seconds"] > 0 for row in found.values())
    assert found["sg"]["the paper's against none"] == pytest.approx(98 / 85)
