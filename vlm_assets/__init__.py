"""Builds one reproducible image corpus out of unlike sources."""
