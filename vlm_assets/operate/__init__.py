"""What a person asks of a data root: status, plan, lineage, verify, prune, takedown, migrate; its logs and messages.

Reads everything below; the line itself needs none of it.
"""
