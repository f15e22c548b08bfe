"""What is said about a sealed corpus: card, Croissant, summary for regulators, report.

Reads a corpus, its plan, its slices' ledgers; writes files beside the manifest of its version. Decides nothing, and
is hashed into nothing. The audit counts again what stands there, with none of this.
"""
