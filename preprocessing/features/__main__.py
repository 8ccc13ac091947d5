"""The command `python -m preprocessing.features`."""

import sys

from preprocessing.features.run import main

if __name__ == "__main__":
    sys.exit(main())
