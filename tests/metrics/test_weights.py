"""Where weights come from, and what a figure may be called."""

import hashlib
import pickle

import pytest
import torch
from torch import nn

from metrics.weights import Published, Sourced, WeightsSource, find, load, read_state, source_of
from settings import ConfigError


@pytest.fixture
def published(tmp_path) -> Published:
    """A published file that lies in a folder under its second name."""
    path = tmp_path / "net-old-name.pth"
    torch.save({"weight": torch.eye(2), "bias": torch.zeros(2)}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Published("Net of the paper", ("net.pth", "net-old-name.pth"), sha256, "https://example.org/net.pth")


def test_the_published_file_is_known_by_its_content(tmp_path, published):
    path, source = find(tmp_path / "net-old-name.pth", published)
    assert path.name == "net-old-name.pth"
    assert source == WeightsSource("Net of the paper", "net-old-name.pth", published.sha256, standard=True)
    assert str(source) == f"Net of the paper, net-old-name.pth sha256 {published.sha256[:8]}"
    assert find(tmp_path, published) == (path, source)


def test_other_weights_under_the_published_name_are_told(tmp_path, published):
    torch.save({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, tmp_path / "net.pth")
    _, source = find(tmp_path, published)
    assert not source.standard
    assert str(source).endswith("(other weights)")
    figure = Sourced()
    figure.figure, figure.source = "FID", source
    assert figure.label == "FID (other weights)"
    figure.source = WeightsSource("Net", "net.pth", "", standard=True)
    assert figure.label == "FID"


def test_a_network_of_ones_own_is_never_standard():
    assert source_of(nn.Linear(1, 1)) == WeightsSource("Linear")
    assert str(source_of(nn.Linear(1, 1))) == "Linear (other weights)"


@pytest.mark.parametrize("weights", ["nowhere.pth", "./nowhere/net.pth", "/nowhere/net.pth", "empty"])
def test_a_missing_file_says_what_to_get_and_where(tmp_path, monkeypatch, published, weights):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"Net of the paper is net\.pth: https://example\.org/net\.pth"):
        find(weights, published)


@pytest.mark.parametrize(
    ("weights", "asked"),
    [("owner/name", ("owner/name", "net.pth")), ("owner/name/in/it.pth", ("owner/name", "in/it.pth"))],
)
def test_a_hub_name_is_fetched(tmp_path, monkeypatch, published, weights, asked):
    calls = []

    def fetch(*arguments):
        calls.append(arguments)
        return str(tmp_path / "net-old-name.pth")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    assert find(weights, published)[1].standard
    assert calls == [asked]


def test_no_network_is_told_with_what_to_get(monkeypatch, published):
    def fetch(*arguments):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    with pytest.raises(ConfigError, match=r"no route to host.*example\.org"):
        find("owner/name", published)


class Bad:
    def __reduce__(self):
        return pytest.fail, ("code of a file was run",)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", pickle.dumps(Bad())])
def test_a_damaged_file_runs_nothing_and_says_so(tmp_path, published, content):
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"is no file of weights .*Net of the paper"):
        read_state(path, published)


def test_a_file_of_something_else_says_so(tmp_path, published):
    torch.save([1, 2], tmp_path / "net.pth")
    with pytest.raises(ConfigError, match="holds no named tensors"):
        read_state(tmp_path / "net.pth", published)


def test_a_file_of_another_network_names_what_differs(tmp_path, published):
    path, _ = find(tmp_path, published)
    network = nn.Linear(2, 2)
    load(network, read_state(path, published), path, published)
    assert torch.equal(network.weight, torch.eye(2))
    with pytest.raises(ConfigError, match=r"net-old-name\.pth is of another network .*size mismatch"):
        load(nn.Linear(3, 2), read_state(path, published), path, published)
    with pytest.raises(ConfigError, match="Missing key"):
        load(nn.Sequential(nn.Linear(2, 2)), read_state(path, published), path, published)
