"""Mutated inputs against every door through which a stranger's bytes come in."""
