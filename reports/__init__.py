"""Self-contained HTML pages: they open from disk with no server and no network."""

from reports.page import Cell, Page

__all__ = ["Cell", "Page"]
