"""The console command `cospeech`, and what is known of the installation itself: version, shipped files, package names.

Needs nothing but Python, so that it can speak when something else is wrong.
"""

from importlib import metadata

try:
    __version__ = metadata.version("cospeech")
except metadata.PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+unknown"
