"""Values of any column as JSON, nothing dropped silently."""

import base64
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

_INLINE_BYTES: Final = 64 * 1024
_INT64: Final = 2**63
MAX_DEPTH: Final = 100
"""Of lists and objects in each other: what goes through them calls itself, and orjson writes none past 254."""


def json_value(value: Any) -> Any:
    """A column's value as JSON, nothing dropped silently.

    Times in ISO 8601, decimals and integers past 64 bits as strings, NaN and infinities as strings; bytes as
    `{"base64": …}`, past 64 KiB as `{"sha256": …, "size_bytes": …}`.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        if len(value) > _INLINE_BYTES:
            return {"sha256": sha256(value).hexdigest(), "size_bytes": len(value)}
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {str(key): json_value(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(one) for one in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value) if isinstance(value, Decimal) else repr(value)


def is_too_deep(value: Any) -> bool:
    """Whether a JSON value has more than `MAX_DEPTH` lists and objects in each other."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def whole_characters(value: Any) -> Any:
    """A JSON value in whose texts halves of surrogate pairs, which no UTF-8 file can hold, are U+FFFD."""
    if isinstance(value, str):
        return (
            value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )
    if isinstance(value, dict):
        return {whole_characters(name): whole_characters(one) for name, one in value.items()}
    if isinstance(value, list):
        return [whole_characters(one) for one in value]
    return value
