"""Every connection of every client library is opened here, below the library: looked up once, checked, connected.

A library that resolves a name by itself after a check could get another answer (DNS rebinding). Here the address that
was checked is the one that is connected to. What is left to a library is the name that it asks for: redirects too.
"""

import socket
import time
from collections.abc import Iterable
from typing import Final

from yarl import URL

from vlm_assets.transfer.addresses import (
    AddressInfo,
    AddressPolicy,
    PrivateAddressError,
    literal_address,
    refusal,
)
from vlm_assets.transfer.proxies import Proxies
from vlm_assets.words.contexts import SourceSettings

_CHECKED_S: Final = 300.0
_INSIDE: Final = ("localhost", "internal", "local", "lan", "home.arpa", "intranet", "corp")
"""Ends of names that no public name server knows: special use (RFC 6761, 6762, 8375), or used so by custom."""


class Guard:
    """Opens connections for one policy. For threads."""

    def __init__(self, policy: AddressPolicy, proxies: Proxies | None = None) -> None:
        """`proxies` may be anywhere: who runs the machine has named them."""
        self.policy = policy
        self.proxies = proxies or Proxies({})
        self._fine: dict[str, float] = {}
        """Names that were checked, and until when that holds."""

    @classmethod
    def of(cls, settings: SourceSettings) -> "Guard":
        """The guard of these settings.

        Raises:
            ConfigError: a proxy that is none.
        """
        return cls(AddressPolicy(settings.allow_private_hosts), Proxies.of(settings))

    def proxy_for(self, url: URL) -> URL | None:
        """The proxy to ask a URL through, where the URL may be asked at all; None: none.

        Raises:
            PrivateAddressError: the URL's host is an address that is not allowed, or a name of one through a proxy.
        """
        self.policy.check_literal(url)
        host, port = url.raw_host or "", url.port or 80
        proxy = self.proxies.for_url(url)
        if proxy is not None:
            self._check_behind_proxy(host, port)
        elif self._is_proxy_host(host):
            # The operator named it to be asked for others, not to be asked itself by whoever writes a list.
            self.policy.of_name(host, _look_up(host, port, socket.AF_UNSPEC))
        return proxy

    def _is_proxy_host(self, host: str) -> bool:
        return any(_plain(host) == _plain(named) for named, _ in self.proxies.endpoints)

    def _check_behind_proxy(self, host: str, port: int) -> None:
        """Refuse a name that leads, as far as this machine can tell, to an address that is not allowed."""
        if literal_address(host) is not None or self._fine.get(host, 0.0) > time.monotonic():
            return
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            if _is_inside(host) and not self.policy.allows_name(host):
                raise PrivateAddressError(
                    f"{host} is a name of private networks that VLM_ALLOW_PRIVATE_HOSTS does not list"
                ) from None
            return  # the proxy may know it
        fine = self.policy.of_name(host, infos)
        local = _plain(host) == "localhost" or _plain(host).endswith(".localhost")
        if len(fine) < len(infos) and not local:  # it could choose the one that is refused
            other = next(info for info in infos if info not in fine)
            raise PrivateAddressError(refusal(host, other[4][0]))
        self._fine[host] = time.monotonic() + _CHECKED_S

    @property
    def proxy_addresses(self) -> frozenset[str]:
        """Proxies that are named by address."""
        hosts = (literal_address(host) for host, _ in self.proxies.endpoints)
        return frozenset(str(host) for host in hosts if host is not None)

    def addresses(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> list[AddressInfo]:
        """The addresses of a host that may be connected to.

        Raises:
            PrivateAddressError: it has some, and none may.
            OSError: the name does not resolve.
        """
        infos = _look_up(host, port, family)
        return list(infos) if (host, port) in self.proxies.endpoints else self.policy.of_name(host, infos)

    def connect(
        self, host: str, port: int, timeout_s: float | None, options: Iterable[tuple[int, int, int]] = ()
    ) -> socket.socket:
        """A connection to the first address that answers; a blocking socket with that timeout.

        Raises:
            PrivateAddressError: no address of the host is allowed.
            OSError: the name does not resolve, or no address answers.
        """
        failed: OSError = OSError(f"{host} has no address")
        for family, kind, proto, _, address in self.addresses(host.strip("[]"), port):
            made = socket.socket(family, kind, proto)
            try:
                made.settimeout(timeout_s)
                for option in options:
                    made.setsockopt(*option)
                made.connect(address)
            except OSError as error:
                made.close()
                failed = error
            else:
                return made
        raise failed


def _plain(host: str) -> str:
    return host.rstrip(".").lower()


def _is_inside(host: str) -> bool:
    name = _plain(host)
    return "." not in name or any(name.endswith(f".{end}") for end in _INSIDE)


def _look_up(host: str, port: int, family: int) -> list[AddressInfo]:
    try:
        return list(
            socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        )
    except socket.gaierror:
        # With no address but loopback's, AI_ADDRCONFIG finds nothing at all.
        return list(socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM))
