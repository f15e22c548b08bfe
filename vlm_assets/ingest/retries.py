"""When what failed is tried again."""

import time


def retry_at(attempts: int, *, now: float | None = None) -> int:
    """When a transient reject is due again, in Unix seconds: 1 h, 4 h, 16 h, then weekly."""
    delay_s = min(3600 * 4 ** (max(attempts, 1) - 1), 7 * 86400)
    return int((time.time() if now is None else now) + delay_s)
