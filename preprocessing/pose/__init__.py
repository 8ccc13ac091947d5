"""Key points of a person: from a video by one of three back ends, or from one picture."""

from preprocessing.pose.image import MorePeopleFound, NoPersonFound, detect_image

__all__ = ["MorePeopleFound", "NoPersonFound", "detect_image"]
