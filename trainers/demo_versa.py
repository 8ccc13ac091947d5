"""The command `python -m trainers.demo_versa`: see `trainers/versa/demo.py`."""

from trainers.versa.demo import demo_versa, main

__all__ = ["demo_versa", "main"]

if __name__ == "__main__":
    main()
