"""The command `python -m trainers.demo_versa_video`: see `trainers/versa/demo_video.py`."""

from trainers.versa.demo_video import demo_versa_video, main

__all__ = ["demo_versa_video", "main"]

if __name__ == "__main__":
    main()
