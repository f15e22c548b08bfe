"""Scripts of peers, each run by the Python of its own environment; they import nothing of the project."""
