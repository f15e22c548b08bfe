"""Who reserves a URL from being mined or trained on: TDMRep's header and file, and `ai.txt`.

W3C Community Group, TDM Reservation Protocol (TDMRep); Spawning, ai.txt.
"""

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson
from protego import Protego
from yarl import URL

from vlm_assets.transfer.agent import AGENT
from vlm_assets.transfer.kept_answers import MAX_OWN_BYTES
from vlm_assets.transfer.politeness import GiveUp
from vlm_assets.words.errors import RejectReason

TDM_FILE: Final = "/.well-known/tdmrep.json"
AI_FILE: Final = "/ai.txt"
TDM_HEADER: Final = "tdm-reservation"
_UNRESERVED: Final = frozenset(string.ascii_letters + string.digits + "-._~")


@dataclass(frozen=True, slots=True)
class OptOuts:
    """What one origin's files say. `unavailable`: why nothing may be asked there for now."""

    tdm: tuple[tuple[str, bool], ...] = ()
    """Patterns of paths in their order, and whether they are reserved; the first that matches counts."""
    ai: Protego | None = None
    unavailable: GiveUp | None = None

    def verdict(self, url: URL) -> GiveUp | None:
        """The reject that a URL gets for it, or None."""
        if self.tdm:
            path = _comparable(url.raw_path_qs)
            if next((reserved for pattern, reserved in self.tdm if matches(pattern, path)), False):
                return GiveUp(RejectReason.TDM_RESERVED, f"tdmrep.json of {url.origin()}")
        if self.ai is not None and not self.ai.can_fetch(str(url), AGENT):
            return GiveUp(RejectReason.NOAI, f"ai.txt of {url.origin()}")
        return None


NO_OPT_OUTS: Final = OptOuts()


def opt_outs_of(tdm_file: bytes, ai_file: bytes) -> OptOuts:
    """What the bodies of both files say; empty ones, and those that are neither, reserve nothing."""
    text = ai_file[:MAX_OWN_BYTES].decode("utf-8-sig", "replace")
    is_text = text.strip() and not text.lstrip().startswith(
        "<"
    )  # a page for people, where all addresses have one
    return OptOuts(tuple(_tdm_rules(tdm_file)), Protego.parse(text) if is_text else None)


def reserves(values: Iterable[str]) -> bool:
    """Whether a header `tdm-reservation` says 1; whatever is neither 0 nor 1 counts as not said."""
    return any(one.strip() == "1" for value in values for one in value.split(","))


def matches(pattern: str, path: str) -> bool:
    """As in robots.txt: from the path's beginning, `*` is anything, `$` at the end the path's end. Linear in both."""
    first, *rest = pattern.removesuffix("$").split("*")
    anchored = pattern.endswith("$")
    if not path.startswith(first):
        return False
    at = len(first)
    if not rest:
        return not anchored or at == len(path)
    for piece in rest[:-1]:
        found = path.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    if anchored:
        return path.endswith(rest[-1]) and len(path) - len(rest[-1]) >= at
    return path.find(rest[-1], at) >= 0


def _tdm_rules(body: bytes) -> Iterable[tuple[str, bool]]:
    try:
        content: Any = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return
    for rule in content if isinstance(content, list) else [content]:
        location = rule.get("location") if isinstance(rule, dict) else None
        if isinstance(location, str) and location.strip():
            pattern = _comparable(location.strip())
            said = rule.get(TDM_HEADER)
            reserved = not isinstance(said, bool) and str(said) == "1"
            yield pattern if pattern[0] in "/*" else f"/{pattern}", reserved


def _comparable(path: str) -> str:
    """Percent-encoded where it must be, and nowhere else."""

    def one(found: re.Match[str]) -> str:
        plain = chr(int(found[1], 16))
        return plain if plain in _UNRESERVED else found[0].upper()

    return re.sub("%([0-9a-fA-F]{2})", one, quote(path, safe=string.punctuation))
