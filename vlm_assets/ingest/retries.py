"""When what failed is tried again."""

import math
from typing import Final

from vlm_assets.words.clock import has_come, unix_now

_WEEK_S: Final = 7 * 86400
_LONGEST_S: Final = 2.0 * _WEEK_S
"""No schedule and no server puts a retry off for longer."""


def retry_at(attempts: int, *, now: float | None = None) -> int:
    """When a transient reject is due again, in Unix seconds: 1 h, 4 h, 16 h, then weekly."""
    delay_s = min(3600 * 4 ** (max(attempts, 1) - 1), _WEEK_S)
    return int((unix_now() if now is None else now) + delay_s)


def due_at(attempts: int, not_before: float, *, now: float | None = None) -> int:
    """`retry_at`, but never before upstream allows; what a clock that ran ahead took for that counts for nothing."""
    now = unix_now() if now is None else now
    wished = 0 if has_come(not_before, now, longest_s=_LONGEST_S) else math.ceil(not_before)
    return max(retry_at(attempts, now=now), wished)


def is_due(next_retry: float, now: float) -> bool:
    """Whether a retry on record is due, whatever clock put it there."""
    return has_come(next_retry, now, longest_s=_LONGEST_S)
