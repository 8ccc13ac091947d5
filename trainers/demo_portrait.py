"""The command `python -m trainers.demo_portrait`: see `trainers/implicit_motion/demo.py`."""

from trainers.implicit_motion.demo import demo_portrait, main

__all__ = ["demo_portrait", "main"]

if __name__ == "__main__":
    main()
