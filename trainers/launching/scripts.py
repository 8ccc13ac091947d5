"""The scripts of a chain: a file for sbatch per link, made from those in slurm/, and one that submits them in order."""

import shlex
from pathlib import Path

from cospeech import shipped
from trainers.launching.chain import Link, code_environment


def batch_script(link: Link, code: Path, python: str, cwd: Path) -> str:
    """The file for sbatch: head and values of a link, work as in slurm/fit.sbatch or slurm/preprocess.sbatch.

    Args:
        link: the link.
        code: the snapshot it runs.
        python: the interpreter.
        cwd: the folder it runs in.
    """
    variables = {
        **link.slurm.env,
        **code_environment(code),
        "COSPEECH_PYTHON": python,
        "COSPEECH_MODULE": link.module,
    }
    words = ["--config", str(link.folder / "config.yaml")]
    if link.tasks:
        variables["COSPEECH_TASKS"] = str(link.tasks)
    if link.trains:
        words.append(f"run={link.folder}")
        variables["COSPEECH_MAX_HANGS"] = str(link.slurm.max_hangs)
        if link.slurm.interface:
            variables["COSPEECH_INTERFACE"] = link.slurm.interface
    lines = [
        "#!/bin/bash",
        f"# Written by python -m trainers.launch. To go on after a failure: sbatch {shlex.quote(str(link.script))}",
        *(f"#SBATCH {option}" for option in _options(link, cwd)),
        "",
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        *link.slurm.setup,
        f"set -- {shlex.join(words)}",
    ]
    return "\n".join(lines) + "\n" + _work(shipped.folder("slurm") / link.script.name)


def submit_script(links: list[Link], folder: Path) -> str:
    """The script that submits the chain and prints the ids of the jobs.

    Args:
        links: the links in order.
        folder: the launch folder; `jobs.txt` there keeps the ids.
    """
    calls = [shlex.join(["submit", link.name, str(link.script), *link.after]) for link in links]
    return _SUBMIT.replace("JOBS", shlex.quote(str(folder / "jobs.txt"))) + "\n".join(calls) + "\n"


def _options(link: Link, cwd: Path) -> list[str]:
    """Options of sbatch."""
    slurm = link.slurm
    minutes, seconds = divmod(slurm.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    log = "slurm-%A_%a.log" if link.tasks else "slurm-%j.log"
    options = {
        "job-name": link.job,
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "constraint": slurm.constraint,
        "time": f"{days}-{hours:02}:{minutes:02}:{seconds:02}",
        "nodes": slurm.nodes,
        "ntasks-per-node": slurm.tasks if link.trains else 1,
        "gpus-per-node": slurm.gpus_per_node or None,
        "cpus-per-task": slurm.cpus_per_task,
        "mem": slurm.mem,
        # To every rank; what is no training has its shell stop the work.
        "signal": f"{'' if link.trains else 'B:'}USR1@{slurm.signal}",
        "open-mode": "append",
        "chdir": _quoted(cwd),
        "output": _quoted(link.folder / "logs" / log),
    }
    if link.tasks:
        options["array"] = f"0-{link.tasks - 1}" + (f"%{link.at_once}" if link.at_once else "")
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return [*given, "--requeue", *slurm.extra]


def _quoted(path: Path) -> str:
    text = str(path)
    return f'"{text}"' if " " in text else text


def _work(template: Path) -> str:
    """What follows the head of a script in slurm/."""
    lines = template.read_text(encoding="utf-8").splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if line.startswith("#SBATCH"))
    return "".join(lines[last + 1 :])


_SUBMIT = """\
#!/bin/bash
# Submits the chain: each job starts when those it waits for have ended well, and is cancelled when one of them fails.
# Run it again to go on after a failure: what is finished ends soon, the rest goes on where it stopped.
set -euo pipefail
jobs=JOBS
declare -A id=()

if [ -s "$jobs" ]; then
  for job in $(awk '{ print $2 }' "$jobs"); do
    if [ -n "$(squeue --noheader --jobs="$job" 2>/dev/null)" ]; then
      echo "job $job of this chain is still in the queue; wait for its end, or scancel $job" >&2
      exit 1
    fi
  done
fi
: >"$jobs"
# Half a chain is of no use.
trap 'if [ $? != 0 ] && [ ${#id[@]} != 0 ]; then scancel "${id[@]}"; echo "nothing is left in the queue" >&2; fi' EXIT

submit() { # name, script, names of the links it waits for
  local name=$1 script=$2 after="" options=()
  shift 2
  for before in "$@"; do after+=:${id[$before]}; done
  [ -z "$after" ] || options=("--dependency=afterok$after" --kill-on-invalid-dep=yes)
  local answer
  answer=$(sbatch --parsable "${options[@]}" "$script")
  id[$name]=${answer%%;*}
  echo "$name ${id[$name]}" >>"$jobs"
  echo "$name: job ${id[$name]}${after:+ after ${after#:}}"
}

"""
