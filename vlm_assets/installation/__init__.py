"""Settings, data root and catalogue of one machine together: what every step is given.

Loads the catalogue with the classes of the kinds, so it stands above `sources`.
"""
