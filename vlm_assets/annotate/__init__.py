"""Annotations: the values of a slice's records, computed by annotators or imported, each slice in a file.

Reads committed slices and files of scores; writes `annotations/`. What a value leads to is for filters.
"""
