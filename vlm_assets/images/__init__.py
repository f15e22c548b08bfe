"""Answers for encoded image bytes: are they a sample, and what are its facts.

Reads bytes in memory, writes nothing. `probe` is the way in; `sniff`, `headers` and `dhash` are pure; `decode`
drives Pillow; `pool` and `child` are the two ends of the decoder processes. Nothing here knows sources or rows.
"""
