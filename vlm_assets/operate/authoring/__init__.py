"""A catalogue before there is one: its first text, a look at a source, JSON Schemas, the reference page.

Reads the specs of catalogue and settings, and what a new source shows. Writes catalogue files, nothing below the
data root.
"""
