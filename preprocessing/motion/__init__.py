"""Motion data sets into shards: SMPL-X files, HumanML3D folders, and shards whose clips hold SMPL-X parameters."""
