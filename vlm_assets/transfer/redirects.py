"""Where an answer leads, and what a chain of redirects remembers while it lasts."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from aiohttp import CookieJar
from yarl import URL

from vlm_assets.transfer.addresses import AddressPolicy
from vlm_assets.transfer.answers import Headers
from vlm_assets.transfer.urls import UrlError, origin_of, wire_url

MAX_REDIRECTS: Final = 20
"""As the Fetch standard has it."""
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_KEPT_ACROSS_ORIGINS: Final = frozenset({"accept", "range", "if-range", "user-agent"})
_MOST_COOKIE_BYTES: Final = 16 * 1024


class Trail:
    """One request's way through redirects. Cookies set on the way are sent on it, as browsers do, and forgotten."""

    def __init__(self) -> None:
        self.hops = 0
        self._seen: Counter[tuple[str, str]] = Counter()
        self._jar: CookieJar | None = None

    def follow(self, current: URL, headers: Headers, policy: AddressPolicy) -> URL:
        """The next URL.

        Raises:
            UrlError: it leads nowhere, in a circle, or too far.
            PrivateAddressError: it leads to a literal address that is not allowed.
        """
        self._seen[str(current), self._cookie(current)] += 1
        self._keep(current, headers)
        target = next_hop(current, headers.get("Location"), policy)
        self.hops += 1
        # Twice, because some servers send a client to the same place until something is ready there.
        if self._seen[str(target), self._cookie(target)] > 1:
            raise UrlError("redirects in a circle")
        if self.hops > MAX_REDIRECTS:
            raise UrlError(f"more than {MAX_REDIRECTS} redirects")
        return target

    def headers(self, url: URL) -> dict[str, str]:
        """What to send to this URL besides the caller's own headers."""
        cookie = self._cookie(url)
        return {"Cookie": cookie} if cookie else {}

    def _keep(self, current: URL, headers: Headers) -> None:
        said = headers.getall("Set-Cookie", ())
        if not said or sum(map(len, said)) > _MOST_COOKIE_BYTES:
            return
        if self._jar is None:
            self._jar = CookieJar(unsafe=True)  # of addresses too
        self._jar.update_cookies_from_headers(said, current)

    def _cookie(self, url: URL) -> str:
        if self._jar is None:
            return ""
        return "; ".join(f"{one.key}={one.coded_value}" for one in self._jar.filter_cookies(url).values())


def next_hop(current: URL, location: str | None, policy: AddressPolicy) -> URL:
    """Where a redirect leads.

    Raises:
        UrlError: nowhere, or to something that is no http(s) URL.
        PrivateAddressError: to a literal address that is not allowed.
    """
    if not location:
        raise UrlError("a redirect without a target")
    raw = location.encode("utf-8", "surrogateescape")
    try:
        target = wire_url(raw.decode(), base=current)
    except UnicodeDecodeError:
        # Bytes of an old code page: the server that wrote them understands them, whatever they are.
        plain = "".join(chr(byte) if byte < 128 else f"%{byte:02X}" for byte in raw)
        target = wire_url(plain, base=current)
    policy.check_literal(target)
    return target


def headers_for_hop(headers: Mapping[str, str], first: URL, current: URL) -> dict[str, str]:
    """The caller's headers for one hop: credentials and the like only for the origin they were given for."""
    if origin_of(first) == origin_of(current):
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() in _KEPT_ACROSS_ORIGINS}
