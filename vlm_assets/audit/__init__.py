"""Independent re-count of a sealed corpus → findings.

Reads shards, allocations, slices, listings and the catalogue; writes nothing. Imports neither the allocator nor
the corpus writer: it must be able to disagree with them. What to do about a finding is decided elsewhere.
"""
