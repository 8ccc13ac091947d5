"""What goes in: folders, globs and manifests; captions cut to clips; splits that do not move."""

import json

import pytest

from preprocessing.sources.manifest import ManifestError, assign_splits, cut_extra, cut_spans, read_sources, slug
from preprocessing.step import SourceFile
from preprocessing.videos.span import Crop, Span


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


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
        ("m.jsonl", '{"file": "a.mp4"}\n{"file": \n', "line 2, column 10: not JSON"),
        ("m.jsonl", '["a.mp4"]\n', "needs an object"),
        ("m.jsonl", '{"file": "a.mp4"}\n{"file": "a.mp4"}\n', "line 2: a.mp4 is listed twice, .* line 1"),
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


ROW = '{"file": "a.mp4", "captions": [{"start": %s, "end": 2, "text": "a"}]}'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.jsonl", '{"file": "b.mp4"}\n' + ROW % "NaN", "line 2, column 42: .*NaN is no finite number"),
        ("m.jsonl", ROW % "-Infinity", "line 1, column 42: .*-Infinity is no finite number"),
        ("m.jsonl", '{"file": "NaN.mp4", "extra": {"n": 1e999}}', "line 1, column 36: .*1e999 is no finite number"),
        ("m.json", '[{"file": "b.mp4"},\n {"file": "a.mp4", "extra": [NaN]}]', "line 2, column 30: .*NaN"),
        ("m.json", '[{"file": "b.mp4"},\n {"file": 1}]', "line 2: no 'file'"),
        ("m.json", '[{"file": "b.mp4"}\n {"file": "a.mp4"}]', "line 2, column 2: not JSON .a comma"),
        ("m.csv", 'file,extra\n"a.mp4","{""n"": NaN}"\n', "line 2, column 'extra': .*NaN is no .* sign 7"),
        ("m.csv", "file,start\na.mp4,nan\n", "line 2, column 'start': 'nan' is no time"),
        ("m.jsonl", '{"file": "a.mp4", "file": "b.mp4"}', "line 1, column 2: .*'file' stands there twice"),
        ("m.csv", "file,file\na.mp4,b.mp4\n", "line 1, column 2: 'file' stands there twice"),
        ("m.jsonl", '{"file": "a.mp4", "speaker": "\\ud800"}', "line 1, .*'speaker' holds half of a sign"),
        ("m.jsonl", '{"file": "a.mp4", "speaker": ["x"]}', "line 1, column 'speaker': needs a text"),
        (
            "m.jsonl",
            '{"file": "a.mp4", "extra": {"n": ' + "9" * 5000 + "}}",
            "line 1, column 34: .*a number of 5000 digits",
        ),
        ("m.jsonl", '{"file": "a.mp4", "extra": ' + "[" * 200_000, "line 1, .*too deep"),
        ("m.csv", "file,start,end\na.mp4,4,3.5\n", "line 2, column 'end': 3.5 s is not after the start at 4 s"),
        ("m.csv", 'file,crop\na.mp4,"5,5,-1,9"\n', "line 2, column 'crop': .*is empty"),
        (
            "m.csv",
            "file,start,split\na.mp4,0,train\n./a.mp4,9,val\n",
            "line 3: a.mp4 is in split val here and in train",
        ),
        ("m.csv", "file,start\na.mp4,5\nx/../a.mp4,5.0\n", "line 3: a.mp4#t=5, is listed twice"),
    ],
)
def test_what_would_be_lost_or_found_late_is_refused_where_it_stands(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_sources(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_csv_of_any_program_is_read(tmp_path, sign, ends, encoding):
    rows = [["file", "speaker", "start"], ["a.mp4", f'"Zoë{sign} dr"', '"12,5"'], [], ["b.mp4", " x", ""]]
    (tmp_path / "m.csv").write_bytes((ends.join(sign.join(row) for row in rows) + ends).encode(encoding))
    first, second = read_sources(tmp_path / "m.csv")
    assert (first.row["speaker"], first.span, first.video) == (f"Zoë{sign} dr", Span(12.5), "a.mp4")
    assert second.name == "b.mp4"


def test_signs_that_end_no_line_stay_in_their_text(tmp_path):
    text = "one two threefour"
    row = {"file": "a.mp4", "captions": [{"start": 0, "end": 1, "text": text}]}
    (tmp_path / "m.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n" + '{"file": "b.mp4"}\n')
    assert [s.row.get("captions", [{}])[0].get("text") for s in read_sources(tmp_path / "m.jsonl")] == [text, None]
    (tmp_path / "m.csv").write_text('sep=;\nfile;speaker\na.mp4;"an\nna"\n"b.mp4";bob\nc.mp4;"x\n')
    with pytest.raises(ManifestError, match="line 6"):
        read_sources(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text('sep=;\nfile;speaker\na.mp4;"an\nna"\n"b.mp4";"' + "b" * 200_000 + '"\n')
    assert [s.row["speaker"] for s in read_sources(tmp_path / "m.csv")] == ["an\nna", "b" * 200_000]


def test_spans_of_a_video_have_names_of_their_own_and_one_split(tmp_path):
    rows = [
        f"v{video}.mp4,{start},{start + 4},{crop}"
        for video in range(8)
        for start, crop in ((100, ""), (20, ""), (3, ""), (3, "0 0 0.5 1"))
    ]
    (tmp_path / "m.csv").write_text("file,start,end,crop\n" + "\n".join(rows) + "\nv0.mp4,,,\n")
    found = read_sources(tmp_path / "m.csv")
    assert [s.name for s in found[:5]] == [
        "v0.mp4", "v0.mp4#t=3,7", "v0.mp4#t=3,7&crop=0,0,0.5,1", "v0.mp4#t=20,24", "v0.mp4#t=100,104",
    ]  # fmt: skip
    assert found[2].crop == Crop(0, 0, 0.5, 1)
    assert {s.video for s in found} == {f"v{video}.mp4" for video in range(8)}
    assert len({slug(s) for s in found}) == len(found)
    assert slug(found[3]).startswith("v0-")
    splits = assign_splits(found, SHARES)
    for video in range(8):
        assert len({splits[s.name] for s in found if s.video == f"v{video}.mp4"}) == 1
    assert set(splits.values()) == set(SHARES)


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
    one, two = SourceFile(tmp_path, "x/Ünï cødé!.mp4", tmp_path), SourceFile(tmp_path, "y/Ünï cødé!.mp4", tmp_path)
    assert slug(one) != slug(two)
    assert all(sign.isalnum() or sign in "-_" for sign in slug(one))
    assert slug(one).isascii()
    assert len(slug(SourceFile(tmp_path, "a" * 300 + ".mp4", tmp_path))) <= 49


def sources(count, **row):
    return [SourceFile(None, f"{i:03d}.mp4", None, {key: value(i) for key, value in row.items()}) for i in range(count)]


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
