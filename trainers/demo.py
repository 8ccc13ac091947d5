"""The command `python -m trainers.demo`: see `trainers/mmgt/demo.py`."""

from trainers.mmgt.demo import demo, main

__all__ = ["demo", "main"]

if __name__ == "__main__":
    main()
