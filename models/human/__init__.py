"""The human body as data: key-point layouts, drawing, rotations, retargeting."""
