"""HTTP as a well-behaved guest: addresses checked, hosts spared, bytes verified, progress that survives a kill.

Reads the network, writes a spool or a file. Knows no kind of source, decodes no image; `decide` functions are
pure, only `http`, `download` and `client` act.
"""
