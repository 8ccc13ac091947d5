"""What a stage is made of: its base class, the optimisers and schedules, and the keys that must agree."""
