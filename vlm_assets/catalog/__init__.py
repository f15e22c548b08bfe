"""YAML to frozen specs.

Reads the catalogue directory, writes nothing. Every fault is reported at once with file and key. Specs of one
kind of source stand beside that kind in `sources`.
"""
