"""Shares and weights as exact rationals, read from the YAML text: no float takes part."""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_NUMBER: Final = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30}|\d{1,30}/\d{1,30})([eE][+-]?\d{1,2})?")
"""`1e999999999` is a number too, and takes as many digits."""


def parse_fraction(value: Any) -> Fraction:
    """`0.7`, `1/3`, `2` or a Decimal as a non-negative Fraction.

    Raises:
        ValueError: anything else, floats included (they have lost the text already).
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal, Fraction)):
        raise ValueError(f"expected a number such as 0.7 or 1/3, got {value!r}")
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        raise ValueError(f"expected a number such as 0.7 or 1/3, got {value[:60]!r}")
    try:
        fraction = Fraction(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"expected a number such as 0.7 or 1/3, got {value!r}") from None
    if fraction < 0:
        raise ValueError(f"must not be negative, got {value!r}")
    return fraction


_SCHEMA: Final = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^{_NUMBER.pattern}$"}]
}
Share = Annotated[
    Fraction,
    BeforeValidator(parse_fraction),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(_SCHEMA, mode="validation"),
]
