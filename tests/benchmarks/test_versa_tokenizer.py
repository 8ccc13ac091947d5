"""The tokenizer's benchmark goes its whole way at a small size, and both sides compute the same convolutions."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import machine
from benchmarks import versa_tokenizer as benchmark
from models.versa import MotionTokenizer


def test_small_on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(benchmark, "keep_freed_memory", lambda: None)
    threads = torch.get_num_threads()
    try:
        assert benchmark.main(["--cpu", "--batch", "2", "--repeats", "1", "--width", "8", "--threads", "1"]) == 0
    finally:
        torch.set_num_threads(threads)
    result = json.loads(next(tmp_path.glob("versa_tokenizer-*.json")).read_text())
    assert result["ms"].keys() == {"ours", "plain", "ours, lengths"}
    assert result["over_plain"]["ours"] == pytest.approx(result["ms"]["ours"] / result["ms"]["plain"], rel=0.02)


def test_the_plain_one_is_the_same_network() -> None:
    sizes = {"codes": 16, "code_width": 6, "width": 8, "depth": 3, "growth": 3}
    plain, ours = benchmark.Plain(**sizes), MotionTokenizer(**sizes)
    motion = torch.randn(2, 32, 263)
    for part in ("encoder", "decoder"):
        for one, other in zip(getattr(ours, part).parameters(), getattr(plain, part).parameters(), strict=True):
            one.data.copy_(other)
    latents = ours.encoder(motion.transpose(1, 2))
    torch.testing.assert_close(latents, plain.encoder(motion.transpose(1, 2)))
    torch.testing.assert_close(ours.decoder(latents), plain.decoder(latents))
