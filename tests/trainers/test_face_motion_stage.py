"""ChatAnyone's face motion stage: its configs, what a step learns from, what it refuses, and a whole short run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.batch import Batch
from datamodules.shards.index import Index
from models.chatanyone.face_motion import Conditions, FaceMotion
from models.chatanyone.face_motion_space import CHANNELS
from models.chatanyone.head import EXPRESSIONS
from preprocessing.features.run import Options as FeatureOptions
from preprocessing.features.run import make_features
from settings import ConfigError, build
from settings.command import command
from settings.hashes import file_hash
from tests.heads import coefficients, statistics, template
from tests.models.filled import filled
from tests.models.test_face_motion import SMALL, talk
from tests.nested import nested, words
from tests.preprocessing.test_head import heads
from tests.shards import write_shards
from trainers.chatanyone import face_windows
from trainers.chatanyone.evaluation.face_motion import monotone, similarity
from trainers.chatanyone.face_motion import FaceMotionStage
from trainers.evaluate import evaluate
from trainers.fit import fit
from trainers.stage.agreement import agree

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "chatanyone" / "face_motion"
B, T = 4, 40


def values(name: str, *given: str) -> dict[str, Any]:
    return command(fit, ["--config", str(CONFIGS / name), "data.shards=/nowhere", *given], prog="fit")


def stage(**options: Any) -> FaceMotionStage:
    torch.manual_seed(0)
    output = FaceMotionStage(**nested(FaceMotionStage, **{**SMALL, "targets": 3, **options}))
    output.use_statistics(statistics())
    filled(output.network)
    output.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return output


def batch(size: int = B, frames: int = T) -> Batch:
    parts = [coefficients(frames, seed) for seed in range(size)]
    head = {
        "expression": torch.stack([part[0] for part in parts]),
        "pose": torch.stack([part[1] for part in parts]),
        "identity": torch.stack([part[2] for part in parts]),
        "error": torch.full((size, frames), 0.001),
    }
    return Batch(
        ids=[f"clip{i}@0" for i in range(size)],
        starts=torch.zeros(size, dtype=torch.long),
        fps=25.0,
        audio=torch.stack([talk(frames / 25, seed) for seed in range(size)]),
        arrays={"head": head},
    )


@pytest.mark.paper("CA-8")
def test_the_papers_training():
    found = values("paper.yaml")
    assert found["data"]["global_batch"] == 16
    assert found["trainer"]["max_steps"] == 100_000
    assert (found["stage"]["optimizer"]["name"], found["stage"]["optimizer"]["lr"]) == ("adam", 1e-4)
    options = found["stage"]["network"]
    assert options["layers"] == 6  # CA-4
    assert options["predict"] == "epsilon"
    assert options["audio"] == "layers"
    assert options["look_ahead"] / 25 <= 0.2  # CA-15
    with torch.device("meta"):
        network = FaceMotion(**options)
    assert all(parameter.is_meta for parameter in network.parameters())
    assert 30e6 < sum(parameter.numel() for parameter in network.parameters()) < 60e6


def test_what_it_reads():
    assert stage().needs == ("head.npz", "audio.flac")
    layers = stage(audio="layers", layer_channels=8)
    assert layers.needs == ("head.npz", "speech.npz")
    assert layers.speech_layers == (1, 8)
    with pytest.raises(ConfigError, match=r"layer_channels is 8.*have 16 channels"):
        agree(layers, {"layer_channels": 16})


@pytest.mark.paper("CA-4")
def test_the_loss_is_of_the_noise():
    made, seen = stage(), []

    def noiseless(noisy: torch.Tensor, timesteps: torch.Tensor, given: Any, drop: torch.Tensor) -> torch.Tensor:
        seen.append((noisy, timesteps, drop))
        return torch.zeros_like(noisy)

    made.network.forward = noiseless  # type: ignore[method-assign]
    loss = made.step(batch(), "train")
    assert loss.item() == pytest.approx(1.0, abs=0.1)  # the noise's own size
    assert seen[0][0].shape == (3 * B, made.network.window, CHANNELS)
    assert len(set(seen[0][1].tolist())) > 4
    again = made.step(batch(), "train")
    assert loss.item() == again.item()  # a function of seed, epoch and sample


@pytest.mark.paper("CA-4", "CA-5", "CA-6")
@pytest.mark.parametrize(("audio", "ranges", "reference"), [(0.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.1, 0.8, 0.2)])
def test_each_condition_is_left_out_in_its_share_of_the_windows(audio, ranges, reference):
    many, seen = 64, []
    made = stage(targets=many, drop_audio=audio, drop_ranges=ranges, drop_reference=reference)

    def noiseless(noisy: torch.Tensor, timesteps: torch.Tensor, given: Conditions, drop: torch.Tensor) -> torch.Tensor:
        seen.append((drop, ~given.has_ranges, ~given.has_reference))
        return torch.zeros_like(noisy)

    made.network.forward = noiseless  # type: ignore[method-assign]
    made.step(batch(), "train")
    for wanted, left_out in zip((audio, ranges, reference), seen[0], strict=True):
        # Four standard deviations of the share of as many draws.
        near = 4 * (wanted * (1 - wanted) / left_out.numel()) ** 0.5
        assert left_out.float().mean().item() == pytest.approx(wanted, abs=near + 1e-9)


def windows(made: FaceMotionStage, data: Batch) -> tuple[torch.Tensor, torch.Tensor, Conditions]:
    return face_windows.windows(made.network, data, made.generator(data), made.windows)


@pytest.mark.paper("CA-4", "CA-5", "CA-6")
def test_windows_come_with_what_was_before_and_a_reference_beside_them():
    made = stage(amplitude=0.0, unsure=0.0, started=0.0, drop_reference=0.0, drop_ranges=0.0)
    data = batch()
    # Frames that tell their own number: expression 0 rises by one a frame.
    rise = torch.arange(T, dtype=torch.float32)
    data.arrays["head"]["expression"] = rise[None, :, None].expand(B, T, EXPRESSIONS).clone()
    x0, known, given = windows(made, data)
    assert known.all()
    numbers = x0[..., 0] + 0.1  # the mean that the statistics take off
    torch.testing.assert_close(numbers.diff(dim=1), torch.ones(3 * B, made.network.window - 1))
    before = given.before[..., 0] + 0.1
    torch.testing.assert_close(before[:, -1] + 1, numbers[:, 0])
    torch.testing.assert_close(before.diff(dim=1), torch.ones(3 * B, made.network.preceding - 1))
    assert given.reference is not None
    reference = given.reference[..., 0] + 0.1
    torch.testing.assert_close(reference.diff(dim=1), torch.full((3 * B, 3), 3.0))  # every third frame
    apart = (reference[:, -1] < numbers[:, 0]) | (reference[:, 0] > numbers[:, -1])
    assert apart.all()  # never the frames that are to be made
    assert given.has_before.all()
    space = made.network.space
    whole = torch.cat([space.encode_expression(data.arrays["head"]["expression"]), torch.zeros(B, T, 6)], -1)
    wanted = space.ranges(whole)  # of all of the data's window, not of what is cut out of it
    torch.testing.assert_close(given.ranges[:, 0], wanted[:, 0].repeat_interleave(3))


@pytest.mark.paper("CA-5")
def test_what_is_enlarged_has_a_larger_range():
    plain, loud = stage(amplitude=0.0), stage(amplitude=1.0)
    _, _, one = windows(plain, batch())
    _, _, two = windows(loud, batch())
    share = two.ranges / one.ranges
    assert share.max() > 1.1
    assert share.min() < 0.9
    assert two.reference is not None
    assert one.reference is not None
    size = two.reference.flatten(1).norm(dim=1) / one.reference.flatten(1).norm(dim=1)
    torch.testing.assert_close(size, share[:, 0], atol=1e-3, rtol=1e-3)


def test_the_beginning_is_learnt_as_generation_begins():
    made = stage(started=1.0)
    _, _, given = windows(made, batch())
    assert not given.has_before.any()
    history = made.network.history
    assert (given.audio[:, :history] == made.network.silence).all()
    assert (given.audio[:, history:] != made.network.silence).any()


def test_preceding_motion_is_learnt_with_what_generation_gets_wrong():
    _, _, sure = windows(stage(unsure=0.0), batch())
    _, _, unsure = windows(stage(unsure=0.5), batch())
    off = (unsure.before - sure.before).flatten(1).std(1)
    assert off.max() > 0.1
    assert off.min() < 0.5 * off.max()
    assert not unsure.before[..., 2:EXPRESSIONS].any()  # coefficients that the template does not use


def test_frames_without_a_face_are_not_learnt():
    made, data = stage(), batch()
    made.network.forward = lambda noisy, *rest: torch.zeros_like(noisy)  # type: ignore[method-assign]
    data.arrays["head"]["error"][:] = -1
    assert made.step(data, "train").item() == 0


def test_shards_that_do_not_fit_are_refused(tmp_path):
    template().save_pretrained(tmp_path / "head")
    made = stage(template=str(tmp_path / "head"))
    sha256 = file_hash(tmp_path / "head" / "model.safetensors")
    agree(made, {"head.network": sha256, "window": T})
    with pytest.raises(ConfigError, match=r"stage.template is a network with the hash .*head.npz of data.shards"):
        agree(made, {"head.network": "cd" * 32, "window": T})
    with pytest.raises(ConfigError, match=rf"is {made.least}, but data.window .* gives 12 frames"):
        agree(made, {"window": 12})
    with pytest.raises(ConfigError, match="writer=head"):
        agree(made, {"keys": {"audio.flac": 3}})
    with pytest.raises(ConfigError, match=r"no statistics of head.npz"):
        made.use_statistics({"pose": {}})
    with pytest.raises(ConfigError, match=r"stage.template"):
        stage(template=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="look_ahead is at most"):
        stage(look_ahead=9)


def talking(clip: int, members: list) -> list:
    return heads(0, members)  # a head in every clip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of two steps, on clips of two speakers, and its template."""
    folder = tmp_path_factory.mktemp("face")
    splits, keys = ("train", "train", "train", "train", "test", "test"), ("pose.npz", "audio.flac")
    write_shards(folder / "shards", clips=6, seconds=2.0, keys=keys, splits=splits, change=talking)
    template().save_pretrained(folder / "head")
    features = FeatureOptions(
        str(folder / "shards"), str(folder / "features"), str(folder / "head"), {"name": "head"}, workers=0,
        progress=False,
    )  # fmt: skip
    assert make_features(features)["clips"] == 6
    build(values(
        "tiny.yaml", f"data.shards={folder / 'features'}", f"run={folder / 'run'}", f"stage.template={folder / 'head'}",
        "data.window=40", "data.batch_size=2", "trainer.max_steps=2", "trainer.val_check_interval=2",
        "trainer.limit_val_batches=1", "checkpoint.every_n_steps=2", "samples.count=0",
        *words(FaceMotionStage, **SMALL),
    ), fit)  # fmt: skip
    return folder / "run"


