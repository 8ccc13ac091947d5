"""Remote shards, against a real http server on loopback that can be told to misbehave."""

import functools
import http.server
import importlib.util
import multiprocessing
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from datamodules.clips import read_clips
from datamodules.reader import ClipDataModule
from datamodules.shards.cache import ShardError, ShardFolder
from datamodules.shards.index import Index, IndexFileError
from tests.shards import write_shards


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; breaks off, alters or refuses what the server's `trouble` says, as often as it says."""

    protocol_version = "HTTP/1.0"

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        self.server.asked[name] += 1
        kind, times = self.server.trouble.get(name, ("", 0))
        if self.server.asked[name] > times or not kind:
            return super().do_GET()
        if kind == "busy":
            return self.send_error(503)
        content = (self.server.folder / name).read_bytes()
        if kind == "altered":
            content = content[:1000] + b"?" + content[1001:]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if kind == "broken" else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    write_shards(folder, clips=12, per_shard=3, keys=("pose.npz",))
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    ) as running:
        running.folder, running.trouble, running.asked = folder, {}, Counter()
        running.url = f"http://127.0.0.1:{running.server_address[1]}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def epoch(shards, workers=0, **options):
    data = ClipDataModule(("pose.npz",), shards=str(shards), batch_size=4, workers=workers, **options)
    data.trainer = SimpleNamespace(global_rank=0, world_size=1)
    return [batch.ids for batch in data.train_dataloader()]


def folder_of(server, **options):
    return ShardFolder(server.url, pause=0.01, **options), Index.load(server.url).shards


@pytest.mark.parametrize("workers", [0, 2])
def test_remote_shards_give_what_local_ones_give_and_are_fetched_once(server, workers):
    local = epoch(server.folder)
    assert epoch(server.url, workers) == local
    assert epoch(f"{server.url}/index.json", workers) == local
    assert all(times == 1 for name, times in server.asked.items() if name.endswith(".tar"))
    assert len(list(read_clips(server.url, ("pose.npz",)))) == 12


@pytest.mark.parametrize("kind", ["broken", "altered", "busy"])
def test_a_download_that_fails_is_tried_again(server, kind):
    folder, shards = folder_of(server)
    server.trouble[shards[1].name] = (kind, 2)
    with folder.open(shards[1]) as file:
        assert file.read() == (server.folder / shards[1].name).read_bytes()
    assert server.asked[shards[1].name] == 3


@pytest.mark.parametrize(
    ("kind", "said"), [("broken", "ContentLength|payload"), ("altered", "checksum"), ("busy", "503")]
)
def test_a_download_that_never_works_says_why_and_leaves_nothing(server, cache, kind, said):
    folder, shards = folder_of(server, tries=3)
    server.trouble[shards[0].name] = (kind, 99)
    with pytest.raises(ShardError, match=f"(?i){shards[0].name} could not be fetched in 3 tries.*({said})"):
        folder.open(shards[0])
    assert server.asked[shards[0].name] == 3
    assert not [path for path in (cache / "shards").iterdir() if not path.name.endswith(".lock")]


def test_a_shard_that_is_not_there_is_told_at_once(server):
    folder, shards = folder_of(server)
    (server.folder / shards[0].name).unlink()
    with pytest.raises(ShardError, match="not there"):
        folder.open(shards[0])
    assert server.asked[shards[0].name] == 1


def test_processes_share_one_download(server):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert set(pool.map(_size, [server.url] * 8)) == {Index.load(server.url).shards[0].bytes}
    assert server.asked[Index.load(server.url).shards[0].name] == 1


def _size(url):
    with ShardFolder(url).open(Index.load(url).shards[0]) as file:
        return len(file.read())


def test_the_cache_keeps_its_limit_and_what_was_used_last(server, cache):
    _, shards = folder_of(server)
    folder, _ = folder_of(server, limit=2 * max(shard.bytes for shard in shards))
    for number in (0, 1, 0, 2):
        folder.open(shards[number]).close()
    assert sorted(path.name[33:] for path in (cache / "shards").glob("[!.]*")) == [shards[0].name, shards[2].name]
    assert len(epoch(server.url, cache_limit_gb=shards[0].bytes * 2.1 / 1024**3)) == len(epoch(server.folder))


def test_a_shard_that_changed_at_its_address_is_fetched_anew(server):
    epoch(server.url)
    write_shards(server.folder, clips=12, per_shard=3, keys=("pose.npz",), seconds=5.0)
    assert epoch(server.url) == epoch(server.folder)


def test_any_file_system_of_fsspec_will_do(server):
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in server.folder.iterdir():
        memory.pipe(f"/bucket/{path.name}", path.read_bytes())
    assert epoch("memory://bucket") == epoch(server.folder)


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is installed")
def test_a_file_system_that_is_not_installed_is_named(server):
    with pytest.raises(IndexFileError, match="s3fs"):
        Index.load("s3://bucket/data")
    with pytest.raises(ShardError, match="s3fs"):
        ShardFolder("s3://bucket/data").open(Index.load(server.folder).shards[0])


def test_commands_are_refused():
    with pytest.raises(ShardError, match="would run a command"):
        ShardFolder("pipe:curl http://example.org")
