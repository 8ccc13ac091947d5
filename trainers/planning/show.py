"""A plan for people to read."""

from rich.console import Console
from rich.table import Table

from trainers.planning.result import TrainingPlan


def size_of(size: float) -> str:
    """Bytes as a person would write them."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(size) >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size:.0f} B"


def show(plan: TrainingPlan, console: Console) -> None:
    """Print a plan: memory by part, then time and efficiency by number of GPUs."""
    from trainers.planning.memory import MEANINGS

    console.print(
        f"{plan.stage}, {plan.parameters / 1e6:.2f} M trained parameters, {plan.strategy}, {plan.precision}, "
        f"{plan.batch_size} windows a GPU, on {plan.gpus} {plan.gpu}"
    )
    table = Table("part", "GiB a GPU", "what it is", title="Memory", title_justify="left")
    table.columns[1].justify = "right"
    for part, size in plan.memory.items():
        if size:
            table.add_row(part, f"{size / 2**30:.3f}", MEANINGS[part])
    for part, size in plan.host.items():
        table.add_row(f"{part} (offloaded)", f"{size / 2**30:.3f}", "in the machine's memory, for each GPU")
    table.add_section()
    left = f"of {plan.limit / 2**30:.1f} that the GPU leaves: " + ("it fits" if plan.fits else "it does not fit")
    table.add_row("most at once", f"{plan.total / 2**30:.3f}", left)
    console.print(table)
    times = Table(
        "GPUs", "step", "computing", "sending", "waiting", "windows/s", "efficiency", "GiB",
        title="Time, ms a step", title_justify="left",
    )  # fmt: skip
    for column in times.columns:
        column.justify = "right"
    for row in plan.scaling:
        times.add_row(
            str(row["gpus"]),
            *(f"{1000 * row[name]:.2f}" for name in ("seconds", "compute", "communication", "exposed")),
            f"{row['samples_per_second']:.0f}",
            f"{row['efficiency']:.1%}",
            f"{row['memory'] / 2**30:.2f}",
        )
    console.print(times)
    if plan.training:
        length = plan.training
        console.print(
            f"The whole training: {length['steps']:,.0f} steps, {length['hours']:,.1f} h on {plan.gpus} GPUs, "
            f"{length['gpu_hours']:,.0f} GPU-hours in {plan.precision}"
            + (f" ({length['bf16_hours']:,.1f} h in bf16-mixed)" if "bf16_hours" in length else "")
        )
    else:
        console.print("The whole training: told in epochs; give windows=N, the windows of an epoch, for its hours")
    for line in plan.advice:
        console.print(f"Advice: {line}")
    console.print(
        f"{plan.operations / 1e12:.3f} T operations a batch, measured {plan.measured}. Assumed: "
        + ", ".join(f"{name}={value}" for name, value in plan.assumed.items())
        + f". Figures of the GPU: {plan.source}."
    )
