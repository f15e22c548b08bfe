"""How things get on disk and stay whole: locks, versions behind symlinks, Arrow files, slices.

Reads and writes the data root. What the rows mean is not decided here.
"""
