"""ChatAnyone's body motion stage: its configs, what a step learns from, what it refuses, and a whole short run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.batch import Batch
from datamodules.shards.index import Index
from models.chatanyone.body_motion import BodyConditions, BodyMotion
from models.chatanyone.head import INDICES
from models.human.keypoints import HANDS
from settings import ConfigError, build
from settings.command import command
from settings.hashes import file_hash
from tests.models.filled import filled
from tests.models.test_face_motion import talk
from tests.nested import nested, words
from tests.portraits import APPEARANCE, BODY, MOVEMENT, body_statistics, hands
from tests.preprocessing.test_features_chatanyone import KEYS, make, network, wide
from tests.shards import write_shards
from tests.trainers.runs import assert_goes_on
from trainers.chatanyone.body_motion import BodyMotionStage
from trainers.fit import fit
from trainers.plan import plan, training_config
from trainers.stage.agreement import agree

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "chatanyone" / "body_motion"
B, T, K = 4, 40, len(INDICES)


def values(name: str, *given: str) -> dict[str, Any]:
    return command(fit, ["--config", str(CONFIGS / name), "data.shards=/nowhere", *given], prog="fit")


def stage(**options: Any) -> BodyMotionStage:
    torch.manual_seed(0)
    output = BodyMotionStage(**nested(BodyMotionStage, **{**BODY, "targets": 3, **options}))
    output.use_statistics(body_statistics())
    filled(output.network)
    output.logged = {}
    output.log = lambda name, value, **_: output.logged.update({name: float(value)})
    return output


def batch() -> Batch:
    """Frames that tell their own number: everything rises by a hundredth a frame."""
    g = torch.Generator().manual_seed(0)
    rise = 0.01 * torch.arange(T, dtype=torch.float32)[None, :, None].expand(B, T, 1)
    arrays = {
        "head": rise[..., None].expand(B, T, K, 3).clone(), "seen": torch.ones(B, T),
        "offset": rise[..., None].expand(B, T, K, 3).clone(), "movement": rise.expand(B, T, MOVEMENT).clone(),
        "scale": 1 + rise, "place": rise.expand(B, T, 3).clone(),
        "appearance": torch.rand(B, APPEARANCE, generator=g),
    }  # fmt: skip
    pose = torch.zeros(B, T, 134, 3)
    pose[:, :, HANDS] = hands(B, T)
    return Batch(
        ids=[f"clip{i}@0" for i in range(B)], starts=torch.zeros(B, dtype=torch.long), fps=25.0, pose=pose,
        audio=torch.stack([talk(T / 25, seed) for seed in range(B)]), arrays={"chatanyone": arrays},
    )  # fmt: skip


def windows(made: BodyMotionStage, data: Batch) -> tuple[torch.Tensor, torch.Tensor, BodyConditions]:
    return made._windows(data, made.generator(data))


@pytest.mark.paper("CA-7", "CA-8")
def test_the_papers_training():
    found = values("paper.yaml")
    assert found["data"]["global_batch"] == 16
    assert found["trainer"]["max_steps"] == 100_000
    assert (found["stage"]["optimizer"]["name"], found["stage"]["optimizer"]["lr"]) == ("adam", 1e-4)
    options = found["stage"]["network"]
    assert options["layers"] == 2  # CA-7
    assert options["predict"] == "epsilon"
    face = command(
        fit, ["--config", str(CONFIGS.parent / "face_motion" / "paper.yaml"), "data.shards=/nowhere"], prog="fit"
    )["stage"]["network"]
    for name in ("window", "history", "look_ahead", "audio", "layer_channels"):
        assert options[name] == face[name], name  # one stream for both
    with torch.device("meta"):
        made = BodyMotion(**options)
    assert all(parameter.is_meta for parameter in made.parameters())
    assert 15e6 < sum(parameter.numel() for parameter in made.parameters()) < 50e6


def test_tiny_goes_with_the_renderers_tiny_and_the_faces():
    made = values("tiny.yaml")["stage"]["network"]
    render, face = (
        command(fit, ["--config", str(CONFIGS.parent / name / "tiny.yaml"), "data.shards=/nowhere"], prog="fit")
        for name in ("renderer", "face_motion")
    )
    sizes = render["stage"]["network"]
    assert made["movement_channels"] == 3 * sizes["body_points"]
    assert made["appearance_channels"] == sizes["channels"] * sizes["planes"]
    for name in ("window", "history", "look_ahead", "audio"):
        assert made[name] == face["stage"]["network"][name]


def test_the_plan_of_the_paper_is_made_without_data():
    assert plan(training_config(str(CONFIGS / "paper.yaml"), ()), gpus=1, gpu="a100").fits


def test_what_it_reads():
    assert stage().needs == ("chatanyone.npz", "pose.npz", "audio.flac")
    layers = stage(audio="layers", layer_channels=8)
    assert layers.needs == ("chatanyone.npz", "pose.npz", "speech.npz")
    assert layers.speech_layers == (1, 8)
    with pytest.raises(ConfigError, match=r"layer_channels is 8.*has 16 channels"):
        agree(layers, {"layer_channels": 16})


@pytest.mark.paper("CA-7")
def test_the_loss_is_of_the_noise_of_each_part():
    made, seen = stage(), []

    def noiseless(noisy: torch.Tensor, timesteps: torch.Tensor, given: Any, drop: torch.Tensor) -> torch.Tensor:
        seen.append((noisy, timesteps))
        return torch.zeros_like(noisy)

    made.network.forward = noiseless  # type: ignore[method-assign]
    loss = made.step(batch(), "train")
    assert loss.item() == pytest.approx(3.0, abs=0.3)  # the noise's own size, three times
    assert set(made.logged) == {"train/loss", "train/offset", "train/body", "train/hands"} <= set(made.figures())
    assert seen[0][0].shape == (3 * B, made.network.window, made.network.space.channels)
    assert made.step(batch(), "train").item() == loss.item()  # a function of seed, epoch and sample
    alone = stage(offset_weight=0.0, hand_weight=2.0)
    alone.network.forward = noiseless  # type: ignore[method-assign]
    assert alone.step(batch(), "train").item() == pytest.approx(
        made.logged["train/body"] + 2 * made.logged["train/hands"], rel=1e-5
    )


@pytest.mark.paper("CA-7")
def test_windows_come_with_their_faces_and_with_what_was_before():
    made, data = stage(unsure=0.0, unsure_heads=0.0, started=0.0), batch()
    x0, known, given = windows(made, data)
    net = made.network
    step = 0.01 / 0.2  # of movement, in units of how far it usually moves
    where = net.space.groups["body"].start
    moved = x0[..., where]
    torch.testing.assert_close(moved.diff(dim=1), torch.full((3 * B, net.window - 1), step))
    torch.testing.assert_close(given.before[:, -1, where] + step, moved[:, 0])
    assert given.before.shape[1] == net.preceding
    # Heads are of the very frames: they rise as the rest does, from the same picture.
    heads = given.heads[:, :, 0] * 0.05 / 0.2
    torch.testing.assert_close(heads[:, net.preceding :], moved, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(heads[:, : net.preceding], given.before[..., where], atol=1e-5, rtol=1e-4)
    assert given.has_before.all()
    torch.testing.assert_close(given.appearance, data.arrays["chatanyone"]["appearance"].repeat_interleave(3, 0))
    assert (known[..., net.space.groups["hands"]][..., 42:84] == 0).all()  # the right hand is not seen
    assert known[..., : net.space.groups["hands"].start].all()


def test_the_beginning_is_learnt_as_generation_begins():
    made = stage(started=1.0, unsure_heads=0.0)
    _, _, given = windows(made, batch())
    assert not given.has_before.any()
    assert not given.heads[:, : made.network.preceding].any()  # the picture's own head
    history = made.network.history
    assert (given.audio[:, :history] == made.network.silence).all()
    assert (given.audio[:, history:] != made.network.silence).any()


def test_what_generation_gets_wrong_is_learnt_with():
    _, _, sure = windows(stage(unsure=0.0, unsure_heads=0.0), batch())
    _, _, unsure = windows(stage(unsure=0.5, unsure_heads=0.5), batch())
    for one, other in ((sure.before, unsure.before), (sure.heads, unsure.heads)):
        off = (other - one).flatten(1).std(1)
        assert off.max() > 0.1
        assert off.min() < 0.5 * off.max()
    never = ~stage().network.space.mask.bool()
    assert never.any()
    assert not unsure.before[..., never].any()  # numbers that never move


def test_offsets_of_heads_that_are_not_seen_are_not_learnt():
    made, data = stage(), batch()
    made.network.forward = lambda noisy, *rest: torch.zeros_like(noisy)  # type: ignore[method-assign]
    data.arrays["chatanyone"]["seen"][:] = 0
    made.step(data, "train")
    assert made.logged["train/offset"] == 0
    assert made.logged["train/body"] > 0.5


def test_shards_that_do_not_fit_are_refused(tmp_path):
    network(tmp_path / "renderer")
    made = stage(renderer=str(tmp_path / "renderer"))
    sha256 = file_hash(tmp_path / "renderer" / "model.safetensors")
    agree(made, {"chatanyone.network": sha256, "window": T, "movement_channels": MOVEMENT})
    with pytest.raises(ConfigError, match=r"stage.renderer is a network with the hash .*chatanyone.npz of data.shards"):
        agree(made, {"chatanyone.network": "cd" * 32, "window": T})
    with pytest.raises(ConfigError, match=r"movement_channels is 12, .* has 63 channels: set .*movement_channels=63"):
        agree(made, {"movement_channels": 63})
    with pytest.raises(ConfigError, match=r"but data.window .* gives 12 frames"):
        agree(made, {"window": 12})
    with pytest.raises(ConfigError, match="writer=chatanyone"):
        agree(made, {"keys": {"audio.flac": 3}})
    with pytest.raises(ConfigError, match=r"no statistics of chatanyone.npz"):
        made.use_statistics({"pose": {}})
    with pytest.raises(ConfigError, match=r"12 numbers of movement, the network makes 30; set .*movement_channels"):
        stage(movement_channels=30)
    with pytest.raises(ConfigError, match=r"stage.renderer"):
        stage(renderer=str(tmp_path / "nowhere"))


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    """Features of clips by a small renderer of landmarks."""
    folder = tmp_path_factory.mktemp("body")
    splits = ("train", "train", "val")
    write_shards(folder / "clips", 4, 2, 2.0, keys=KEYS, video_size=(32, 48), splits=splits, change=wide)
    network(folder / "renderer")
    assert make(folder / "clips", folder / "renderer", folder / "features")["clips"] == 4
    return folder / "features"


def trained(features: Path, run: Path) -> Path:
    given = {**BODY, "renderer": str(features.parent / "renderer")}
    more = ["data.window=30", "data.batch_size=2", "trainer.max_steps=4", "trainer.val_check_interval=2"]
    more += ["trainer.limit_val_batches=1", "checkpoint.every_n_steps=2", "samples.count=0"]
    more += [f"data.shards={features}", f"run={run}", "trainer.log_every_n_steps=1"]
    return build(values("tiny.yaml", *more, *words(BodyMotionStage, **given)), fit)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(features, tmp_path):
    run = trained(features, tmp_path / "run")
    made = BodyMotion.from_pretrained(run)
    assert made.space.renderer_sha256 == Index.load(features).statistics["chatanyone"]["network"]
    assert_goes_on(run, tmp_path / "again", lambda again: trained(features, again))
