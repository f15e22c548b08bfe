"""The offline demo: upstream services on loopback, generated content, and a catalogue that uses all kinds.

Writes one folder. The services are the tests' fixtures too. Nothing here is used by a real build.
"""