def test_a_run_learns_and_is_measured(run):
    network = FaceMotion.from_pretrained(run)
    index = Index.load(run.parent / "features")
    assert network.space.template_sha256 == index.statistics["head"]["network"]
    results = evaluate(run=str(run), seeds=[0], seconds=1.0, steps=2, ranges=[0.5, 1.0, 2.0])
    part = results["splits"]["test"]
    assert set(part["systems"]) == {
        "model", "shuffled_audio", "mean_motion", "reference", "truth", "range_0.5", "range_1", "range_2"
    }  # fmt: skip
    truth = part["systems"]["truth"]
    assert truth["lip_correlation"]["mean"] == pytest.approx(1.0, abs=0.05)  # the template says what was seen
    assert truth["style_mae"]["mean"] == 0
    assert truth["style_ssim"]["mean"] == pytest.approx(1.0)
    assert part["systems"]["mean_motion"]["lip_correlation"]["mean"] == 0
    assert {"lip_correlation", "style_mae", "expression_range"} <= set(part["verdicts"])


def test_another_template_is_refused(run, tmp_path):
    other = template()
    other.mean += 0.01
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError, match="template of another head template than model was trained on"):
        evaluate(run=str(run), template=str(tmp_path / "other"), seeds=[0])


def test_clips_shorter_than_the_window_are_named(run):
    with pytest.raises(ConfigError, match=r"window"):
        build(values(
            "tiny.yaml", f"data.shards={run.parent / 'features'}", f"run={run.parent / 'short'}", "data.window=60",
            "trainer.max_steps=1", *words(FaceMotionStage, **SMALL),
        ), fit)  # fmt: skip


