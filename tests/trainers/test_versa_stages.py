"""VersaAnimator's two transformer stages: configs, what a step does, what is frozen, captions, and short runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from datamodules.batch import Batch
from datamodules.clip import Caption, ClipInfo
from datamodules.collate import collate, cut_window
from datamodules.shards.samples import LoadedClip
from models.versa import MotionTokenizer
from models.versa.generate import generate
from models.versa.text import SPEECH
from models.versa.transformer import MotionTransformer
from settings import ConfigError, build
from settings.command import command
from tests.models.filled import filled
from tests.models.test_versa_tokenizer import motions, tokenizer
from tests.motions import write_motion_shards
from tests.nested import nested
from trainers.fit import fit
from trainers.tracking.metrics_csv import read_metrics
from trainers.versa.audio_motion import AudioMotionStage
from trainers.versa.captions import caption_layout, spans_of
from trainers.versa.text_motion import TextMotionStage

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "versa"
SMALL: dict[str, Any] = {
    "codes": 32, "width": 32, "layers": 2, "heads": 2, "feedforward": 48, "dropout": 0.0, "text": "words",
    "text_buckets": 64, "text_layers": 1, "window": 12, "steps": 3,
}  # fmt: skip
B, M = 6, 40
CAPTIONS = ("a person waves", "someone bows low", "turn to the left")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Saved: a tokenizer, a text branch; and shards of clips with motion, captions and sound."""
    output = tmp_path_factory.mktemp("versa")
    tokenizer().save_pretrained(output / "tokenizer")
    torch.manual_seed(0)
    MotionTransformer(**SMALL).save_pretrained(output / "text")
    write_motion_shards(
        output / "shards",
        clips=9,
        seconds=[2.0, 2.4, 3.0],
        keys=("motion.npz", "speech.npz", "audio.flac"),
        splits=("train", "train", "train", "val"),
        info=lambda clip: {
            "captions": [{"start": 0.0, "end": 2.0 + 0.4 * (clip % 2), "text": CAPTIONS[clip % 3]}, *(
                {"start": 0.0, "end": 3.0, "text": text} for text in CAPTIONS[:1]
            )]
        },
    )  # fmt: skip
    return output


def text_stage(folder: Path, **options: Any) -> TextMotionStage:
    torch.manual_seed(0)
    return quiet(
        TextMotionStage(**nested(TextMotionStage, **{**SMALL, "tokenizer": str(folder / "tokenizer"), **options}))
    )


def audio_stage(folder: Path, **options: Any) -> AudioMotionStage:
    torch.manual_seed(0)
    named = {"tokenizer": str(folder / "tokenizer"), "text_motion": str(folder / "text")}
    output = quiet(AudioMotionStage(**nested(AudioMotionStage, **{**SMALL, **named, **options})))
    filled(output.network.audio, std=0.2)  # begins as nothing, which would hide what the branch does
    return output


def quiet(stage: Any) -> Any:
    stage.logged = {}
    stage.log = lambda name, value, **_: stage.logged.__setitem__(name, float(torch.as_tensor(value).detach()))
    return stage.train()


def batch(size: int = B) -> Batch:
    g = torch.Generator().manual_seed(0)
    texts = [CAPTIONS[i % 3] for i in range(size)]
    return Batch(
        ids=[f"clip{i}@0" for i in range(size)],
        starts=torch.zeros(size, dtype=torch.long),
        fps=20.0,
        motion=motions(size, M),
        speech=torch.randn(size, M, 35, generator=g),
        lengths=torch.tensor([M, 23, 9, M, 31, 1][:size]),
        captions=[[Caption(start=0, end=2, text=text)] for text in texts],
    )


class Asked:
    """Remembers what a stage's network was asked."""

    def __init__(self, stage: Any):
        self.calls: list[dict[str, Any]] = []
        stage.network.register_forward_hook(self._see, with_kwargs=True)

    def _see(self, module: Any, args: tuple, kwargs: dict, logits: torch.Tensor) -> None:
        names = ("tokens", "places", "text", "which", "audio")
        self.calls.append(dict(zip(names, args, strict=False)) | kwargs | {"logits": logits})


@pytest.mark.paper("VA-6")
@pytest.mark.parametrize("name", ["text_motion", "audio_motion"])
def test_paper_configs_are_the_papers(name):
    values = command(fit, ["--config", str(CONFIGS / name / "paper.yaml"), "data.shards=/nowhere"], prog="fit")
    values = values["stage"]["network"]
    assert (values["layers"], values["codes"], values["text"]) == (8, 512, "clip")
    if name == "audio_motion":
        assert (values["fusion"], values["audio"], values["text_branch"]) == ("layer", "layers", True)


