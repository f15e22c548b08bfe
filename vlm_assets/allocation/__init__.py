"""Quotas to integer grants to explicit row indices.

Reads the `index.arrow` of committed slices and the lists that the catalogue names; writes a plan and its
certificate into a staging folder. Integers and Fractions only. Fetching, locking, committing and writing rows
belong elsewhere.
"""
