"""What results say of a split."""

from datamodules.clip import ClipInfo
from trainers.evaluation.split import split_results


def test_rows_come_in_the_order_of_their_labels_and_the_rest_is_left_out():
    infos = [ClipInfo(id=f"c{i}", source="a", end=2, fps=25, frames=50, speaker=name) for i, name in enumerate("aba")]
    labels = {"model": "this model", "absent": "not measured", "truth": "truth"}
    found = split_results(infos, 6, {"truth": {"x": 1}, "model": {"x": 2}}, labels, {"x": {}}, seen_in_training=True)
    assert list(found["systems"]) == ["model", "truth"]
    assert found["labels"] == {"model": "this model", "truth": "truth"}
    assert (found["clips"], found["ids"], found["seconds"], found["speakers"]) == (3, ["c0", "c1", "c2"], 6.0, 2)
    assert found["seen_in_training"]
    assert found["verdicts"] == {"x": {}}
