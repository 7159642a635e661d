"""Models: their names and aliases, what is there to use, and the embedded models' files.

Most runs need only the names: each module is imported by its own name.
"""
