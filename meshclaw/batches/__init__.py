"""Batches: many runs of one command - a matrix, and what a task needs - each exactly once."""
