"""source → committed slice.

Lists sources, decides what is due, turns records into rows, counts both ledgers and commits. Reads upstream through
`sources`, writes through `store`. Knows no quotas.
"""
