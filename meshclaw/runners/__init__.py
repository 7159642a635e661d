"""Ways to carry out an attempt."""
