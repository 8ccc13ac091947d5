"""Pictures and motion features, measured beside what needs no network."""
