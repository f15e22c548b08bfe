"""Reads archives (zip, tar, 7z, split, nested in each other) member by member, and says what it left out and why.

Reads files or streams, writes nothing but unlinked spool files. Knows no source, no record, no network.
"""
