"""Features of the speech: 35 hand-crafted ones, and the layers of pretrained networks."""
