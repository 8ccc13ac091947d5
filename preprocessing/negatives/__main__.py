"""The command `python -m preprocessing.negatives`."""

import sys

from preprocessing.negatives.run import main

if __name__ == "__main__":
    sys.exit(main())
