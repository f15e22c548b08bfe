"""Licences that look like a slip: no rule finds one, for any text is a licence."""

import re
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


def doubt_of(licence: str) -> str | None:
    """Why a licence is to be looked at: it is spelled almost like a known one, or is one word that nobody knows.

    `LicenseRef-client-12` and words such as `contract of the client, 2024` are nobody's slip.
    """
    told = f"{licence!r} is no SPDX id, proprietary or unknown"
    if meant := meant_licence(licence):
        return f"{told}; did you mean {meant}?"
    if licence in (PROPRIETARY, UNKNOWN) or not re.fullmatch(r"\S+", licence):
        return None
    try:
        canonicalize_license_expression(licence)
    except InvalidLicenseExpression:
        return f"{told}; one of your own is named LicenseRef-{re.sub(r'[^A-Za-z0-9.-]+', '-', licence)}"
    return None


def _nearest(licence: str) -> str | None:
    names = {_plain(one["id"]): one["id"] for one in LICENSES.values() if not one["deprecated"]}
    names |= {PROPRIETARY: PROPRIETARY, UNKNOWN: UNKNOWN}
    found = get_close_matches(_plain(licence), names, 1, _LIKENESS)
    return names[found[0]] if found else None


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")
