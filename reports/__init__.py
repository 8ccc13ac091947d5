"""Self-contained HTML pages: they open from disk with no server and no network."""

from reports.page import Page

__all__ = ["Page"]
