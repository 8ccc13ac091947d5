"""The command `python -m trainers.demo_video`: see `trainers/mmgt/demo_video.py`."""

from trainers.mmgt.demo_video import demo_video, main

__all__ = ["demo_video", "main"]

if __name__ == "__main__":
    main()
