"""Gathers a task's inputs before the start, at no token cost, and marks off what cannot be trusted."""

from meshclaw.inputs.gathering import Gathered, gather, read_lines
from meshclaw.inputs.marking import fence, wrap
from meshclaw.inputs.sources import Sources

__all__ = ["Gathered", "Sources", "fence", "gather", "read_lines", "wrap"]
