"""Shares and weights as exact rationals, read from the YAML text: no float takes part."""

from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer


def parse_fraction(value: Any) -> Fraction:
    """`0.7`, `1/3`, `2` or a Decimal as a non-negative Fraction.

    Raises:
        ValueError: anything else, floats included (they have lost the text already).
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal, Fraction)):
        raise ValueError(f"expected a number such as 0.7 or 1/3, got {value!r}")
    try:
        fraction = Fraction(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"expected a number such as 0.7 or 1/3, got {value!r}") from None
    if fraction < 0:
        raise ValueError(f"must not be negative, got {value!r}")
    return fraction


Share = Annotated[
    Fraction, BeforeValidator(parse_fraction), PlainSerializer(str, return_type=str, when_used="json")
]
