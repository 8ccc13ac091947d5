"""What tells one file from another."""

import hashlib
from pathlib import Path


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file in hexadecimal. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
