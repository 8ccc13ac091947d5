"""Jobs of a real SLURM: chains, arrays, and runs that are signalled, requeued and cancelled."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.launches import STEPS, has_saved, log, start, toy
from tests.e2e.processes import ROOT
from tests.e2e.test_stop_and_resume import losses
from tests.preprocessing.clips import contents, quick_run, tone, write_clip

# One cluster for all of them.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def runs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Launch folder and jobs of runs that nobody waits for, all of which have ended."""
    folder = tmp_path_factory.mktemp("slurm") / "runs"
    slow: dict[str, Any] = {**toy(pause=0.4), "after": []}
    stages = {
        "unbroken": toy(),
        "signalled": slow,
        "requeued": slow,
        "pre-empted": slow | {"slurm": {"partition": "polite", "nodes": 1, "tasks_per_node": 2}},
        "cancelled": slow,
        "broken": {**toy(nan_at=1), "after": []},
        "never": toy(),
        # SLURM signals it 60 to 90 seconds before its three minutes are over, and its steps take longer than that. Its
        # own test waits for it.
        "timed": {**toy(pause=5), "after": [], "slurm": {"time": 180}},
    }
    jobs = start(cluster, folder, stages=stages)
    stops = {
        "signalled": ("scancel", "--signal=USR1", jobs["signalled"]),
        "requeued": ("scontrol", "requeue", jobs["requeued"]),
        "cancelled": ("scancel", jobs["cancelled"]),
        "pre-empted": ("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"),
    }

    def stop() -> bool:
        for name in [name for name in stops if has_saved(folder / name)]:
            cluster.call(*stops.pop(name))
        return not stops

    cluster.wait(stop, 200, folder)
    for name, job in jobs.items():
        if name != "timed":
            cluster.wait_for_end(job, folder)
    return folder, jobs


def test_run_over_two_nodes_ends_well(cluster: Cluster, runs: tuple[Path, dict[str, str]]) -> None:
    folder, jobs = runs
    run = folder / "unbroken"
    assert cluster.state(jobs["unbroken"]) == "COMPLETED"
    assert sorted(losses(run)) == list(range(STEPS))
    assert (run / "export" / "model.safetensors").exists()
    assert sorted(path.name for path in (run / "logs").glob("rank-*")) == ["rank-0000.log", "rank-0001.log"]
    # The copy of the code has run, and says of which commit it is.
    environment = (run / "environment.txt").read_text()
    assert f"command: {folder / 'code'}" in environment
    commit = (folder / "code.txt").read_text().splitlines()[0].removeprefix("commit: ")
    assert f"code: {commit}" in environment


@pytest.mark.parametrize(
    ("name", "reason"), [("signalled", "signal USR1"), ("requeued", None), ("pre-empted", "pre-empted")]
)
def test_stopped_run_is_requeued_and_equals_the_unbroken_one(
    cluster: Cluster, runs: tuple[Path, dict[str, str]], name: str, reason: str | None
) -> None:
    folder, jobs = runs
    assert cluster.state(jobs[name]) == "COMPLETED", log(folder / name)
    assert cluster.jobs(jobs[name])[0]["Restarts"] == "1"
    said = log(folder / name)
    assert ", start 2: " in said
    assert reason is None or f"requeued ({reason})" in said
    assert losses(folder / name) == losses(folder / "unbroken")


def test_cancelled_run_saves_and_stays_cancelled(cluster: Cluster, runs: tuple[Path, dict[str, str]]) -> None:
    folder, jobs = runs
    assert cluster.state(jobs["cancelled"]) == "CANCELLED"
    assert cluster.jobs(jobs["cancelled"])[0]["Restarts"] == "0"
    assert has_saved(folder / "cancelled")
    assert "saved" in (folder / "cancelled" / "logs" / "rank-0000.log").read_text()


def test_failed_stage_tells_why_and_the_next_is_not_run(cluster: Cluster, runs: tuple[Path, dict[str, str]]) -> None:
    folder, jobs = runs
    assert cluster.state(jobs["broken"]) == "FAILED"
    assert "the loss is nan" in log(folder / "broken")
    assert cluster.state(jobs["never"]) == "CANCELLED"
    assert not (folder / "never" / "checkpoints").exists()


