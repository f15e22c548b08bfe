"""Allocation plan to sealed corpus: plan the shards, write them, seal them.

Reads `allocations/`, committed slices and the previous corpus; writes `corpora/`. Which rows are in it is decided
by `allocation`; whether it is right is decided by `audit`, which imports nothing from here.
"""
