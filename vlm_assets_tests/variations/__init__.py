"""One catalogue built from nothing on one machine after another: which of them get other bytes, and where.

Inputs are made once and served while it lasts; each machine is this one with other fonts, libraries, interpreters,
processors or luck, and works through the product's commands alone.
"""
