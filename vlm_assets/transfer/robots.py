"""robots.txt (RFC 9309) once an origin and run, kept on disk for a day; `X-Robots-Tag`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protego import Protego

from vlm_assets.transfer.agent import AGENT
from vlm_assets.transfer.kept_answers import MAX_OWN_BYTES, KeptAnswer
from vlm_assets.transfer.politeness import GiveUp
from vlm_assets.words.errors import RejectReason

_MAX_CRAWL_DELAY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What one origin allows. `unavailable`: why nothing may be asked, where robots.txt cannot be read."""

    parser: Protego | None = None
    unavailable: GiveUp | None = None

    def allows(self, url: str) -> bool:
        """Whether this URL may be asked for."""
        return self.parser is None or bool(self.parser.can_fetch(url, AGENT))

    @property
    def crawl_delay_s(self) -> float:
        """Pause between two requests that the origin asks for, at most 30 s."""
        delay = self.parser.crawl_delay(AGENT) if self.parser else None
        return min(float(delay), _MAX_CRAWL_DELAY_S) if delay else 0.0


ALLOW_ALL: Final = Rules()


def parse_rules(body: bytes) -> Rules:
    """Rules of a robots.txt; lines that do not parse are ignored (RFC 9309 2.2)."""
    return Rules(Protego.parse(body[:MAX_OWN_BYTES].decode("utf-8-sig", "replace")))


def rules_for_status(status: int, body: bytes) -> Rules:
    """RFC 9309 2.3.1: 2xx is parsed, 4xx allows everything, 429 and 5xx forbid everything for now."""
    if 200 <= status < 300:
        return parse_rules(body)
    if status == 429 or status >= 500:
        return Rules(unavailable=GiveUp(RejectReason.ROBOTS, f"robots.txt: status {status}", transient=True))
    return ALLOW_ALL


class RulesCache:
    """Rules on disk, below the folder of their host, valid for a day."""

    def __init__(self, folder: Path, origin: str) -> None:
        self._kept = KeptAnswer(folder, "robots", origin)

    def load(self) -> Rules | None:
        """Rules that are not older than a day, or None."""
        kept = self._kept.load()
        return rules_for_status(*kept) if kept else None

    def save(self, status: int, body: bytes) -> None:
        """Keep an answer; one that forbids everything for now is never kept."""
        if not rules_for_status(status, body).unavailable:
            self._kept.save(status, body)


_WITH_VALUE: Final = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_FORBIDDING: Final = frozenset({"noai", "noimageai"})


def forbids_ai(tags: Iterable[str]) -> bool:
    """Whether `X-Robots-Tag` headers say noai or noimageai to everyone or to this program.

    A tag may begin with the name of a robot, which then counts for the rest of that header (`otherbot: noai`).
    """
    for header in tags:
        for_us = True
        for part in header.lower().split(","):
            name, colon, rest = part.strip().partition(":")
            directive = part.strip()
            if colon and name.strip() not in _WITH_VALUE:
                for_us = name.strip() in {AGENT, "*"}
                directive = rest.strip()
            if for_us and directive in _FORBIDDING:
                return True
    return False
