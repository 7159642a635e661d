"""MeshClaw: delegate work, not tokens."""

__version__ = "0.1.0"
