"""One file a kind of source: list slices, fetch records.

A module here that defines `SOURCE` is a kind, named like the module. Reads upstream services and folders; writes
only below the cache folder it is given. Normalising, committing and counting belong to `store` and `ingest`.
"""
