"""How people write down where a source is, beside the plain value of its key; each kind's spec says its own."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceForm:
    """`page`: addresses of a site's pages, whose groups are the key's value and, or nothing, what `beside` names."""

    page: re.Pattern[str] | None = None
    beside: str = ""
    """The key of the revision, tag or the like that stands in an address."""
    here: str = ""
    """What reads the same from this machine, as a sentence up to the path, where it is not a folder as others."""
    archive: bool = False
    """An archive is given as a folder is."""
