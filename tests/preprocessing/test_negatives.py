"""`preprocessing.negatives`: pairs of a filmed and a generated clip."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from datamodules.clips import read_clips
from datamodules.media.files import read_frames, read_metadata
from datamodules.shards.index import Index, SampleEntry
from models.paha.generate import UniVDMSource, generate_latents
from models.paha.regions import face_box
from models.paha.univdm import UniVDM
from models.video.latents import decode, encode
from models.video.speech import audio_windows
from preprocessing.negatives.options import Options
from preprocessing.negatives.plan import make_plan
from preprocessing.negatives.run import main, make_negatives
from preprocessing.runs.work import RunError
from preprocessing.verify import verify
from pretrained.autoencoders import load_autoencoder
from settings import ConfigError
from settings.hashes import file_hash
from tests.autoencoders import FACTOR, save_autoencoder
from tests.models.filled import filled
from tests.trainers.video_stages import latent_shards

FPS, LENGTHS = 25.0, [6, 10, 14]
KEYS = ("video.mp4", "audio.flac", "speech.npz", "latents.npz", "pair.npz")


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> Path:
    return save_autoencoder(tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory, vae) -> Path:
    return latent_shards(tmp_path_factory.mktemp("data"), vae, [0.8, 1.0])


def save_univdm(folder: Path, vae: Path, **changed) -> Path:
    torch.manual_seed(0)
    network = UniVDM(
        **{
            "channels": (8, 16), "layers": 1, "head_channels": 4, "cross_channels": 8, "norm_groups": 4,
            "motion_heads": 2, "motion_frames": 8, "downscaling": FACTOR, "image_channels": 0, "audio_layers": 1,
            "audio_channels": 35, "audio_tokens": 2, "audio_width": 8, "window": 6, "fps": FPS, "sampling_steps": 2,
            "latent_scale": 0.5, "autoencoder": file_hash(vae / "diffusion_pytorch_model.safetensors"), **changed,
        }
    )  # fmt: skip
    filled(network, std=0.3).save_pretrained(folder / "export")
    settings = {"stage": {"name": "paha.univdm", "autoencoder": str(vae)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, vae) -> Path:
    return save_univdm(tmp_path_factory.mktemp("run"), vae)


def options(run: Path, vae: Path, shards: Path, output: Path, **more) -> Options:
    given = {
        "run": str(run / "export"), "autoencoder": str(vae), "input": str(shards), "output": str(output),
        "lengths": LENGTHS, "pairs_per_clip": 2, "pairs_per_shard": 3, "progress": False, "device": "cpu",
    }  # fmt: skip
    return Options(**{**given, **more})


@pytest.fixture(scope="module")
def made(run, vae, shards, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("made") / "out"
    make_negatives(options(run, vae, shards, output))
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar")) + [folder / "index.json"]}


@pytest.mark.paper("PH-11")
def test_every_clip_has_its_pair_and_all_is_as_the_schema_says(made, shards):
    index = Index.load(made)
    ids = [sample.id for shard in index.shards for sample in shard.samples]
    before = [sample.id for shard in Index.load(shards).shards for sample in shard.samples]
    assert ids == [f"{clip}-{copy}-{side}" for clip in before for copy in (0, 1) for side in ("real", "made")]
    assert list(verify(str(made))) == []
    assert index.statistics["handcrafted"]["std"] != [1.0] * 35
    splits = {sample.id: sample.split for shard in Index.load(shards).shards for sample in shard.samples}
    for info, values in read_clips(made, KEYS):
        side, pair = info.id.rpartition("-")[2], values["pair.npz"]
        assert bool(pair["generated"][0]) == (side == "made") == (info.generated is not None)
        assert info.frames in LENGTHS
        assert info.split == splits[info.id.rsplit("-", 2)[0]]
        assert len(values["audio.flac"]) == round(info.frames / FPS * 16_000)
        assert len(values["latents.npz"]["mean"]) == len(pair["plain"]) == info.frames


@pytest.mark.paper("PH-11")
def test_the_generated_one_is_what_the_network_makes_of_the_picture_and_anothers_speech(made, run, vae, shards):
    network = UniVDM.from_pretrained(run / "export").eval()
    plan = make_plan(options(run, vae, shards, made), Index.load(shards), _folder(shards), network)
    pair = plan.shards[0][1][0]
    before = dict(zip(plan.table.ids, (values for _, values in read_clips(shards, ("latents.npz", "speech.npz")))))
    seen, heard = (before[plan.table.ids[number]] for number in (pair.clip, pair.heard))
    assert pair.clip != pair.heard
    reference = torch.from_numpy(seen["latents.npz"]["mean"][pair.reference]).float()[None] * network.latent_scale
    speech = torch.from_numpy(heard["speech.npz"]["handcrafted"])[None]
    source = UniVDMSource(
        pair.frames, reference, lambda a, b: audio_windows(speech, pair.heard_start + a, b - a, network.audio_context)
    )
    expected = torch.cat(list(generate_latents(network, source, seed=[pair.seed])), 2)[0].transpose(0, 1)
    clips = {info.id: values for info, values in read_clips(made, KEYS)}
    real, generated = (clips[f"{pair.id}-{side}"] for side in ("real", "made"))
    np.testing.assert_allclose(generated["pair.npz"]["plain"], expected.half().numpy(), rtol=5e-3, atol=5e-3)
    frames = slice(pair.start, pair.start + pair.frames)
    np.testing.assert_array_equal(real["pair.npz"]["plain"], seen["latents.npz"]["mean"][frames])
    np.testing.assert_array_equal(real["speech.npz"]["handcrafted"], seen["speech.npz"]["handcrafted"][frames])
    own = slice(pair.heard_start, pair.heard_start + pair.frames)
    np.testing.assert_array_equal(generated["speech.npz"]["handcrafted"], heard["speech.npz"]["handcrafted"][own])
    for name in ("reference", "box"):
        np.testing.assert_array_equal(real["pair.npz"][name], generated["pair.npz"][name])


@pytest.mark.paper("PH-11")
def test_both_have_gone_through_decoder_video_encoder_and_encoder(made, vae):
    autoencoder, _ = load_autoencoder("it", str(vae))
    for _, values in list(read_clips(made, KEYS))[:2]:
        plain = torch.from_numpy(values["pair.npz"]["plain"]).float()
        decoded = (decode(autoencoder, plain) * 255).round()
        seen = torch.from_numpy(np.stack(list(read_frames(values["video.mp4"])))).permute(0, 3, 1, 2)
        # An encoder keeps what stands where, and not every value: half as far away as what stands elsewhere.
        assert 0 < (seen - decoded).abs().mean() < 0.5 * (seen.roll(8, -1) - decoded).abs().mean()
        mean, log_variance = encode(autoencoder, seen)
        for name, expected in (("mean", mean), ("log_variance", log_variance)):
            np.testing.assert_allclose(values["latents.npz"][name], expected, rtol=2e-3, atol=2e-3)


def _folder(shards: Path):
    from datamodules.shards.cache import ShardFolder

    return ShardFolder(str(shards), None)


@pytest.mark.paper("PH-13")
def test_lengths_are_drawn_alike_and_pictures_of_the_whole_clip_or_its_first_frame(run, vae, shards):
    network = UniVDM.from_pretrained(run / "export")
    asked = options(run, vae, shards, Path("nowhere"), pairs_per_clip=150)
    index, folder = Index.load(shards), _folder(shards)
    pairs = [pair for _, some in make_plan(asked, index, folder, network).shards for pair in some]
    counts = Counter(pair.frames for pair in pairs)
    assert set(counts) == set(LENGTHS)
    assert all(0.28 < counts[length] / len(pairs) < 0.39 for length in LENGTHS)
    outside = [pair for pair in pairs if not pair.start <= pair.reference < pair.start + pair.frames]
    assert 0.2 < len(outside) / len(pairs) < 0.8
    first = make_plan(replace(asked, reference="first"), index, folder, network)
    assert all(pair.reference == pair.start for _, some in first.shards for pair in some)
    others = make_plan(replace(asked, seed=1), index, folder, network)
    assert [pair for _, some in others.shards for pair in some] != pairs


@pytest.mark.paper("PH-11")
def test_the_same_sound_stands_once_beside_a_filmed_clip_and_once_beside_a_generated_one(run, vae, shards):
    network = UniVDM.from_pretrained(run / "export")
    asked = options(run, vae, shards, Path("nowhere"), pairs_per_clip=20, lengths=[10])
    plan = make_plan(asked, Index.load(shards), _folder(shards), network)
    pairs = [pair for _, some in plan.shards for pair in some]
    filmed = Counter((pair.id.rpartition("-")[2], pair.clip, pair.start) for pair in pairs)
    assert filmed == Counter((pair.id.rpartition("-")[2], pair.heard, pair.heard_start) for pair in pairs)
    assert all(pair.clip != pair.heard for pair in pairs)
    for split, clips in _splits(shards).items():
        numbers = [plan.table.ids.index(clip) for clip in clips]
        if len(numbers) > 2:
            own = [pair.heard for pair in pairs if pair.clip == numbers[0]]
            assert set(own) == set(numbers[1:]), f"{split}: another is heard from one round to the next"


@pytest.mark.paper("PH-11")
def test_every_round_hears_other_peoples_voices_as_often_wherever_a_persons_clips_stand(run, vae, shards):
    folder, network = _folder(shards), UniVDM.from_pretrained(run / "export")
    index = Index.load(shards).model_copy(deep=True)
    one = index.shards[0].samples[0]
    index.shards = [index.shards[0]]
    index.shards[0].samples = [
        one.model_copy(update={"id": f"{speaker}{number:02d}", "speaker": speaker, "split": "train"})
        for speaker in "abcd"
        for number in range(10)
    ]
    for seed in range(3):
        asked = options(run, vae, shards, Path("nowhere"), pairs_per_clip=6, seed=seed)
        plan = make_plan(asked, index, folder, network)
        others: dict[str, list[bool]] = {}
        for pair in (pair for _, some in plan.shards for pair in some):
            speakers = [plan.table.ids[number][0] for number in (pair.clip, pair.heard)]
            others.setdefault(pair.id.rpartition("-")[2], []).append(speakers[0] != speakers[1])
        shares = [sum(found) / len(found) for found in others.values()]
        assert len(shares) == 6
        # 30 of the 39 others are somebody else's.
        assert all(0.55 < share < 0.95 for share in shares), shares


def test_the_speech_may_be_the_same_speakers_alone(run, vae, shards):
    index, folder, network = Index.load(shards), _folder(shards), UniVDM.from_pretrained(run / "export")
    names = dict(zip((sample.id for sample in _samples(index)), "ab" * 100))
    told = index.model_copy(deep=True)
    for each in _samples(told):
        each.speaker, each.split = names[each.id], "train"
    for heard in ("anyone", "same_speaker"):
        asked = options(run, vae, shards, Path("nowhere"), pairs_per_clip=10, heard=heard)
        plan = make_plan(asked, told, folder, network)
        speakers = {
            (names[plan.table.ids[pair.clip]], names[plan.table.ids[pair.heard]])
            for _, some in plan.shards
            for pair in some
        }
        assert speakers == {("a", "a"), ("b", "b")} | (set() if heard == "same_speaker" else {("a", "b"), ("b", "a")})


def test_the_only_clips_of_their_speakers_hear_each_other(run, vae, shards):
    index, folder, network = Index.load(shards), _folder(shards), UniVDM.from_pretrained(run / "export")
    asked = options(run, vae, shards, Path("nowhere"), pairs_per_clip=10, heard="same_speaker")
    mixed, scattered = index.model_copy(deep=True), index.model_copy(deep=True)
    for number, (each, other) in enumerate(zip(_samples(mixed), _samples(scattered), strict=True)):
        each.split, each.speaker = "train", "many" if number > 1 else f"single-{number}"
        other.split = other.speaker = other.id
    plan = make_plan(asked, mixed, folder, network)
    alone = {plan.table.ids.index(sample.id) for sample in _samples(mixed)[:2]}
    pairs = [pair for _, some in plan.shards for pair in some]
    assert {(pair.clip, pair.heard) for pair in pairs if pair.clip in alone} == {
        (a, b) for a in alone for b in alone - {a}
    }
    assert not {pair.heard for pair in pairs if pair.clip not in alone} & alone
    assert not plan.left_out
    with pytest.raises(ConfigError, match="no split has two clips"):
        make_plan(asked, scattered, folder, network)


def _samples(index: Index) -> list[SampleEntry]:
    return [sample for shard in index.shards for sample in shard.samples]


def _splits(shards: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for shard in Index.load(shards).shards:
        for sample in shard.samples:
            found.setdefault(sample.split, []).append(sample.id)
    return found


def test_the_clip_says_that_it_is_generated_from_whom_and_what_they_allow(made, run, tmp_path):
    sha256 = file_hash(run / "export" / "model.safetensors")
    for info, values in read_clips(made, KEYS):
        (tmp_path / "clip.mp4").write_bytes(values["video.mp4"])
        said = read_metadata(tmp_path / "clip.mp4")
        generated = info.id.endswith("-made")
        assert said["generated"] is generated
        assert info.generated == (sha256 if generated else None)
        assert said.get("network") == (sha256 if generated else None)
        assert [source["role"] for source in info.extra["sources"]] == ["picture", "speech"][: 1 + generated]
        assert info.extra["pair"] == info.id.rpartition("-")[0]


@pytest.mark.parametrize(
    ("licences", "consents", "licence", "consent"),
    [
        (["CC-BY", "CC-BY"], [True, True], "CC-BY", True),
        (["CC-BY", "CC0"], [True, False], "CC-BY; CC0", False),
        (["CC-BY", None], [True, None], None, None),
        ([None, None], ["signed", True], None, "signed"),
    ],
)
def test_what_is_allowed_is_what_both_allow(licences, consents, licence, consent):
    from preprocessing.negatives.make import _joined, _least

    assert _joined(licences) == licence
    assert _least(consents) == consent


def test_a_run_that_was_stopped_goes_on_and_tasks_share_it(made, run, vae, shards, tmp_path):
    half = options(run, vae, shards, tmp_path / "half", task_index=0, task_count=2)
    assert make_negatives(half)["missing"]
    assert not (tmp_path / "half" / "index.json").exists()
    summary = make_negatives(replace(half, task_index=1))
    assert "missing" not in summary
    assert contents(tmp_path / "half") == contents(made), "what comes out is what one process makes"
    shutil.copytree(made, tmp_path / "again")
    stat = (tmp_path / "again" / "shard-000000.tar").stat().st_mtime_ns
    make_negatives(options(run, vae, shards, tmp_path / "again"))
    assert (tmp_path / "again" / "shard-000000.tar").stat().st_mtime_ns == stat
    with pytest.raises(RunError, match="other options"):
        make_negatives(options(run, vae, shards, tmp_path / "again", seed=4))
    make_negatives(options(run, vae, shards, tmp_path / "again", seed=4, restart=True))
    assert contents(tmp_path / "again") != contents(made)


def test_what_was_finished_before_a_kill_is_kept(made, run, vae, shards, tmp_path, monkeypatch):
    from preprocessing.negatives import run as module

    write, done = module._write, []

    def killed(path, *args):
        if done:
            raise KeyboardInterrupt
        done.append(path.name)
        return write(path, *args)

    monkeypatch.setattr(module, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        make_negatives(options(run, vae, shards, tmp_path / "out"))
    monkeypatch.setattr(module, "_write", lambda path, *args: done.append(path.name) or write(path, *args))
    make_negatives(options(run, vae, shards, tmp_path / "out"))
    assert Counter(done).most_common(1)[0][1] == 1, "no shard twice"
    assert contents(tmp_path / "out") == contents(made)


def test_a_network_that_makes_nan_costs_its_pairs_which_are_named(vae, shards, tmp_path):
    folder = save_univdm(tmp_path / "bad", vae)
    network = UniVDM.from_pretrained(folder / "export")
    with torch.no_grad():
        network.denoiser.conv_in.weight.fill_(torch.nan)
    network.save_pretrained(folder / "export")
    summary = make_negatives(options(folder, vae, shards, tmp_path / "out"))
    assert summary["pairs"] == 0
    assert set(summary["skipped"].values()) == {"the network made NaN of it"}


def test_clips_without_what_is_needed_are_named(run, vae, shards, tmp_path):
    with pytest.raises(ConfigError, match=r"no clip makes a pair; .* shorter than 300 frames"):
        make_negatives(options(run, vae, shards, tmp_path / "a", lengths=[300]))
    frames = shards.parent / "frames"
    with pytest.raises(ConfigError, match=r"no clip makes a pair; .* latents.npz is missing"):
        make_negatives(options(run, vae, frames, tmp_path / "b"))
    other = save_autoencoder(tmp_path / "other", seed=1)
    with pytest.raises(ConfigError, match="another network than the one whose latents"):
        make_negatives(options(run, other, shards, tmp_path / "c"))
    with pytest.raises(ConfigError, match="does not say which autoencoder"):
        make_negatives(options(run, vae, shards, tmp_path / "d", autoencoder=None))
    with pytest.raises(ConfigError, match="no run folder with checkpoints"):
        make_negatives(options(run, vae, shards, tmp_path / "e", checkpoint=7))
    summary = make_negatives(options(run, vae, shards, tmp_path / "f", lengths=[22], pairs_per_clip=1))
    reasons = set(summary["skipped"].values())
    assert "shorter than 22 frames" in reasons
    assert summary["pairs"]


def test_the_box_is_that_of_the_face_and_larger():
    poses = torch.full((2, 134, 3), -1.0)
    poses[..., 2] = 0
    poses[0, 30] = torch.tensor([0.4, 0.2, 0.9])
    poses[1, 40] = torch.tensor([0.6, 0.4, 0.9])
    poses[1, 50] = torch.tensor([0.9, 0.9, 0.2])  # not to be relied on
    torch.testing.assert_close(face_box(poses, 10, 10, (10, 20)), torch.tensor([0.175, 0.15, 0.325, 0.45]))
    with pytest.raises(ValueError, match="no face is seen"):
        face_box(poses * 0, 10, 10, (10, 10))


def test_the_command_tells_what_it_made(run, vae, shards, tmp_path, capsys):
    words = [f"run={run / 'export'}", f"autoencoder={vae}", f"input={shards}", f"output={tmp_path / 'out'}"]
    assert main([*words, "lengths=[6]", "steps=1", "progress=false", "keep_video=false", "keep_plain=false"]) == 0
    assert "6 pairs in" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["lengths"] == {"6": 12}
    keys = {key for shard in Index.load(tmp_path / "out").shards for sample in shard.samples for key in sample.keys}
    assert keys == {"clip.json", "audio.flac", "speech.npz", "latents.npz", "pair.npz"}
    assert main([*words, "checkpoint=newest"]) == 2
    assert "last, best or the number of a step" in capsys.readouterr().err
