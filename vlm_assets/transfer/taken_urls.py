"""Addresses that are taken down, however they are written."""

import re
from collections.abc import Iterable
from typing import Final

from vlm_assets.transfer.urls import normal_url
from vlm_assets.words.layout import nfc

_ONE: Final = r"#(?:page|frame|row|caption|image)=[^#]*"
_LAST: Final = re.compile(rf"{_ONE}\Z")
_ALL: Final = re.compile(rf"(?:{_ONE})+\Z")
_ODD: Final = re.compile(r"https?:(?!//)|https?://(?:[0-9]|[^/?#\"\s]*[^a-z0-9.:/?#\"\s-])")
"""An address, in lower case, whose host may have another spelling than it is named by: digits, not ASCII, escaped."""
_HOST: Final = re.compile(r"https?://([^/?#:]*)")


class TakenUrls:
    """`url in taken`: whether a takedown names the address, in any spelling, or what it is a part of.

    `…/issue.pdf` covers `…/issue.pdf#page=3`; a page covers no other page and not the whole.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self._named = {_spelled(url) for url in urls}
        self._hosts = {found[1] if (found := _HOST.match(url)) else "" for url in map(str.lower, self._named)}

    def __bool__(self) -> bool:
        return bool(self._named)

    def may_stand_in(self, text: str) -> bool:
        """False where no address in the text can be one of these: of millions of texts, for nearly all of them."""
        lower = text.lower()
        return any(host in lower for host in self._hosts) or _ODD.search(lower) is not None

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
