"""Sound, pictures and videos, read and written."""
