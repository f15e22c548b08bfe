"""Upstream services on loopback, one file a service; fixtures of the tests and the demo's outside world.

They speak enough of each protocol for the untouched client libraries, keep a request log, and fail on script.
"""
