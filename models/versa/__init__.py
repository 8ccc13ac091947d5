"""VersaAnimator (VA-1 to VA-17): audio and text to tokens of whole-body motion."""

from models.versa.tokenizer import MotionTokenizer

__all__ = ["MotionTokenizer"]
