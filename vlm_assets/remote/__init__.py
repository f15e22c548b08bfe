"""The S3 remote: the same versions as on disk, each file once.

Reads and writes `s3://bucket/prefix` and the data root. Decides nothing about slices or corpora, knows no Dagster.
"""
