"""What listing and fetching are given, over the few settings that sources may look at."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr


class SourceSettings(Protocol):
    """The settings that a kind of source may look at: limits and manners of the network, and of one image."""

    @property
    def allow_private_hosts(self) -> tuple[str, ...]:
        """Hosts, addresses or networks that may be private or loopback."""
        ...

    @property
    def ca_bundle(self) -> Path | None:
        """Extra CA certificates in PEM."""
        ...

    @property
    def contact(self) -> str:
        """E-mail or URL that the User-Agent names."""
        ...

    @property
    def github_token(self) -> SecretStr | None:
        """Of GitHub."""
        ...

    @property
    def hf_token(self) -> SecretStr | None:
        """Of Hugging Face."""
        ...

    @property
    def http_attempts(self) -> int:
        """Tries of one request before it is a transient reject."""
        ...

    @property
    def http_concurrency(self) -> int:
        """Requests in flight in one run, over all hosts."""
        ...

    @property
    def http_per_host(self) -> int:
        """Requests in flight to one host, on this machine."""
        ...

    @property
    def http_timeout_s(self) -> float:
        """Without a byte for so long, a request has failed."""
        ...

    @property
    def max_image_bytes(self) -> int:
        """Larger files are rejects."""
        ...

    @property
    def max_pixels(self) -> int:
        """Larger images are rejects."""
        ...

    @property
    def heeds_opt_outs(self) -> bool:
        """Whether TDMRep and ai.txt are obeyed."""
        ...

    @property
    def obey_robots(self) -> bool:
        """Whether robots.txt and X-Robots-Tag are obeyed."""
        ...

    @property
    def proxy(self) -> SecretStr | None:
        """URL of the outgoing proxy, or `none`; unset: the environment's."""
        ...

    @property
    def worker_count(self) -> int:
        """Threads or processes to work with."""
        ...


@dataclass(frozen=True, slots=True)
class ListContext:
    """What listing may use."""

    settings: SourceSettings
    cache_dir: Path
    """Of this source, under the data root's cache."""
    locks_dir: Path
    """For slots and rate limits shared by all runs on the machine."""
    previous_buckets: Mapping[str, int] = field(default_factory=dict)
    """`Listed.buckets` of the last listing: must be kept, or every slice changes."""
    previous_revision: str | None = None
    keeps_revision: str | None = None
    """The last listing's, where all that it was made from besides is as it was: under the same revision a kind may
    say that nothing has changed."""
    force: bool = False
    """Ask upstream again even where the cache would do."""


@dataclass(frozen=True, slots=True)
class FetchContext:
    """What fetching one slice may use."""

    settings: SourceSettings
    source: str
    slice_name: str
    revision: str
    attributes: Mapping[str, Any]
    cache_dir: Path
    """Of this source; downloads that several slices share lie here."""
    spool_dir: Path
    """Of this slice; progress that survives a kill. Removed by the caller after the commit."""
    locks_dir: Path
    force: bool = False
    """Ignore what the cache holds."""
    max_records: int | None = None
    """Test mode: no more records than this are wanted."""
    tombstoned_urls: frozenset[str] = frozenset()
    """Never to be requested. No item is of one; what redirects to one is a reject with reason `tombstoned`."""
    retried: Collection[str] = frozenset()
    """Keys of items that the last version has as transient rejects: no loss where they stay so."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    progress: Callable[[int, int], None] = lambda items, size_bytes: None  # noqa: ARG005 - does nothing
    """Called with the numbers of items and bytes since the last call."""
    measure: Callable[[str, float], None] = lambda name, value: None  # noqa: ARG005 - does nothing
    """Adds to a named figure in `run.json` (requests, bytes, pages, seconds)."""