def test_chain_of_videos_to_shards_to_two_stages(cluster: Cluster, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for i in range(4):
        write_clip(videos / f"{i}.mp4", seconds=0.6 + 0.2 * i, audio=tone(0.6 + 0.2 * i, seed=i), seed=i)
    preprocess = {
        "module": "tests.preprocessing.quick_run",
        "tasks": 3,
        "overrides": {"input": str(videos), "videos_per_shard": 1, "workers": 0, "progress": False},
    }
    second = toy()
    second["overrides"]["init_from"] = "{first}"
    folder = tmp_path / "chain"
    jobs = start(cluster, folder, preprocess=preprocess, stages={"first": toy(), "second": second})
    alone = tmp_path / "alone"
    output = quick_run(f"input={videos}", f"output={alone}", "videos_per_shard=1", "workers=0")
    assert output.returncode == 0, output.stderr
    assert cluster.wait_for_end(jobs["second"], folder) == "COMPLETED"

    tasks = cluster.jobs(jobs["preprocess"])
    assert [task["JobState"] for task in tasks] == ["COMPLETED"] * 3
    assert contents(folder / "shards") == contents(alone)
    ends = [max(task["EndTime"] for task in tasks), cluster.jobs(jobs["first"])[0]["EndTime"]]
    starts = [cluster.jobs(jobs[name])[0]["StartTime"] for name in ("first", "second")]
    assert all(end <= start for end, start in zip(ends, starts, strict=True))
    # The second began with what the first had learnt.
    assert losses(folder / "second")[0][0] < losses(folder / "first")[0][0]


def test_array_task_that_is_short_of_time_is_requeued_and_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    for i in range(2):
        write_clip(tmp_path / f"{i}.mp4", seconds=1.2, seed=i)
    words = [f"input={tmp_path}", "videos_per_shard=1", "workers=0", "pose.seconds=0.2"]
    logs = tmp_path / "logs"
    logs.mkdir()
    environment = f"COSPEECH_MODULE=tests.preprocessing.quick_run,COSPEECH_PYTHON={sys.executable}"
    options = ["--parsable", "--array=0-1", "--cpus-per-task=1", f"--chdir={ROOT}", f"--export=ALL,{environment}"]
    options += [f"--output={logs}/slurm-%a.log", str(ROOT / "slurm" / "preprocess.sbatch")]
    job = cluster.call("sbatch", *options, *words, f"output={tmp_path / 'array'}").strip()
    # At work on its shard; what it has begun is lost, what it has finished is not.
    cluster.wait(lambda: (tmp_path / "array" / "work" / "shards" / "000001.lock").exists(), 60, logs)
    cluster.call("scancel", "--batch", "--signal=USR1", f"{job}_1")
    assert cluster.wait_for_end(job, logs) == "COMPLETED"
    assert sorted(task["Restarts"] for task in cluster.jobs(job)) == ["0", "1"]
    alone = tmp_path / "alone"
    assert quick_run(*words, f"output={alone}").returncode == 0
    assert contents(tmp_path / "array") == contents(alone)


def test_hanging_run_is_requeued_a_few_times_only(cluster: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    environment = f"COSPEECH_MODULE=tests.e2e.hanging,COSPEECH_PYTHON={sys.executable},COSPEECH_MAX_HANGS=1"
    words = ["--parsable", "--ntasks-per-node=2", "--cpus-per-task=1", f"--output={run}/logs/slurm-%j.log"]
    words += [f"--chdir={ROOT}", f"--export=ALL,{environment}", str(ROOT / "slurm" / "fit.sbatch"), f"run={run}"]
    (run / "logs").mkdir(parents=True)
    job = cluster.call("sbatch", *words).strip()
    assert cluster.wait_for_end(job, run) == "FAILED"
    assert cluster.jobs(job)[0]["Restarts"] == "1"
    assert len((run / "logs" / "hangs").read_text().splitlines()) == 2
    assert "not requeued: too many starts" in log(run)


def test_nodes_with_addresses_of_their_own_train_together(cluster_of_two_addresses: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "far"
    jobs = start(cluster_of_two_addresses, folder, stages={"far": toy()})
    assert cluster_of_two_addresses.wait_for_end(jobs["far"], folder) == "COMPLETED", log(folder / "far")
    assert sorted(losses(folder / "far")) == list(range(STEPS))


def test_run_longer_than_its_time_limit_saves_before_it_and_goes_on(
    cluster: Cluster, runs: tuple[Path, dict[str, str]]
) -> None:
    folder, jobs = runs
    assert cluster.wait_for_end(jobs["timed"], folder, seconds=250) == "COMPLETED", log(folder / "timed")
    assert "requeued (signal USR1)" in log(folder / "timed")
    assert losses(folder / "timed") == losses(folder / "unbroken")
