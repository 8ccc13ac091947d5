"""A real SLURM on this machine: munged, slurmctld and three slurmd in a temporary folder.

Nodes n1 and n2 are the partition `normal`. On n3 a job of the partition `urgent` takes the place of one of `polite`,
which gets a minute to end.
"""

import getpass
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "setpriv")
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
FINISHED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE"}

# Jobs start at once, and a requeued one soon: its old credential must have expired.
CONFIG = """\
ClusterName=tests
SlurmctldHost={host}({addresses[0]})
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
{listening}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=100000,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
FirstJobId={first_job}
JobRequeue=1
ReturnToService=2
MinJobAge=3600
KillWait=15
InactiveLimit=0
NodeName=n1 NodeHostname={host} NodeAddr={addresses[0]} Port={ports[1]} {cores} State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr={addresses[1]} Port={ports[2]} {cores} State=UNKNOWN
NodeName=n3 NodeHostname={host} NodeAddr={addresses[0]} Port={ports[3]} {cores} State=UNKNOWN
PartitionName=normal Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PreemptMode=OFF
PartitionName=polite Nodes=n3 MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=n3 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str:
    """Why there can be no cluster here; empty if there can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    return f"{', '.join(absent)} not installed (apt-get install slurm-wlm munge)" if absent else ""


class Cluster:
    """A SLURM that was brought up; `stop` takes it down, and so does the death of this process.

    Args:
        enter: words before a command that runs it on node n1 and n2, such as `ip netns exec NAME`.
        addresses: of the nodes.
    """

    def __init__(
        self,
        enter: tuple[Sequence[str], Sequence[str]] = ((), ()),
        addresses: tuple[str, str] = ("127.0.0.1", "127.0.0.1"),
    ):
        self.enter = enter
        # Short, because a socket's path has room for 107 letters.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.environment = _clean_environment() | {"PATH": PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._write(addresses)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _write(self, addresses: tuple[str, str]) -> None:
        (self.folder / "state").mkdir()
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o400)
        self.folder.chmod(0o755)
        loopback = addresses[0].startswith("127.")
        text = CONFIG.format(
            host=socket.gethostname().split(".")[0],
            addresses=addresses,
            ports=_free_ports(4),
            user=getpass.getuser(),
            folder=self.folder,
            listening="CommunicationParameters=NoCtldInAddrAny,NoInAddrAny" if loopback else "",
            # The port where ranks meet follows from it: two clusters on this machine must differ.
            first_job=random.SystemRandom().randrange(1, 19_000),
            cores="CPUs=8 SocketsPerBoard=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=4000",
        )
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")

    def _start(self) -> None:
        at = self.folder
        munged = ["munged", "--foreground", "--force", f"--key-file={at}/munge.key", f"--socket={at}/munge.sock"]
        munged += [f"--pid-file={at}/munged.pid", f"--log-file={at}/munged.log", f"--seed-file={at}/munged.seed"]
        self._daemon("munged", munged)
        self._until(lambda: (at / "munge.sock").exists(), 30, "munged did not start")
        self._daemon("slurmctld", [*self.enter[0], "slurmctld", "-D", "-i"])
        for node, enter in zip(("n1", "n2", "n3"), (*self.enter, self.enter[0]), strict=True):
            self._daemon(f"slurmd.{node}", [*enter, "slurmd", "-D", "-N", node])
        self._until(self._all_idle, 60, "the nodes did not come up")

    def _all_idle(self) -> bool:
        return self.call("sinfo", "--noheader", "--Node", "--format=%T", check=False).split() == ["idle"] * 4

    def _daemon(self, name: str, words: Sequence[str]) -> None:
        with open(self.folder / f"{name}.out", "wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "TERM", "--", *words],
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _until(self, condition: Callable[[], bool], seconds: float, complaint: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or any(daemon.poll() is not None for daemon in self._daemons):
                logs = "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in self.folder.glob("*.out"))
                raise AssertionError(f"{complaint}:\n{logs}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Cancel all jobs, end the daemons, remove the folder."""
        if len(self._daemons) > 1:
            # Those that wait, then those that run; a mere scancel would give these time to save.
            self.call("scancel", "--state=PENDING", f"--user={getpass.getuser()}", check=False)
            self.call("scancel", "--full", "--signal=KILL", f"--user={getpass.getuser()}", check=False)
            # Without the daemons, what watches over a job's processes would wait for ever to report their end.
            end = time.monotonic() + 20
            while self.call("squeue", "--noheader", check=False).strip() and time.monotonic() < end:
                time.sleep(0.2)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *words: str, check: bool = True) -> str:
        """Run a command on node n1, such as `squeue`; gives its output."""
        done = subprocess.run(
            [*self.enter[0], *words], env=self.environment, capture_output=True, text=True, timeout=120
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def jobs(self, job: str) -> list[dict[str, str]]:
        """What SLURM says of a job; of every task, if it is an array."""
        lines = self.call("scontrol", "show", "job", "--oneliner", job).splitlines()
        return [dict(word.partition("=")[::2] for word in line.split() if "=" in word) for line in lines if line]

    def state(self, job: str) -> str:
        """The state of a job; of an array, the one that not all have in common with COMPLETED."""
        states = {task["JobState"] for task in self.jobs(job)}
        return (states - {"COMPLETED"} or states).pop()

    def wait(self, condition: Callable[[], bool], seconds: float, logs: Path) -> None:
        """Wait until something holds; fails with what the jobs wrote under `logs`."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                queue = self.call("squeue", check=False)
                said = "\n".join(
                    f"{path}:\n{path.read_text(errors='replace')[-3000:]}" for path in sorted(logs.rglob("*.log"))
                )
                raise AssertionError(f"waited more than {seconds} s\n{queue}\n{said}")
            time.sleep(0.2)

    def wait_for_end(self, job: str, logs: Path, seconds: float = 150) -> str:
        """Wait until a job has ended, all tasks if it is an array; gives its state."""
        self.wait(lambda: all(task["JobState"] in FINISHED for task in self.jobs(job)), seconds, logs)
        return self.state(job)


def _clean_environment() -> dict[str, str]:
    """Without what a surrounding job may have set."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SRUN"))}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
