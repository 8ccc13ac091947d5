"""The Lightning side and every command: `fit`, `animate`, `evaluate`, `report`."""
