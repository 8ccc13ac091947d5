"""Every video once, whatever links to it; and whatever is not taken is named."""

import os

import pytest

from preprocessing.sources.discovery import Skipped, readable
from preprocessing.sources.manifest import ManifestError, assign_splits, read_sources, slug
from tests.preprocessing.clips import write_clip


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def found(location, **options):
    skipped = []
    sources = read_sources(location, skipped=skipped, **options)
    return [source.name for source in sources], {skip.file: skip for skip in skipped}


@pytest.fixture
def linked(tmp_path):
    """A folder with a linked folder, a link loop, a dead link, and links to a file inside and to one outside."""
    inside, outside = tmp_path / "in", tmp_path / "elsewhere"
    touch(inside, "plain.mp4")
    touch(outside, "far.mp4", "deep/down.mkv")
    (inside / "nas").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    (inside / "dead.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (inside / "again.mp4").symlink_to(inside / "plain.mp4")
    return inside


@pytest.mark.parametrize("pattern", ["", "/**/*", "/**/*.m*"])
def test_links_are_taken_once_or_named(linked, pattern):
    names, skips = found(f"{linked}{pattern}")
    assert names == ["nas/deep/down.mkv", "nas/far.mp4", "plain.mp4"]
    assert skips["again.mp4"].reason == "a link to plain.mp4"
    assert skips["dead.mp4"].reason == "a link to a file that is not there"
    assert "back to a folder" in skips["loop"].reason


@pytest.mark.parametrize("ending", ["m2ts", "MXF", "vob", "asf", "f4v", "3g2"])
def test_endings_of_cameras_and_broadcasts(tmp_path, ending):
    touch(tmp_path, f"a.{ending}")
    assert found(tmp_path)[0] == [f"a.{ending}"]


def test_names_without_an_ending_are_known_by_content(tmp_path):
    write_clip(tmp_path / "a.mp4", seconds=0.2)
    (tmp_path / "a.mp4").rename(tmp_path / "talk")
    touch(tmp_path, "README", "a.npz", "b.npz", ".hidden.mp4")
    names, skips = found(tmp_path)
    assert names == ["talk"]
    assert skips["no ending"] == Skipped("no ending", "no video by name or content", 1)
    assert skips["*.npz"].count == 2
    assert skips["hidden files"].count == 1


def test_copies_are_taken_once_and_named(tmp_path):
    touch(tmp_path, "b.mp4", "c.mp4")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/b again.mp4").write_bytes((tmp_path / "b.mp4").read_bytes())
    names, skips = found(tmp_path)
    assert names == ["b.mp4", "c.mp4"]
    assert skips["more/b again.mp4"].reason == "a copy of b.mp4"


@pytest.mark.parametrize("by", ["source", "speaker"])
def test_copies_in_a_manifest_stand_in_one_split(tmp_path, by):
    for number in range(20):
        (tmp_path / f"{number:02d}.mp4").write_bytes(b"%02d" % (number % 10))
    rows = "".join(f"{number:02d}.mp4,s{number}\n" for number in range(20))
    (tmp_path / "m.csv").write_text("file,speaker\n" + rows)
    sources = read_sources(tmp_path / "m.csv")
    splits = assign_splits(sources, {"train": 0.4, "val": 0.3, "test": 0.3}, by=by)
    assert len(splits) == 20
    assert set(splits.values()) == {"train", "val", "test"}
    for number in range(10):
        assert splits[f"{number:02d}.mp4"] == splits[f"{number + 10:02d}.mp4"]


def manifest(folder, *rows):
    for name in ("a", "b", "c", "d"):
        (folder / f"{name}.mp4").write_bytes(b"one" if name in "ab" else name.encode())
    (folder / "m.csv").write_text("file,speaker,split,start,end\n" + "".join(f"{row}\n" for row in rows))
    return read_sources(folder / "m.csv")


@pytest.mark.parametrize("by", ["source", "speaker"])
def test_copies_with_several_stated_splits_are_refused_by_name(tmp_path, by):
    sources = manifest(tmp_path, "a.mp4,x,train,,", "b.mp4,y,test,,", "c.mp4,z,test,,")
    with pytest.raises(ManifestError, match=r"^a\.mp4 \(train\), b\.mp4 \(test\) are copies of one video in several"):
        assign_splits(sources, {"train": 1.0}, by=by)
    sources = manifest(tmp_path, "a.mp4,x,test,,", "b.mp4,y,test,,", "c.mp4,z,train,,")
    assert assign_splits(sources, {"train": 1.0}, by=by)["b.mp4"] == "test"


@pytest.mark.parametrize("by", ["source", "speaker"])
def test_a_copy_and_a_span_follow_their_own_video_and_not_another_of_the_speaker(tmp_path, by):
    rows = ["c.mp4,x,val,,", "b.mp4,x,train,,", "a.mp4,x,,,", "d.mp4,x,test,0,1", "d.mp4,x,,2,3"]
    splits = assign_splits(manifest(tmp_path, *rows), {"train": 0.0, "other": 1.0}, by=by)
    assert splits["a.mp4"] == splits["b.mp4"] == "train"
    assert {split for name, split in splits.items() if name.startswith("d.mp4")} == {"test"}


def test_names_that_are_not_utf8(tmp_path):
    for name in (b"\xff\xfe.mp4", "gr\u00fcn.mp4".encode("latin-1"), "grün.mp4".encode()):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(name)
    names, _ = found(tmp_path)
    assert names == sorted(["\\xff\\xfe.mp4", "gr\\xfcn.mp4", "grün.mp4"])
    assert len({slug(source) for source in read_sources(tmp_path)}) == 3
    assert readable("grün") == "grün"
