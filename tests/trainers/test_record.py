"""One record registers a stage, what animates it and what measures it, each with its own options."""

import dataclasses
import importlib
from pathlib import Path

import pytest

from settings import ConfigError, build, check
from settings.command import command
from settings.schema import keys
from trainers.animate import animate
from trainers.compare import NO_KEYS, compare
from trainers.evaluate import evaluate
from trainers.evaluation.options import GIVEN
from trainers.record import keys_of, load_tool, tool_of
from trainers.stages import ANIMATORS, EVALUATORS, RECORDS, STAGES

EVERYWHERE = {"run", "out", "fps", "device", "seed", "size"}


@pytest.mark.parametrize("stage", RECORDS)
def test_a_record_names_what_is_there(stage):
    assert STAGES.get(stage).__module__.startswith("trainers.")
    for tool in (RECORDS[stage].animator, RECORDS[stage].evaluator):
        if tool is not None:
            assert callable(load_tool(tool))
            assert dataclasses.is_dataclass(tool.options)
            assert not {key for key, known in keys(tool.options).items() if not known.meaning}
            assert tool.measured_by is None or tool.measured_by in RECORDS


def test_the_room_of_a_system_holds_all_of_it():
    for stage, record in RECORDS.items():
        room = f"trainers.{stage.partition('.')[0]}."
        places = [record.stage, *(tool.at for tool in (record.animator, record.evaluator) if tool)]
        assert all(place.startswith(room) for place in places)
        assert importlib.import_module(f"{room}system").STAGES[stage] is record


def test_options_are_those_of_the_stage():
    own = {stage: set(keys(keys_of(animate, ANIMATORS, stage))) - EVERYWHERE for stage in ANIMATORS}
    assert own["mmgt.smga"] == {"image", "pose", "audio", "speech", "steps", "guidance"}
    assert own["implicit_motion.base"] == {
        "image",
        "pose",
        "audio",
        "video",
        "relative",
        "crop",
        "beta",
        "batch",
        "half",
    }
    assert set(keys(keys_of(animate, ANIMATORS))) - EVERYWHERE == set().union(*own.values())
    assert "shards" not in keys(keys_of(evaluate, EVALUATORS, "mmgt.smga", GIVEN))
    assert "beside" not in keys(keys_of(compare, EVALUATORS, "implicit_motion.motion", NO_KEYS))
    assert "beside" in keys(keys_of(evaluate, EVALUATORS, "implicit_motion.motion", GIVEN))


def test_help_is_that_of_the_stage(capsys):
    for stage, there, not_there in (("mmgt.smga", "guidance", "beta"), ("implicit_motion.base", "beta", "guidance")):
        with pytest.raises(SystemExit):
            command(keys_of(animate, ANIMATORS, stage), ["--help"], prog="python -m trainers.animate")
        said = capsys.readouterr().out
        assert f"  {there}  (" in said
        assert f"  {not_there}  (" not in said


def test_an_option_of_another_stage_is_refused_with_those_that_it_is_for():
    target = keys_of(animate, ANIMATORS, "mmgt.smga")
    with pytest.raises(ConfigError, match=r"'beta' means nothing to .* mmgt\.smga; it is for implicit_motion"):
        check({"run": "x", "out": "x.mp4", "beta": 1.0}, target)
    with pytest.raises(ConfigError, match=r"did you mean 'guidance'\?"):
        check({"run": "x", "out": "x.mp4", "guidence": 1.0}, target)


def test_values_are_those_that_make_sense():
    options = ANIMATORS["mmgt.smga"].options
    for values in ({"size": 16}, {"steps": 0}, {"guidance": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(values))):
            build(values, options, out=Path("x.mp4"))
    with pytest.raises(ConfigError, match=r"\.mp4"):
        build({}, options, out=Path("x.avi"))


def test_a_stage_without_a_tool_is_said():
    with pytest.raises(ConfigError, match=r"mine is a network of versa\.evaluator; animate can use: mmgt\.smga, "):
        tool_of(ANIMATORS, "versa.evaluator", "mine", "animate can use")
