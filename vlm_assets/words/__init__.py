"""What everybody speaks: errors, the row and its columns, keys, names on disk, manifests, items and records.

Reads nothing, writes nothing, imports nothing of the project but itself.
"""
