"""What goes in: folders, globs and manifests; captions cut to clips; splits that do not move."""

import json

import pytest

from preprocessing.manifest import ManifestError, assign_splits, cut_extra, cut_spans, read_sources, slug
from preprocessing.step import Source


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names(sources):
    return [source.name for source in sources]


def test_folder_is_searched_and_sorted(tmp_path):
    touch(tmp_path, "b.mp4", "a.MOV", "deep/er/c.webm", "notes.txt", ".hidden.mp4", ".git/d.mp4", "out/e.mp4")
    assert names(read_sources(tmp_path, leave_out=tmp_path / "out")) == ["a.MOV", "b.mp4", "deep/er/c.webm"]


def test_glob_and_single_file(tmp_path):
    touch(tmp_path, "x/a.mp4", "x/b.mp4", "y/a.mp4")
    assert names(read_sources(f"{tmp_path}/*/a.mp4")) == ["x/a.mp4", "y/a.mp4"]
    assert names(read_sources(f"{tmp_path}/**/*.mp4")) == ["x/a.mp4", "x/b.mp4", "y/a.mp4"]
    assert names(read_sources(tmp_path / "x/b.mp4")) == ["b.mp4"]


@pytest.mark.parametrize(
    ("what", "message"), [("nothing", "does not exist"), ("*.mp4", "no video matches"), ("", "no video in")]
)
def test_nothing_there(tmp_path, what, message):
    with pytest.raises(ManifestError, match=message):
        read_sources(f"{tmp_path}/{what}" if what else tmp_path)


def test_jsonl_manifest(tmp_path):
    rows = [
        {"file": "v/b.mp4", "speaker": 7, "consent": True, "captions": [{"start": 1, "end": 2, "text": "hi"}]},
        {"file": "v/a.mp4", "licence": "CC BY 4.0", "split": "test", "extra": {"room": 3}},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    first, second = read_sources(tmp_path / "m.jsonl")
    assert first.path == tmp_path / "v/a.mp4"
    assert first.row == {"file": "v/a.mp4", "licence": "CC BY 4.0", "split": "test", "extra": {"room": 3}}
    assert second.row["speaker"] == "7"
    assert second.row["consent"] is True
    assert second.sidecar == tmp_path / "v"


def test_csv_manifest(tmp_path):
    (tmp_path / "m.csv").write_text(
        "\ufefffile,speaker,captions,consent,language\n"
        'a.mp4,ann,"[{""start"":0,""end"":1.5,""text"":""ja, gut""}]",yes,de\n'
        "b.mp4,,,,\n"
    )
    first, second = read_sources(tmp_path / "m.csv")
    assert first.row["captions"] == [{"start": 0.0, "end": 1.5, "text": "ja, gut"}]
    assert first.row["consent"] is True
    assert second.row == {"file": "b.mp4"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "file,speeker\na.mp4,x\n", "line 2: unknown column 'speeker'; did you mean 'speaker'"),
        ("m.csv", "file,license\na.mp4,x\n", "did you mean 'licence'"),
        ("m.csv", "speaker\nx\n", "line 2: no 'file'"),
        ("m.csv", "file,captions\na.mp4,hello\n", "captions is not JSON"),
        ("m.csv", "file,speaker\na.mp4,x,[{\n", "more cells than columns"),
        ("m.csv", "file\n", "lists no video"),
        ("m.jsonl", '{"file": "a.mp4"}\n{"file": \n', "line 2: not JSON"),
        ("m.jsonl", '["a.mp4"]\n', "needs an object"),
        ("m.jsonl", '{"file": "a.mp4"}\n{"file": "a.mp4"}\n', "a.mp4 twice"),
        ("m.jsonl", '{"file": "a.mp4", "captions": [{"begin": 1}]}\n', "captions need a list"),
        ("m.jsonl", '{"file": "a.mp4", "captions": [{"start": 2, "end": 1, "text": "a"}]}\n', "ends before it starts"),
        ("m.jsonl", '{"file": "a.mp4", "split": "my split"}\n', "is no name"),
        ("m.jsonl", '{"file": "a.mp4", "extra": [1]}\n', "extra needs an object"),
    ],
)
def test_bad_manifests_say_where(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=message) as caught:
        read_sources(tmp_path / name)
    assert name in str(caught.value)


def test_a_manifest_that_is_no_text(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"file\n\xff\xfe.mp4\n")
    with pytest.raises(ManifestError, match="not UTF-8"):
        read_sources(tmp_path / "m.csv")


def test_spans_are_cut_and_timed_anew():
    spans = [
        {"start": 0.0, "end": 2.0, "text": "a"},
        {"start": 2.0, "end": 5.0, "text": "b"},
        {"start": 9, "end": 10, "text": "c"},
    ]
    assert cut_spans(spans, 1.5, 4.0) == [
        {"start": 0, "end": 0.5, "text": "a"},
        {"start": 0.5, "end": 2.5, "text": "b"},
    ]
    assert cut_extra({"phonemes": [{"start": 1, "end": 3, "p": "a"}], "tags": ["x"]}, 2, 4) == {
        "phonemes": [{"start": 0, "end": 1, "p": "a"}],
        "tags": ["x"],
    }


def test_ids_are_readable_and_distinct(tmp_path):
    one, two = Source(tmp_path, "x/Ünï cødé!.mp4", tmp_path), Source(tmp_path, "y/Ünï cødé!.mp4", tmp_path)
    assert slug(one) != slug(two)
    assert all(sign.isalnum() or sign in "-_" for sign in slug(one))
    assert slug(one).isascii()
    assert len(slug(Source(tmp_path, "a" * 300 + ".mp4", tmp_path))) <= 49


def sources(count, **row):
    return [Source(None, f"{i:03d}.mp4", None, {key: value(i) for key, value in row.items()}) for i in range(count)]


SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def test_splits_keep_their_shares_and_their_places():
    splits = assign_splits(sources(100), SHARES)
    assert sorted(map(list(splits.values()).count, SHARES)) == [10, 10, 80]
    assert splits == assign_splits(sources(100), SHARES)
    assert splits != assign_splits(sources(100), SHARES, seed=1)


@pytest.mark.parametrize(
    ("count", "wanted"), [(1, [1, 0, 0]), (2, [2, 0, 0]), (3, [2, 1, 0]), (4, [2, 1, 1]), (6, [4, 1, 1])]
)
def test_few_videos_still_give_a_validation_split(count, wanted):
    values = list(assign_splits(sources(count), SHARES).values())
    assert [values.count(split) for split in SHARES] == wanted


def test_speakers_stay_together_and_the_manifest_wins():
    many = sources(40, speaker=lambda i: f"s{i % 8}")
    many[3].row["split"] = "test_unseen"
    splits = assign_splits(many, SHARES, by="speaker")
    for speaker in range(8):
        assert len({splits[f"{i:03d}.mp4"] for i in range(speaker, 40, 8)}) == 1
    assert {splits[f"{i:03d}.mp4"] for i in range(3, 40, 8)} == {"test_unseen"}
    assert splits["003.mp4"] == "test_unseen"


def test_shares_must_add_up():
    with pytest.raises(ManifestError, match="add up to 1"):
        assign_splits(sources(3), {"train": 0.5})


def test_moments_are_in_exactly_one_clip():
    beats = [{"start": time, "end": time} for time in (0.0, 2.0, 3.5)]
    assert [beat["start"] for beat in cut_spans(beats, 0.0, 2.0)] == [0.0]
    assert [beat["start"] for beat in cut_spans(beats, 2.0, 4.0)] == [0.0, 1.5]
