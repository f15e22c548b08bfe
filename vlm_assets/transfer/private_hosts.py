"""Private hosts of a list of URLs that the settings do not allow: told before anything is fetched."""

from typing import Final

from vlm_assets.transfer.addresses import AddressPolicy, literal_address
from vlm_assets.transfer.urls import UrlError, wire_url
from vlm_assets.words.contexts import SourceSettings
from vlm_assets.words.counts import so_many

_TOLD_HOSTS: Final = 5
_MOST_KNOWN: Final = 10_000
_LOCALHOST: Final = "localhost"


class PrivateHosts:
    """Counts URLs whose host is a private address as it is written, one at a time; asks no name server."""

    def __init__(self, settings: SourceSettings) -> None:
        self._policy = AddressPolicy(settings.allow_private_hosts)
        self._known: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def __call__(self, url: str) -> None:
        """Takes in a URL; quick for one whose host begins with a letter."""
        start = url.find("://") + 3
        first = url[start : start + 1]
        if not (first.isdigit() or first == "[" or url.startswith(_LOCALHOST, start)):
            return
        authority = url[start:].partition("/")[0]
        host = self._known.get(authority)
        if host is None:
            host = self._refused(url)
            if len(self._known) < _MOST_KNOWN:
                self._known[authority] = host
        if host:
            self._counts[host] = self._counts.get(host, 0) + 1

    @property
    def hints(self) -> list[str]:
        """A line that names the setting with its value, where there are such URLs."""
        if not self._counts:
            return []
        hosts = sorted(self._counts, key=lambda host: (-self._counts[host], host))
        more = f", {len(hosts):,} of them," if len(hosts) > _TOLD_HOSTS else ""
        urls = so_many(sum(self._counts.values()), "URL leads", "URLs lead")
        named = ",".join(hosts[:_TOLD_HOSTS])
        told = f"{urls} to private hosts{more} which are asked only if .env says that they are yours: "
        return [f"{told}VLM_ALLOW_PRIVATE_HOSTS={named}"]

    def _refused(self, url: str) -> str:
        """The host of a URL that the policy refuses unasked; "" of any other."""
        try:
            host = wire_url(url).raw_host or ""
        except UrlError:
            return ""  # never asked: a reject of its own
        if self._policy.allows_name(host):
            return ""
        address = literal_address("127.0.0.1" if host.rstrip(".").lower() == _LOCALHOST else host)
        return host.strip("[]") if address is not None and not self._policy.allows(address) else ""
