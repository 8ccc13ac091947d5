"""Files of weights that others published: found, told from others, read without running anything."""

import hashlib
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pretrained.weights import Published, WeightsSource, find_file, load_state, read_state
from settings import ConfigError


@pytest.fixture
def published(tmp_path) -> Published:
    """A published file that lies in a folder under its second name."""
    path = tmp_path / "net-old-name.pth"
    torch.save({"weight": torch.eye(2), "bias": torch.zeros(2)}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Published("Net of the paper", ("net.pth", "net-old-name.pth"), sha256, "https://example.org/net.pth")


def test_the_published_file_is_known_by_its_content(tmp_path, published):
    path, source = find_file(tmp_path / "net-old-name.pth", published)
    assert path.name == "net-old-name.pth"
    assert source == WeightsSource("Net of the paper", "net-old-name.pth", published.sha256, standard=True)
    assert str(source) == f"Net of the paper, net-old-name.pth sha256 {published.sha256[:8]}"
    assert find_file(tmp_path, published) == (path, source)


def test_other_weights_under_the_published_name_are_told(tmp_path, published):
    torch.save({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, tmp_path / "net.pth")
    _, source = find_file(tmp_path, published)
    assert not source.standard
    assert str(source).endswith("(other weights)")


@pytest.mark.parametrize("weights", ["nowhere.pth", "./nowhere/net.pth", "/nowhere/net.pth", "no/net.pth", "empty"])
def test_a_missing_file_says_what_to_get_and_where(tmp_path, monkeypatch, published, weights):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: pytest.fail("the hub was asked for a path"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ConfigError, match=r"no (such )?file.*Net of the paper is net\.pth: https://example\.org/net\.pth"
    ):
        find_file(weights, published)


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
    assert find_file(weights, published)[1].standard
    assert calls == [asked]


def test_no_network_is_told_with_what_to_get(monkeypatch, published):
    def fetch(*arguments):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    with pytest.raises(ConfigError, match=r"no route to host.*example\.org"):
        find_file("owner/name", published)


class Bad:
    def __reduce__(self):
        return pytest.fail, ("code of a file was run",)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", pickle.dumps(Bad())])
def test_a_damaged_file_runs_nothing_and_says_so(tmp_path, published, content):
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"is no file of weights.*Net of the paper"):
        read_state(path, published)


def test_safetensors_are_read_as_well(tmp_path, published):
    save_file({"weight": torch.eye(2)}, tmp_path / "net.safetensors")
    assert torch.equal(read_state(tmp_path / "net.safetensors", published)["weight"], torch.eye(2))
    (tmp_path / "net.safetensors").write_bytes(b"cut")
    with pytest.raises(ConfigError, match=r"is no file of weights.*Net of the paper"):
        read_state(tmp_path / "net.safetensors", published)


def test_a_file_of_several_networks_is_asked_for_one(tmp_path, published):
    torch.save({"net": {"weight": torch.eye(2)}}, tmp_path / "both.pth")
    assert list(read_state(tmp_path / "both.pth", published, inside="net")) == ["weight"]
    with pytest.raises(ConfigError, match=r"both\.pth has nothing under 'other'"):
        read_state(tmp_path / "both.pth", published, inside="other")


def test_a_file_of_something_else_says_so(tmp_path, published):
    torch.save([1, 2], tmp_path / "net.pth")
    with pytest.raises(ConfigError, match="holds no named tensors"):
        read_state(tmp_path / "net.pth", published)


def test_a_file_of_another_network_names_what_differs(tmp_path, published):
    path, _ = find_file(tmp_path, published)
    network = nn.Linear(2, 2)
    load_state(network, read_state(path, published), path, published)
    assert torch.equal(network.weight, torch.eye(2))
    with pytest.raises(ConfigError, match=r"net-old-name\.pth is of another network .*size mismatch"):
        load_state(nn.Linear(3, 2), read_state(path, published), path, published)
    with pytest.raises(ConfigError, match="Missing key"):
        load_state(nn.Sequential(nn.Linear(2, 2)), read_state(path, published), path, published)