@pytest.mark.paper("CA-17")
def test_similarity_and_error_of_coefficients():
    g = torch.Generator().manual_seed(0)
    one = torch.randn(50, 4, generator=g)
    assert similarity(one, one) == pytest.approx(1.0)
    assert similarity(one, -one) < 0
    assert similarity(one, torch.randn(50, 4, generator=g)) < 0.5


@pytest.mark.paper("CA-5")
def test_monotone_means_every_setting():
    def systems(*found: float) -> dict[str, Any]:
        return {f"range_{s:g}": {"x": {"mean": value}} for s, value in zip((0.5, 1.0, 2.0), found, strict=True)}

    assert monotone(systems(0.1, 0.2, 0.3), (2.0, 0.5, 1.0), "x")
    assert not monotone(systems(0.1, 0.3, 0.2), (2.0, 0.5, 1.0), "x")
    assert not monotone(systems(0.1, 0.1, 0.2), (2.0, 0.5, 1.0), "x")


def test_references_are_other_clips_of_the_speaker():
    from datamodules.clip import ClipInfo
    from trainers.chatanyone.evaluation.talks import Talk, others, references_of

    def one(number: int, speaker: str, frames: int = 50) -> Talk:
        info = ClipInfo(id=f"{number}", source="a", end=2, fps=25, frames=frames, speaker=speaker)
        numbers = np.full((frames, EXPRESSIONS), number, np.float32)
        pose = np.zeros((frames, 6), np.float32)
        sound = np.full(frames * 640, number, np.float32)
        return Talk(info, sound, numbers, pose, np.zeros(8, np.float32), np.ones(frames, bool), np.zeros(frames))

    talks = [one(0, "ann"), one(1, "bob", 40)]
    pool = [one(0, "ann"), one(2, "ann"), one(3, "bob"), one(4, "bob", 5)]
    found = references_of(talks, pool, 10)
    assert found is not None
    assert [each[0, 0] for each in found] == [2, 3]
    assert references_of([one(5, "cid")], pool, 10) is None
    swapped = others(talks, 0)
    assert [each[0] for each in swapped] == [1, 0]
    assert [len(each) for each in swapped] == [50 * 640, 40 * 640]
