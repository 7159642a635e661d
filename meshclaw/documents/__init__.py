"""YAML in, plain data with positions out: safe, bounded, and never guessing.

A restricted YAML: one document; no aliases, anchors, tags or merge keys; no duplicate keys. Plain
scalars become `true`/`false`, `null`, decimal whole numbers and decimal fractions, as in JSON; every
other plain scalar is text as written (`no`, `012`, `22:22`, `0x1f`, `2026-11-23`).
"""

from meshclaw.documents.node import Node, plain_value
from meshclaw.documents.reading import MAX_BYTES, MAX_DEPTH, MAX_MISTAKES, MAX_NODES, parse, read_file

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_MISTAKES",
    "MAX_NODES",
    "Node",
    "parse",
    "plain_value",
    "read_file",
]