@pytest.mark.paper("VA-7")
def test_the_loss_is_of_hidden_tokens_alone(folder):
    stage, some = text_stage(folder, drop_text=0.0), batch()
    asked = Asked(stage)
    loss = stage.training_step(some, 0)
    call = asked.calls[0]
    true = tokenizer().eval().encode(some.motion, some.lengths)
    counts = -(-some.lengths // 4)
    hidden, there = call["tokens"] == 32, torch.arange(10) < counts[:, None]
    assert torch.equal(call["tokens"][~hidden & there], true[~hidden & there]), "the others are shown as they are"
    assert not (hidden & ~there).any()
    said = -call["logits"].log_softmax(-1).gather(-1, true[..., None])[..., 0]
    rows = [said[row][hidden[row]].mean() for row in range(B)]
    assert loss.item() == pytest.approx(torch.stack(rows).mean().item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, call["logits"])
    assert not gradient[~hidden].any()
    assert gradient[hidden].abs().sum(-1).min() > 0


@pytest.mark.paper("VA-7")
def test_a_random_share_of_tokens_is_hidden_by_a_cosine(folder):
    stage, some = text_stage(folder), batch()
    some.lengths = torch.full((B,), M)
    asked, shares = Asked(stage), []
    for seed in range(60):
        stage.seed = seed
        stage.training_step(some, 0)
        shares += (asked.calls[-1]["tokens"] == 32).float().mean(1).tolist()
    shares = torch.tensor(shares)
    assert shares.mean().item() == pytest.approx(2 / torch.pi + 0.05, abs=0.05), "of 10 tokens, rounded up"
    assert (shares > 0.95).float().mean() > 0.15
    assert (shares < 0.35).float().mean() > 0.1


def test_texts_are_left_out_now_and_then_and_captions_are_read(folder):
    stage, some = text_stage(folder, drop_text=0.3), batch()
    asked, without = Asked(stage), []
    for seed in range(60):
        stage.seed = seed
        stage.training_step(some, 0)
        call = asked.calls[-1]
        for row, which in enumerate(call["which"]):
            without.append(bool((which == -1).all()))
            if not without[-1]:
                text = call["text"][which[0]]
                width = stage.network.read([some.captions[row][0].text]).shape[1]
                assert torch.equal(text[:width], stage.network.read([some.captions[row][0].text])[0])
    assert sum(without) / len(without) == pytest.approx(0.3, abs=0.07)


@pytest.mark.paper("VA-8")
def test_audio_is_trained_under_the_fixed_text_on_each_token(folder):
    stage, some = audio_stage(folder, shown=0.0), batch()
    asked = Asked(stage)
    loss = stage.training_step(some, 0)
    call = asked.calls[0]
    counts = -(-some.lengths // 4)
    there = torch.arange(10) < counts[:, None]
    assert torch.equal(call["text"], stage.network.read([SPEECH]))
    assert SPEECH == "A person is giving a speech."
    assert not call["which"].any()
    assert (call["tokens"][there] == 32).all(), "nothing is shown"
    true = tokenizer().eval().encode(some.motion, some.lengths)
    each = -call["logits"].log_softmax(-1).gather(-1, true[..., None])[..., 0]
    assert loss.item() == pytest.approx(((each * there).sum(1) / counts).mean().item(), rel=1e-5)
    loss.backward()
    assert all(p.grad is None for p in stage.network.text.parameters())
    assert all(p.grad is not None for p in stage.network.audio.parameters())


@pytest.mark.paper("VA-6")
@pytest.mark.parametrize("chance", [0.0, 0.2, 1.0])
def test_speech_is_left_out_in_its_share_of_the_windows_where_there_is_no_text(folder, chance):
    stage, some = audio_stage(folder, text_branch=False, text_motion=None, drop_audio=chance), batch()
    asked, without = Asked(stage), []
    for seed in range(40):
        stage.seed = seed
        stage.training_step(some, 0)
        without += asked.calls[-1]["drop_audio"].tolist()
    # Four standard deviations of the share of as many draws.
    near = 4 * (chance * (1 - chance) / len(without)) ** 0.5
    assert sum(without) / len(without) == pytest.approx(chance, abs=near + 1e-9)


def test_some_windows_show_some_of_their_tokens(folder):
    stage, some = audio_stage(folder, shown=0.5), batch()
    some.lengths = torch.full((B,), M)
    asked, whole = Asked(stage), []
    for seed in range(40):
        stage.seed = seed
        stage.training_step(some, 0)
        whole += (asked.calls[-1]["tokens"] == 32).all(1).tolist()
    assert sum(whole) / len(whole) == pytest.approx(0.5 + 0.5 * 0.29, abs=0.08)


@pytest.mark.parametrize("make", [text_stage, audio_stage])
def test_a_step_is_a_function_of_seed_epoch_and_sample_ids(folder, make):
    stage, some = make(folder), batch()
    one, repeated = stage.training_step(some, 0), stage.training_step(some, 1)
    assert torch.equal(one, repeated)
    stage.seed = 5
    assert not torch.equal(one, stage.training_step(some, 0))


@pytest.mark.parametrize("make", [text_stage, audio_stage])
def test_padding_behind_shorter_clips_does_not_count(folder, make):
    losses = []
    for fill in (0.0, 3.0):
        stage, some = make(folder), batch()
        for row, length in enumerate(some.lengths):
            some.motion[row, length:] = fill
            some.speech[row, length:] = fill
        losses.append(stage.training_step(some, 0))
    assert torch.equal(*losses)


@pytest.mark.paper("VA-6")
@pytest.mark.parametrize("options", [{"fusion": "last"}, {"text_branch": False, "text_motion": None}])
def test_ablations_train(folder, options):
    stage = audio_stage(folder, **options)
    stage.training_step(batch(), 0).backward()
    assert all(p.grad is not None for p in stage.network.parameters() if p.requires_grad)
    assert stage.sample(batch(2))["motion"].shape == (2, M, 263)


@pytest.mark.parametrize(
    ("make", "options", "word"),
    [
        (text_stage, {"heads": 5}, "heads"), (text_stage, {"drop_text": 2.0}, "drop_text"),
        (text_stage, {"tokenizer": "/nowhere/at/all"}, "stage.tokenizer"),
        (text_stage, {"codes": 64}, "stage.network.codes"),
        (audio_stage, {"shown": -1.0}, "shown"), (audio_stage, {"text_motion": "/nowhere"}, "stage.text_motion"),
        (audio_stage, {"width": 64}, "other sizes"), (audio_stage, {"text_branch": False}, "text_branch=false"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_a_config_error(folder, make, options, word):
    with pytest.raises(ConfigError, match=word):
        make(folder, **options)


def test_what_a_training_lacks_is_named(folder):
    with pytest.raises(ConfigError, match=r"stage\.tokenizer is missing"):
        text_stage(folder, tokenizer=None).use_statistics({})
    with pytest.raises(ConfigError, match=r"stage\.text_motion is missing"):
        audio_stage(folder, text_motion=None).use_statistics({})
    with pytest.raises(ConfigError, match=r"clip_model.*hf download"):
        text_stage(folder, text="clip", clip_model="/nowhere/clip").use_statistics({})
    with pytest.raises(ConfigError, match=r"stage\.tokenizer.*versa\.tokenizer is needed"):
        text_stage(folder, tokenizer=str(folder / "text"))
    some = batch()
    some.speech = torch.zeros(B, M, 34)
    with pytest.raises(ConfigError, match=r"stage\.network\.speech_channels=34"):
        audio_stage(folder).training_step(some, 0)


def test_captions_of_windows_are_in_their_own_seconds():
    captions = [Caption(start=0, end=2, text="a"), Caption(start=2, end=6, text="b"), Caption(start=6, end=7, text="c")]
    info = ClipInfo(id="clip", source="x", end=7, fps=20, frames=140, captions=captions)
    found = collate([cut_window(LoadedClip(info, {}), 30, 60), cut_window(LoadedClip(info, {}), 0, None)]).captions
    assert [(c.start, c.end, c.text) for c in found[0]] == [(-1.5, 0.5, "a"), (0.5, 4.5, "b")]
    assert [c.text for c in found[1]] == ["a", "b", "c"]


def test_a_whole_caption_or_spans_one_behind_the_other():
    whole = [Caption(start=0, end=4, text=text) for text in ("wave and bow", "first wave, then bow")]
    parts = [
        Caption(start=0, end=2, text="wave"), Caption(start=0, end=2, text="a wave"),
        Caption(start=2, end=4, text="bow"), Caption(start=1, end=3, text="between"),
        Caption(start=9, end=10, text="x"),
    ]  # fmt: skip

    def read(captions: list[Caption], first: float, second: float = 0.0) -> list[tuple[float, float, str]]:
        texts, layout = caption_layout([captions], [20], [(first, second)])
        return spans_of(texts, layout.which[0].tolist())

    assert read(whole + parts, 0.1) == [(0, 4, "wave and bow")]
    assert read(whole + parts, 0.1, 0.9) == [(0, 4, "first wave, then bow")]
    assert read(whole + parts, 0.9) == [(0, 2, "wave"), (2, 4, "bow")]
    assert read(whole + parts, 0.9, 0.9)[0] == (0, 2, "a wave")
    assert read(parts[:1], 0.1) == [(0, 2, "wave")], "nothing holds behind it"
    assert read([Caption(start=0, end=4, text=" ")], 0.1) == []
    assert read([], 0.1) == []


def words(folder: Path, stage: str, run: Path, *more: str) -> dict[str, Any]:
    small = [f"stage.network.{name}={value}" for name, value in SMALL.items()]
    settings = [
        f"data.shards={folder / 'shards'}", f"run={run}", f"stage.tokenizer={folder / 'tokenizer'}",
        "data.batch_size=3", "trainer.accelerator=cpu", "trainer.max_steps=4", "trainer.log_every_n_steps=1",
        "trainer.val_check_interval=2", "trainer.enable_progress_bar=false", "checkpoint.every_n_steps=2",
        "samples.count=0",
    ]  # fmt: skip
    return command(fit, ["--config", str(CONFIGS / stage / "tiny.yaml"), *small, *settings, *more], prog="fit")


@pytest.fixture(scope="module")
def text_run(tmp_path_factory, folder) -> Path:
    run = tmp_path_factory.mktemp("text") / "run"
    more = (
        "trainer.max_steps=60", "trainer.val_check_interval=30", "samples.count=1", "stage.network.text_dropout=0",
        "stage.optimizer.lr=1e-2", "stage.schedule.warmup_steps=1", "stage.drop_text=0",
    )  # fmt: skip
    return build(words(folder, "text_motion", run, *more), fit)


@pytest.fixture(scope="module")
def audio_run(tmp_path_factory, folder, text_run) -> Path:
    run = tmp_path_factory.mktemp("audio") / "run"
    return build(words(folder, "audio_motion", run, f"stage.text_motion={text_run}", "samples.count=1"), fit)


def test_a_whole_short_run_learns_and_its_export_generates(text_run):
    rows = read_metrics(text_run / "metrics.csv")
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5]), "0.69 of it is left"
    assert {"train/accuracy", "val/loss", "val/accuracy", "val/with_text"} <= {name for row in rows for name in row}
    network = MotionTransformer.from_pretrained(text_run / "export").eval()
    assert generate(network, "someone bows low", seconds=2.0).shape == (10,)
    assert list((text_run / "samples").glob("*.mp4"))


def test_frozen_networks_are_in_no_checkpoint_but_the_export_is_whole(text_run, audio_run):
    newest = sorted((audio_run / "checkpoints").glob("*.ckpt"))[-1]
    names = torch.load(newest, weights_only=True)["state_dict"]
    assert "network.audio.head.weight" in names
    assert not [name for name in names if name.startswith(("tokenizer.", "network.text."))]
    before, after = (load_file(run / "export" / "model.safetensors") for run in (text_run, audio_run))
    assert all(torch.equal(after[name], value) for name, value in before.items() if name.startswith("text."))
    network = MotionTransformer.from_pretrained(audio_run / "export").eval()
    assert generate(network, [(0, 1, "wave")], torch.randn(60, 35)).shape == (15,)
    assert list((audio_run / "samples").glob("*.mp4"))


def test_an_audio_run_goes_on_where_it_was(tmp_path, folder, text_run, audio_run):
    middle = audio_run / "checkpoints" / "step-00000002.ckpt"
    more = (f"stage.text_motion={text_run}", f"resume={middle}")
    repeated = build(words(folder, "audio_motion", tmp_path / "run", *more), fit)
    one, two = (load_file(run / "export" / "model.safetensors") for run in (audio_run, repeated))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_tokens_are_those_of_the_saved_tokenizer(folder):
    saved = MotionTokenizer.from_pretrained(folder / "tokenizer").eval()
    stage, some = text_stage(folder), batch()
    stage.train()
    assert not stage.tokenizer.training
    assert torch.equal(stage.tokenizer.encode(some.motion, some.lengths), saved.encode(some.motion, some.lengths))
    decoded = stage.tokenizer.decode([torch.tensor([1, 2, 3]), torch.tensor([4])])
    assert decoded.shape == (2, 12, 263)
    torch.testing.assert_close(decoded[1, :4], saved.decode(torch.tensor([[4]]))[0])
    assert (decoded[1, 4:] == decoded[1, 3]).all()
