"""The shipped presets: `python -m settings.presets`."""

import re
from collections.abc import Sequence

import yaml

from cospeech.shipped import folder, presets
from settings.command import command


def configs(*, name: str | None = None) -> list[dict[str, str]]:
    """List the shipped presets: each can be given as `--config NAME`.

    Args:
        name: only those whose name holds this, such as mmgt or tiny.

    Returns:
        "name", "stage" and "for" of each.
    """
    return [_described(preset) for preset in presets() if name is None or name in preset]


def _described(preset: str) -> dict[str, str]:
    """What a preset says of itself: its stage and the sentence in its first comment."""
    path = folder("configs") / f"{preset}.yaml"
    text = path.read_text(encoding="utf-8")
    stage: str | None = None
    while stage is None:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        chosen = values.get("stage") or {}
        stage = chosen if isinstance(chosen, str) else chosen.get("name")
        path = path.parent / str(values.get("extends"))
    comment = re.match(r"(?:#.*\n)+", text)
    description = " ".join(line.lstrip("# ") for line in comment[0].splitlines()) if comment else ""
    sentence = re.split(r"(?<=[.:;])\s", description)[0].rstrip(".:;")
    return {"name": preset, "stage": stage, "for": sentence}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 1 where no preset has such a name."""
    found = configs(**command(configs, argv, prog="python -m settings.presets", positional="name"))
    if not found:
        print(f"no preset has such a name; there are {', '.join(presets())}")
        return 1
    widths = [max(len(row[column]) for row in found) for column in ("name", "stage")]
    for row in found:
        print(f"{row['name'].ljust(widths[0])}  {row['stage'].ljust(widths[1])}  {row['for']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
