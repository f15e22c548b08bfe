"""Annotators: values of one record, computed from its images or its words. One file an annotator.

Reads what it is handed, never other records: growth elsewhere changes no value. Knows no files, no catalogue.
"""
