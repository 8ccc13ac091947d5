"""Hashes tell networks apart; another one than is wanted is refused, an unknown one is not."""

import pytest
import torch
from torch import nn

from pretrained.hashes import check_same, short, tensors_hash
from settings import ConfigError


def made() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_a_hash_of_tensors_tells_networks_apart() -> None:
    one, other = made(), made()
    assert tensors_hash(one) == tensors_hash(other)
    assert len(tensors_hash(one)) == 64
    with torch.no_grad():
        other[0].bias[1] += 1e-6
    assert tensors_hash(one) != tensors_hash(other)
    assert tensors_hash(one) != tensors_hash(made().bfloat16())
    buffer = made()
    buffer[1].running_mean[0] = 1
    assert tensors_hash(buffer) != tensors_hash(one)
    assert tensors_hash(nn.ModuleDict({"a": made()})) != tensors_hash(nn.ModuleDict({"b": made()}))


def test_another_network_is_refused_in_the_words_that_are_given():
    one, other = "ab" * 32, "cd" * 32
    with pytest.raises(ConfigError, match="it is another"):
        check_same(one, other, "it is another")
    for found, wanted in ((one, one), ("", one), (one, ""), ("", "")):
        check_same(found, wanted, "it is another")
    assert short(one) == "ab" * 8
