"""Times of a schedule as people write them: five fields of cron, and names of time zones."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Final = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_PART: Final = re.compile(r"(\*|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?\Z", re.ASCII)
_WORDS: Final = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly")


def cron_fault(text: str) -> str:
    """What is wrong with a schedule; "" where nothing is."""
    fields = text.lower().split()
    if text.strip().lower() in _WORDS:
        return ""
    if len(fields) != len(_FIELDS):
        return f"expected five fields (minute, hour, day of the month, month, day of the week), got {text!r}"
    for field, (name, least, most, names) in zip(fields, _FIELDS, strict=True):
        if not all(_is_part(part, least, most, names) for part in field.split(",")):
            forms = f"*, or numbers from {least} to {most}, as 1, 1-5, */2 or 1,4"
            return f"the {name} is {field!r}; expected {forms}"
    return ""


def _is_part(part: str, least: int, most: int, names: Sequence[str]) -> bool:
    match = _PART.match(part)
    if match is None:
        return False
    ends = [_number(one, least, names) for one in match.group(2, 3) if one is not None]
    return all(least <= one <= most for one in ends) and ends == sorted(ends)


def _number(text: str, least: int, names: Sequence[str]) -> int:
    """A number or a name as one; -1 for what is neither."""
    if text.isdigit():
        return int(text)
    return names.index(text) + least if text in names else -1


def zone_fault(name: str) -> str:
    """What is wrong with the name of a time zone; "" where there is such a zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zones = sorted(available_timezones())
        near = [one for one in zones if one.rpartition("/")[2].lower() == name.strip().lower()]
        near = near[:2] or get_close_matches(name, zones, 1, 0.6)
        told = f"did you mean {' or '.join(near)}?" if near else "name one such as Europe/Istanbul or UTC"
        return f"no time zone {name!r}; {told}"
    return ""
