"""Every benchmark beside what a user would pick instead: one command, one table.

`case` says what a case is, `cases_*` hold them, `way` runs one way of one case in a process of its own, `measuring`
watches it, `table` makes medians and ratios of it.
"""
