"""What needs daemons or rights that not every machine gives."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Cluster, missing


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A SLURM of two nodes that share the address of this machine."""
    if why := missing():
        pytest.skip(why)
    cluster = Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster_of_two_addresses() -> Iterator[Cluster]:
    """A SLURM of two nodes, each in a network namespace with an address and an interface of its own."""
    if why := missing():
        pytest.skip(why)
    names = [f"cospeech-{os.getpid()}-{side}" for side in "ab"]
    links = [f"cs{os.getpid() % 100_000}{side}" for side in "ab"]
    # One network for each process, since several may test at once.
    network = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
    addresses = (f"{network}.1", f"{network}.2")
    try:
        try:
            for name in names:
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
            _ip("link", "add", links[0], "netns", names[0], "type", "veth", "peer", links[1], "netns", names[1])
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', None) or error}")
        for name, link, address in zip(names, links, addresses, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", link)
            _ip("-n", name, "link", "set", link, "up")
        enter = [["ip", "netns", "exec", name] for name in names]
        cluster = Cluster(enter=(enter[0], enter[1]), addresses=addresses)
        yield cluster
        cluster.stop()
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
