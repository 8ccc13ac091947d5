"""What the systems' demos share: their steps, and somebody's own videos."""
