"""What versa's generators are measured by: the evaluator's training, and the figures of text and of speech."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.clip import Caption
from models.human.body import forward_kinematics
from models.human.motion import put_on_floor, to_motion
from models.human.rotations import axis_angle_to_matrix
from models.versa.evaluator import TextMotionEvaluator
from models.versa.generate import MotionRequest
from tests.motions import make_motion, motion_statistics
from trainers.evaluation.clips import ids_of
from trainers.versa.evaluation.acting import Act, load_acts
from trainers.versa.evaluation.gesturing import matched
from trainers.versa.evaluation.gesturing import measure as measure_speech
from trainers.versa.evaluation.text_motion import by_action, done, measure, vectors

SMALL = {"width": 16, "layers": 1, "heads": 2, "features": 8, "text_buckets": 64, "text_layers": 1}


def network(seed: int = 0) -> TextMotionEvaluator:
    torch.manual_seed(seed)
    output = TextMotionEvaluator(**SMALL)
    rng = np.random.default_rng(0)
    output.set_statistics(motion_statistics([make_motion(rng, 60) for _ in range(4)]))
    return output


def act(motion: np.ndarray, *captions: tuple[float, float, str], **extra) -> Act:
    from datamodules.clip import ClipInfo

    info = ClipInfo(
        id="a", source="a", end=len(motion) / 20, fps=20, frames=len(motion), speaker="ann", extra=extra,
        captions=[Caption(start=start, end=end, text=text) for start, end, text in captions],
    )  # fmt: skip
    return Act(info, motion, None, None)


@pytest.mark.paper("VA-17")
def test_what_is_behind_a_shorter_clip_does_not_count():
    encoder, rng = network().eval(), np.random.default_rng(1)
    motions = [make_motion(rng, frames).astype(np.float32) for frames in (40, 61)]
    together = vectors(encoder, motions)
    for row, motion in enumerate(motions):
        alone = encoder.encode_motion(torch.from_numpy(motion)[None])
        torch.testing.assert_close(together[row], alone[0].detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(2))


@pytest.mark.paper("VA-17")
def test_training_brings_texts_to_their_motions():
    encoder, rng = network(), np.random.default_rng(2)
    motions = torch.from_numpy(np.stack([make_motion(rng, 40) for _ in range(8)])).float()
    texts = [f"a person does thing number {word}" for word in "abcdefgh"]
    read, which = encoder.read(texts), torch.arange(8)
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-2)
    first, _ = encoder(motions, None, read, which)
    for _ in range(60):
        loss, right = encoder(motions, None, read, which)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # 0.0007 of it is left: all eight are told apart, and nothing is drawn anew from step to step.
    assert loss < 0.2 * first
    assert right == 1


def test_motions_of_the_same_text_are_all_right_for_it():
    """No motion is told apart from one that the same words say: the loss is what two pairs alone give."""
    encoder = network().eval()
    motions = torch.from_numpy(np.stack([make_motion(np.random.default_rng(seed), 40) for seed in (1, 2)])).float()
    read = encoder.read(["waves", "bows"])
    pairs, _ = encoder(motions, None, read, torch.tensor([0, 1]))
    twice, _ = encoder(torch.cat([motions, motions]), None, read, torch.tensor([0, 1, 0, 1]))
    assert float((twice - pairs).detach()) == pytest.approx(
        0.5 * np.log(2), abs=1e-4
    )  # a text's two motions share its probability


def test_a_text_that_is_empty_is_refused():
    with pytest.raises(ValueError, match="empty"):
        network().read(["waves", " "])


def test_a_clip_s_words_for_all_of_it_and_for_its_parts():
    motion = np.zeros((80, 263), np.float32)
    both = act(
        motion, (0, 4, "A person is giving a speech."), (2, 4, "bows"), (0, 2, "waves"), (0, 2, "moves a hand"),
        (0, 4, "waves, then bows"),
    )  # fmt: skip
    assert both.text == "waves, then bows"
    assert both.spans == [(0, 2, "waves"), (2, 4, "bows")]
    motion[:, 0] = np.arange(80)
    part = both.part(motion, {"start": 2.3, "end": 3.5})
    assert part[[0, -1], 0].tolist() == [40, 79]
    assert len(act(motion).part(motion, {"start": 1, "end": 2})) == 80


def standing(seconds: float = 3.0) -> np.ndarray:
    """Somebody who stands still, arms down."""
    frames = round(seconds * 20) + 1
    turns = torch.zeros(frames, 22, 3)
    turns[:, 16, 2], turns[:, 17, 2] = -1.3, 1.3
    rotations = axis_angle_to_matrix(turns)
    return to_motion(put_on_floor(forward_kinematics(rotations, torch.zeros(frames, 3))), rotations).numpy()


def test_done_is_the_share_of_actions_that_are_seen(chain):
    from datamodules.shards.index import Index

    ids = ids_of(Index.load(chain["shards"]), "train", ("motion.npz",))
    acts = [one for one in load_acts(str(chain["shards"]), ids, ("motion.npz",)) if one.actions and one.text]
    truth = [one.motion for one in acts]
    assert done(truth, acts)["action"] > 0.95
    assert "action_new" not in done(truth, acts)
    still = [standing(one.seconds) for one in acts]
    assert done(still, acts) == {"action": 0, "details": 0}
    half = done(truth[: len(acts) // 2] + still[len(acts) // 2 :], acts)
    assert 0.3 < half["action"] < 0.7
    names = {action["name"] for one in acts for action in one.actions}
    assert by_action(truth, acts).keys() == names
    assert done([standing()], [act(standing(), (0, 3, "bows"))]) == {}, "nobody knows what is to be seen"
    (first,) = [one for one in acts if one.spans][:1] or [acts[0]]
    assert done([first.motion], [first])["details"] == 1, "each part is looked at by itself"


@pytest.mark.paper("VA-17")
def test_the_truth_is_nearest_to_itself():
    encoder, rng = network().eval(), np.random.default_rng(3)
    acts = [act(make_motion(rng, 60).astype(np.float32), (0, 3, f"thing {i}")) for i in range(12)]
    true = measure([one.motion for one in acts], acts, encoder)
    other = measure([standing() for _ in acts], acts, encoder)
    assert true["fid"] == pytest.approx(0, abs=1e-8)
    assert other["fid"] > 1e-4
    assert other["diversity"] == pytest.approx(0, abs=1e-5)
    assert true["diversity"] > 1e-3


def test_strokes_are_matched_one_to_one():
    assert matched(np.array([1.0, 1.05, 3.0]), np.array([1.1, 2.0, 3.1])) == 2
    assert matched(np.array([0.5]), np.array([0.63])) == 0
    assert matched(np.zeros(0), np.array([1.0])) == 0


def test_figures_of_speech_are_best_for_the_truth():
    rng = np.random.default_rng(0)
    sound = 0.3 * rng.normal(size=16_000 * 4).astype(np.float32) * (np.arange(64_000) % 8_000 < 2_000)
    one = act(make_motion(rng, 80).astype(np.float32))
    talk = Act(one.info, one.motion, None, sound)
    assert measure_speech([talk.motion], [talk])["bas_distance"] == 0
    still = measure_speech([standing(4.0)], [talk])
    assert still["speed"] == pytest.approx(0, abs=1e-6)
    assert "strokes" not in still, "nobody knows them here"


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> dict[str, Path]:
    """A few synthetic clips, and untrained networks of every stage."""
    from models.versa.tokenizer import MotionTokenizer
    from models.versa.transformer import MotionTransformer
    from preprocessing.synthetic_motion.sets import generate
    from tests.trainers.test_animate_versa import SIZES, saved

    folder = tmp_path_factory.mktemp("chain")
    generate(folder / "shards", clips=40, talking=0.3)
    torch.manual_seed(0)
    tokenizer = MotionTokenizer(codes=16, code_width=8, width=16, depth=1)
    from datamodules.shards.index import Index

    tokenizer.set_statistics(Index.load(folder / "shards").statistics)
    torch.nn.init.normal_(tokenizer.quantizer.codebook)
    runs = {"shards": folder / "shards", "tokenizer": saved(folder / "tokenizer", tokenizer, "versa.tokenizer")}
    told = {"tokenizer": str(runs["tokenizer"])}
    runs["text"] = saved(folder / "text", MotionTransformer(**SIZES), "versa.text_motion", **told)
    both = MotionTransformer(**SIZES, audio_branch=True)
    runs["audio"] = saved(folder / "audio", both, "versa.audio_motion", **told)
    alone = MotionTransformer(**SIZES, audio_branch=True, text_branch=False)
    runs["alone"] = saved(folder / "alone", alone, "versa.audio_motion", **told)
    runs["evaluator"] = saved(folder / "evaluator", network(), "versa.evaluator")
    return runs


def test_the_command_measures_text_to_motion(chain, tmp_path, capsys):
    from trainers.evaluate import main

    words = [f"data={chain['shards']}", f"evaluator={chain['evaluator']}", "steps=2", f"out={tmp_path}", "seeds=[0]"]
    assert main([f"run={chain['text']}", *words, "splits=[train]", "clips=12"]) == 0
    said = capsys.readouterr().out
    for title in ("Action", "Side, direction", "R-precision 3", "FID", "MultiModality"):
        assert title in said
    assert "another's text" in said


def test_the_command_measures_speech_to_motion(chain, tmp_path, capsys):
    from trainers.evaluate import main

    words = [f"data={chain['shards']}", "steps=2", f"out={tmp_path}", "seeds=[0]", "splits=[train]", "clips=10"]
    assert main([f"run={chain['audio']}", *words]) == 0
    said = capsys.readouterr().out
    for title in ("Strokes F1", "BAS", "Action while speaking", "text branch alone", "shuffled audio"):
        assert title in said


def test_other_runs_stand_in_the_same_table(chain, tmp_path, capsys):
    from trainers.evaluate import evaluate, main
    from trainers.evaluation.tables import as_text

    options = {"data": str(chain["shards"]), "steps": 2, "seeds": [0], "splits": ["train"], "clips": 4}
    one, other = str(chain["audio"]), str(chain["alone"])
    both = evaluate(run=one, beside={"speech alone": other}, out=tmp_path / "both", **options)
    apart = evaluate(run=other, out=tmp_path / "apart", **options)["splits"]["train"]["systems"]
    systems = both["splits"]["train"]["systems"]
    assert systems["speech alone"] == apart["model"]
    assert systems["speech alone"]["speed"] != systems["model"]["speed"]
    assert "speech alone" in as_text(both)
    assert "speech alone" not in [v["best_baseline"] for v in both["splits"]["train"]["verdicts"].values()]
    assert main([f"run={one}", f"beside={{truth: {other}}}", f"data={chain['shards']}", f"out={tmp_path}"]) == 2
    assert "'truth' is the name of a baseline" in capsys.readouterr().err


def test_a_wish_is_as_long_as_its_clip(chain):
    from trainers.run.exports import find_export
    from trainers.versa.evaluation.acting import Actor
    from trainers.versa.system import ActingOptions

    plan = ActingOptions(shards=str(chain["shards"]), seeds=[0], steps=2, clips=None, seconds=None, batch=4)
    actor = Actor(find_export(str(chain["text"])), "cpu")
    requests = [MotionRequest("waves", seconds=seconds) for seconds in (2.05, 3.5, 2.0)]
    output = actor.perform(requests, plan, 0)
    assert [len(motion) for motion in output] == [41, 70, 40]
    repeated = actor.perform(requests[:2], plan, 0)
    np.testing.assert_allclose(repeated[0], output[0], atol=1e-4)  # a seed of its own for each
