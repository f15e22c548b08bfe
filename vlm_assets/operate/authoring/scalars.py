"""Values as YAML on one line."""

import re
from typing import Any, Final

import orjson

_PLAIN: Final = re.compile(r"[A-Za-z_/][\w./+-]*\Z", re.ASCII)
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def scalar(value: Any) -> str:
    """A value as YAML that reads back as it is."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(scalar, value))}]"
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    return orjson.dumps(value).decode()
