"""Tries that follow each other quickly, apart from how long one answer is waited for."""

from collections.abc import Callable
from typing import Any

from vlm_assets.settings import Settings
from vlm_assets.transfer.politeness import Patience


def be_brisk(replace: Callable[[type, str, Any], None] = setattr) -> None:
    """From now on tries follow as if the timeout were a second; `replace` as `monkeypatch.setattr`.

    In the product one number makes both short, the pauses and the timeout; a timeout that is short on a busy machine
    is a request that fails.
    """
    one_second = Patience.of(Settings(_env_file=None, http_timeout_s=1.0))

    def of(cls: type[Patience], settings: Settings) -> Patience:
        return cls(settings.http_attempts, one_second.base_s, one_second.cap_s, one_second.max_wait_s)

    replace(Patience, "of", classmethod(of))
