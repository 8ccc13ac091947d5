"""Feature volumes of a picture: made, warped, and turned into frames."""
