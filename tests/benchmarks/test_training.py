"""A benchmark's training that fails ends the benchmark."""

import pytest

from benchmarks.training import train


def test_words_that_cannot_be_used_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match=r"trainers\.fit stage=nothing ended with 2"):
        train("stage=nothing")
    assert "nothing" in capsys.readouterr().err
