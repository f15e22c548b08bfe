"""Times on record, read by a clock that may have been set back since they were written."""


def has_come(at: float, now: float, *, longest_s: float) -> bool:
    """Whether a time on record (Unix seconds) is over.

    One that lies further ahead than anything is ever put off (`longest_s`) was written by a clock that ran ahead: it
    counts as over, or what waits for it would wait for years.
    """
    return not now < at <= now + longest_s
