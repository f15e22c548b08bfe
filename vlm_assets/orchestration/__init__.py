"""The thin Dagster layer: assets, checks, jobs, schedules, sensors over the pure core.

One Dagster concept a file. No rule about data lives here: an asset body resolves its spec, calls one core function
and reports what came of it.
"""
