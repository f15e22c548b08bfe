"""Licences that are written almost like one that is known: a slip that no rule finds, for any text is a licence."""

from difflib import get_close_matches
from typing import Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.licenses._spdx import LICENSES

PROPRIETARY: Final = "proprietary"
UNKNOWN: Final = "unknown"
_LIKENESS: Final = 0.8


def meant_licence(licence: str) -> str | None:
    """What was meant where a licence is close to `proprietary`, `unknown` or an SPDX id, and is none; else None.

    An SPDX expression (`MIT OR Apache-2.0`) is one; written otherwise (`mit`) its own form was meant, by which
    `licences` of corpus.yaml compares.
    """
    if licence in (PROPRIETARY, UNKNOWN):
        return None
    try:
        meant = str(canonicalize_license_expression(licence))
    except InvalidLicenseExpression:
        return _nearest(licence)
    return meant if meant != licence else None


def _nearest(licence: str) -> str | None:
    names = {_plain(one["id"]): one["id"] for one in LICENSES.values() if not one["deprecated"]}
    names |= {PROPRIETARY: PROPRIETARY, UNKNOWN: UNKNOWN}
    found = get_close_matches(_plain(licence), names, 1, _LIKENESS)
    return names[found[0]] if found else None


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")
