"""A sealed corpus in the formats of others. An export is made of a corpus, shard by shard, and never read back.

Each shard of the corpus is one file of the export, so a corpus that grew or lost rows changes the files of the
shards that changed and leaves the others.
"""
