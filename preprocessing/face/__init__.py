"""Where the face is, how far the eyes are open and where the head points, frame by frame."""
