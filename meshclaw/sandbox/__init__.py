"""Containment of commands."""
