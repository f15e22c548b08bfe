"""Addresses that are taken down, however they are written."""

import re
from collections.abc import Iterable
from typing import Final

from vlm_assets.transfer.urls import normal_url
from vlm_assets.words.layout import nfc

_ONE: Final = r"#(?:page|frame|row|caption|image)=[^#]*"
_LAST: Final = re.compile(rf"{_ONE}\Z")
_ALL: Final = re.compile(rf"(?:{_ONE})+\Z")


class TakenUrls:
    """`url in taken`: whether a takedown names the address, in any spelling, or what it is a part of.

    `…/issue.pdf` covers `…/issue.pdf#page=3`; a page covers no other page and not the whole.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self._named = {_spelled(url) for url in urls}

    def __bool__(self) -> bool:
        return bool(self._named)

    def __contains__(self, url: str) -> bool:
        if not self._named:  # of millions of records, on nearly every machine
            return False
        part = _spelled(url)
        while part not in self._named:
            whole = _LAST.sub("", part)
            if whole == part:
                return False
            part = whole
        return True


def _spelled(url: str) -> str:
    """The one spelling of an address, its parts left as they are."""
    parts = _ALL.search(url)
    start = parts.start() if parts else len(url)
    return normal_url(nfc(url[:start])) + url[start:]
