"""The command `python -m trainers.demo_paha`: see `trainers/paha/demo.py`."""

from trainers.paha.demo import demo_paha, main

__all__ = ["demo_paha", "main"]

if __name__ == "__main__":
    main()
