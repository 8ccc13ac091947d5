"""One config for every command: a typed signature is its schema, YAML and `key=value` fill it in."""

import cospeech.checked  # noqa: F401 - first of all
from settings.command import command
from settings.log import get_logger
from settings.parts import Registry
from settings.registry import DEFAULTS, Choice, ConfigError, Section
from settings.schema import build, check

__all__ = ["DEFAULTS", "Choice", "ConfigError", "Registry", "Section", "build", "check", "command", "get_logger"]
