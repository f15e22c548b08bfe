"""The assets, one module each, and what a person reads about them in the UI."""
