"""The command `python -m preprocessing.head`."""

import sys

from preprocessing.head.run import main

if __name__ == "__main__":
    sys.exit(main())
