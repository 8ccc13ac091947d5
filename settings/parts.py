"""Registries that build what they name."""

from collections.abc import Mapping
from typing import Any

from settings.registry import Names
from settings.schema import build


class Registry(Names):
    """Names of one kind of part, each imported only when it is asked for, and built from its config."""

    def build(self, value: str | Mapping[str, Any], **extra: Any) -> Any:
        """Build a part from its config, `{name: ..., **options}` or the bare name."""
        options = {"name": value} if isinstance(value, str) else dict(value)
        part = self.get(options.pop("name"))
        return build(options, part, **extra)
