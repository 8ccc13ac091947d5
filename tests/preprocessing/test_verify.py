"""`preprocessing.verify`: every kind of damage is found and named."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest

from datamodules.clip import decode, encode
from datamodules.shards.index import Index
from preprocessing.runs.writer import BLOCK, END, member, read_members
from preprocessing.verify import main, verify
from tests.preprocessing.clips import quick_run


@pytest.fixture(scope="module")
def whole(five_videos, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "out"
    assert quick_run(f"input={five_videos}", f"output={output}", "workers=0", "videos_per_shard=2").returncode == 0
    return output


@pytest.fixture
def shards(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "out")


def lines(folder):
    return list(verify(folder))


def rebuild(folder, change, shard=0, sample=0):
    """Change the members of one sample and make shard and index agree again, as a faulty writer would."""
    index = Index.load(folder)
    entry = index.shards[shard]
    data = (folder / entry.name).read_bytes()
    pieces, offset = [], 0
    for number, one in enumerate(entry.samples):
        members = list(read_members(data[one.offset : one.offset + one.size]))
        if number == sample:
            members = change(members)
        piece = b"".join(member(*pair) for pair in members)
        one.keys = {name.partition(".")[2]: len(value) for name, value in members}
        one.offset, one.size = offset, len(piece)
        offset += len(piece)
        pieces.append(piece)
    new = b"".join(pieces) + END
    (folder / entry.name).write_bytes(new)
    entry.bytes, entry.sha256 = len(new), hashlib.sha256(new).hexdigest()
    index.save(folder)


def test_whole_shards_have_no_fault(whole, slow_clock, capsys):
    assert lines(whole) == []
    assert main([str(whole)]) == 0
    said = capsys.readouterr()
    assert "3 shards, 5 samples" in said.out
    lines_said = said.err.splitlines()
    assert re.fullmatch(rf"checking {whole}  \S+/\S+, shard-000000.tar  ETA [\d:]+", lines_said[2]), lines_said
    assert len(lines_said) == 1 + 3 * 3 + 5 + 1, "start; of each shard name, sum, end; samples; the time"
    *_, last, _ = lines_said
    done, all_of_it = re.search(r"  (\S+)/(\S+),", last).groups()
    assert done == all_of_it, "every byte is counted"


def test_truncated(shards, capsys):
    path = shards / "shard-000001.tar"
    path.write_bytes(path.read_bytes()[:-3000])
    found = lines(shards)
    assert any("shard-000001.tar: " in line and "cut off" in line for line in found)
    assert all(line.startswith("shard-000001.tar: ") for line in found)
    assert main([str(shards)]) == 1
    assert capsys.readouterr().out.splitlines() == found


@pytest.mark.parametrize("place", ["header", "data", "end"])
def test_one_flipped_byte(shards, place):
    path = shards / "shard-000002.tar"
    data = bytearray(path.read_bytes())
    at = {"header": 3, "data": BLOCK + 5, "end": len(data) - 1}[place]
    data[at] ^= 0x40
    path.write_bytes(data)
    found = lines(shards)
    assert any(line.startswith("shard-000002.tar: sha256") for line in found)
    if place == "header":
        assert any("damaged tar header at byte 0" in line for line in found)
    if place == "end":
        assert any("after the last sample" in line for line in found)


def test_missing_and_extra_shards(shards):
    (shards / "shard-000001.tar").rename(shards / "shard-000009.tar")
    assert lines(shards) == ["shard-000009.tar: not in the index", "shard-000001.tar: missing"]


def test_a_key_that_is_not_there(shards):
    rebuild(shards, lambda members: [m for m in members if not m[0].endswith("audio.flac")])
    assert [line.partition(": ")[2].partition(": ")[2] for line in lines(shards)] == [
        "audio.flac is missing, clip.json says 9600 samples"
    ]
    index = Index.load(shards)
    index.shards[1].samples[0].keys["face.npz"] = 10
    del index.shards[1].samples[0].keys["pose.npz"]
    index.save(shards)
    found = [line for line in lines(shards) if line.startswith("shard-000001.tar")]
    assert [line.rpartition(": ")[2] for line in found] == ["face.npz is missing", "pose.npz is not in the index"]


def test_wrong_sizes_and_places(shards):
    index = Index.load(shards)
    index.shards[0].samples[0].keys["pose.npz"] += 1
    index.shards[0].samples[1].frames += 1
    index.shards[0].samples[1].split = "val"
    index.shards[2].samples[0].offset += BLOCK
    index.save(shards)
    text = "\n".join(lines(shards))
    assert "pose.npz has" in text
    assert "clip.json: frames is 20, the index says 21" in text
    assert "the index says 'val'" in text
    assert "shard-000002.tar" in text


def changed_arrays(members, key, change):
    result = []
    for name, data in members:
        if name.endswith(key):
            arrays = decode(key, data)
            change(arrays)
            data = encode(key, arrays)
        result.append((name, data))
    return result


def nan(arrays):
    arrays["keypoints"][3, 5] = np.nan


def short(arrays):
    arrays["scores"] = arrays["scores"][:-1]


@pytest.mark.parametrize(
    ("change", "message"), [(nan, "NaN or infinite in keypoints"), (short, "scores has a wrong shape")]
)
def test_arrays_that_break_the_schema(shards, change, message):
    rebuild(shards, lambda members: changed_arrays(members, "pose.npz", change), sample=1)
    (line,) = lines(shards)
    assert line.startswith("shard-000000.tar: b-")
    assert line.endswith(f"pose.npz: {message}")
    assert list(verify(shards, decoded=False)) == []


def test_pickles_are_not_opened(shards):
    import io

    buffer = io.BytesIO()
    np.savez(buffer, keypoints=np.array([{"a": 1}], dtype=object))
    rebuild(shards, lambda members: [(n, buffer.getvalue() if n.endswith("pose.npz") else d) for n, d in members])
    assert any("pose.npz: cannot be decoded" in line for line in lines(shards))


def test_a_video_of_another_length(shards):
    from datamodules.media.files import encode_video

    other = encode_video([np.zeros((48, 64, 3), np.uint8)] * 3, 25)
    rebuild(shards, lambda members: [(n, other if n.endswith("video.mp4") else d) for n, d in members])
    (line,) = lines(shards)
    assert line.endswith("video.mp4: 3 frames, clip.json says 15")


def test_foreign_and_doubled_members(shards):
    rebuild(shards, lambda members: [*members, ("other-id.clip.json", b"{}")])
    assert any("belongs to another sample" in line for line in lines(shards))


@pytest.mark.parametrize("damage", ["cut", "text", "gone", "wrong type"])
def test_a_damaged_index(shards, damage):
    path = shards / "index.json"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "text":
        path.write_text("nothing")
    elif damage == "gone":
        path.unlink()
    else:
        value = json.loads(path.read_text())
        value["shards"][0]["samples"][0]["frames"] = "many"
        path.write_text(json.dumps(value))
    (line,) = lines(shards)
    assert line.startswith("index.json: ")


def test_a_run_that_has_not_finished_and_no_folder(shards, tmp_path):
    (shards / "work").mkdir()
    assert "has not finished" in lines(shards)[0]
    assert lines(tmp_path / "nothing") == [f"{tmp_path / 'nothing'}: no such folder"]
