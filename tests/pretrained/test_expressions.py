"""Classifiers of expressions: found, their classes matched by name, others refused."""

from pathlib import Path

import pytest
import torch

from models.human.expressions import EXPRESSIONS, expression_called
from pretrained.expressions import load_expression_classifier
from settings import ConfigError
from tests.image_models import SIDE, saved_classifier

CLASSES = ("Happiness", "odd", "fear", "neutral", "joy")


def test_names_that_others_use_mean_our_labels():
    assert [expression_called(name) for name in ("Happiness", " fear", "neutral", "SURPRISE", "grumpy")] == [
        "happy", "afraid", "neutral", "surprised", None,
    ]  # fmt: skip
    assert all(expression_called(label) == label for label in EXPRESSIONS)


@pytest.mark.paper("VA-14")
@torch.no_grad()
def test_classes_are_matched_by_name_and_others_count_for_nothing(tmp_path: Path):
    from transformers import ViTForImageClassification

    classifier, sha256 = load_expression_classifier("network", str(saved_classifier(tmp_path, CLASSES)))
    assert len(sha256) == 64
    assert not any(p.requires_grad for p in classifier.parameters())
    faces = torch.randint(0, 256, (3, 3, SIDE, SIDE), dtype=torch.uint8)
    logits = ViTForImageClassification.from_pretrained(tmp_path).eval()((faces / 255 - 0.4) / 0.3).logits
    shares = logits[:, [0, 2, 3, 4]].softmax(1)
    found = classifier(faces)
    expected = torch.zeros(3, len(EXPRESSIONS))
    expected[:, EXPRESSIONS.index("happy")] = shares[:, 0] + shares[:, 3]
    expected[:, EXPRESSIONS.index("afraid")] = shares[:, 1]
    expected[:, EXPRESSIONS.index("neutral")] = shares[:, 2]
    torch.testing.assert_close(found, expected)


def test_what_tells_no_expressions_is_refused(tmp_path: Path):
    cats = saved_classifier(tmp_path / "cats", ("cat", "dog"))
    with pytest.raises(ConfigError, match=r"network=.*cats tells no expressions: its classes are cat, dog, none of"):
        load_expression_classifier("network", str(cats))
    for where, said in ((tmp_path / "none", "no such folder; give"), (tmp_path, r"no config\.json there; give")):
        with pytest.raises(ConfigError, match=said):
            load_expression_classifier("network", str(where))
    (cats / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_expression_classifier("network", str(cats))
