"""The append-only record of what was spent and what it bought."""
