"""A newspaper archive that answers when a test says so, not after a time."""

import threading
from collections.abc import Callable
from typing import Any

from vlm_assets.demo.newspaper_site import NewspaperSite
from vlm_assets.demo.services.base import Reply, Request
from vlm_assets_tests.waiting import until


class HeldSite(NewspaperSite):
    """Answers a request when `opens` says so, asked with the request and how many of its kind came before.

    `arrived` counts them. Only requests whose path ends with `kind` are held.
    """

    def __init__(self, opens: "Callable[[HeldSite, int], bool]", kind: str, *args: Any) -> None:
        super().__init__(*args)
        self.arrived = 0
        self.released = threading.Event()
        self._opens = opens
        self._kind = kind

    def _answer(self, request: Request) -> Reply:
        if request.path.endswith(self._kind):
            with self._lock:
                number = self.arrived
                self.arrived += 1
            until(lambda: self.released.is_set() or self._opens(self, number), f"leave for {request.path}")
        return super()._answer(request)

    def stop(self) -> None:
        self.released.set()
        super().stop()


def two_at_once(site: HeldSite, _number: int) -> bool:
    """Opens when two requests have been under way at once."""
    return site.most_at_once >= 2


def first(count: int) -> Callable[[HeldSite, int], bool]:
    """Opens for so many."""
    return lambda _site, number: number < count
