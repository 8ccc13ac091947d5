"""A chain in words, for the person who is about to submit it."""

from pathlib import Path

from trainers.launching.chain import Link
from trainers.stage.batches import per_rank


def summary(links: list[Link], folder: Path) -> str:
    """What would run, on what, after what, and where it writes.

    Args:
        links: the chain.
        folder: the launch folder, from which paths are shown.
    """
    lines = [f"{len(links)} {'link' if len(links) == 1 else 'links'} in {folder}:"]
    width = max(len(link.name) for link in links)
    for number, link in enumerate(links, 1):
        after = f"after {', '.join(link.after)}" if link.after else "starts at once"
        written = Path(link.gives)
        where = written.relative_to(folder) if written.is_relative_to(folder) else written
        lines.append(f"  {number}. {link.name:{width}}  {_what(link)}")
        lines.append(f"     {'':{width}}  {_asked(link)}; {after}; writes {where}")
    most = max(map(_gpus, links))
    lines.append(
        f"Largest job: {most} {'GPU' if most == 1 else 'GPUs'}. Time limits are of one start: what is not done then "
        "saves, is queued again and\ngoes on. A job that fails cancels those that wait for it."
    )
    return "\n".join(lines)


def _what(link: Link) -> str:
    if not link.trains:
        return f"python -m {link.module}"
    stage, data, trainer = (link.config[name] for name in ("stage", "data", "trainer"))
    if "global_batch" not in data:
        return f"trains {stage['name']}"
    ranks, accumulated = link.slurm.nodes * link.slurm.tasks, trainer["accumulate_grad_batches"]
    each = per_rank(data, ranks, accumulated)
    return (
        f"trains {stage['name']} in {trainer['precision']}, {each * ranks * accumulated} windows a step "
        f"({each} a rank and batch)"
    )


def _asked(link: Link) -> str:
    slurm = link.slurm
    jobs = f"{link.tasks} jobs of " if link.tasks else ""
    nodes = f"{slurm.nodes} {'node' if slurm.nodes == 1 else 'nodes'}"
    processes = slurm.tasks if link.trains else 1
    if slurm.gpus_per_node:
        each = f"{slurm.gpus_per_node} {'GPU' if slurm.gpus_per_node == 1 else 'GPUs'}"
    else:
        each = f"{processes} {'process' if processes == 1 else 'processes'}, no GPU"
    hours, rest = divmod(slurm.seconds, 3600)
    return f"{jobs}{nodes} x {each}, {slurm.cpus_per_task} cores a process, {hours}:{rest // 60:02}:{rest % 60:02} h"


def _gpus(link: Link) -> int:
    return link.slurm.nodes * link.slurm.gpus_per_node
