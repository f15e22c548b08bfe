"""Which addresses may be connected to: public ones, and those that the settings list.

On a cloud machine a URL into 169.254.169.254 reads the instance's credentials, so every address is checked after
DNS resolution, at every connection, whatever name or spelling led to it (`guard` opens them).
"""

import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from yarl import URL

from vlm_assets.words.errors import SourceError

Address = IPv4Address | IPv6Address
AddressInfo = tuple[Any, ...]
"""As `socket.getaddrinfo` has it: family, kind, protocol, canonical name, and the socket's address."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_UNICAST: Final = IPv6Network("2000::/3")
"""All of IPv6 that is given out to the public."""
_REFUSED: Final = (
    IPv4Network(
        "192.0.0.0/24"
    ),  # for protocols, RFC 6890; Oracle's machines are told their credentials at .192
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv4Network("168.63.129.16/32"),  # looks public, and is Azure's own service to each of its machines
    IPv6Network("3fff::/20"),  # for documents, RFC 9637
)
_ISATAP: Final = (0x00005EFE, 0x02005EFE)
"""Upper halves of interface identifiers that end in an IPv4 address (RFC 5214)."""


class PrivateAddressError(SourceError):
    """The host leads to an address that may not be connected to."""


def embedded(address: Address) -> tuple[Address, ...]:
    """The address itself and every IPv4 address that it carries (mapped, compatible, 6to4, Teredo, ISATAP, NAT64)."""
    if isinstance(address, IPv4Address):
        return (address,)
    inner: list[Address] = [address]
    if address.ipv4_mapped:
        inner.append(address.ipv4_mapped)
    elif int(address) >> 32 == 0 and int(address) > 1:
        inner.append(IPv4Address(int(address)))
    if address.sixtofour:
        inner.append(address.sixtofour)
    if address.teredo:
        inner.extend(address.teredo)
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    if address in _NAT64:
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(inner)


def is_public(address: Address) -> bool:
    """Whether an address, and every IPv4 address inside it, is an ordinary one of the public internet."""
    parts = embedded(address)
    # A mapped or translated address is judged by the IPv4 address that it stands for.
    judged = parts[1:] if len(parts) > 1 and (address in _NAT64 or _is_mapped(address)) else parts
    return all(
        part.is_global
        and (isinstance(part, IPv4Address) or part in _UNICAST)
        and not (part.is_multicast or part.is_reserved or part.is_link_local or part.is_unspecified)
        and not any(part in network for network in _REFUSED)
        for part in judged
    )


def _is_mapped(address: Address) -> bool:
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None


def literal_address(host: str) -> Address | None:
    """The address that a host text means to any resolver: also `127.1`, `0x7f.1`, `017700000001`, `2130706433`."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host.rstrip(".")))
    except (OSError, ValueError):
        return None


def refusal(host: str, address: object) -> str:
    """Says which host leads to which address that may not be connected to, and which setting would allow it."""
    what = host if host == str(address) else f"{host} leads to {address}, which"
    return (
        f"{what} is a private or reserved address that VLM_ALLOW_PRIVATE_HOSTS does not list; if it is yours, "
        f"add to .env: VLM_ALLOW_PRIVATE_HOSTS={host}"
    )


class AddressPolicy:
    """The rule of one run: public addresses, and the hosts, addresses and networks that `allowed` lists."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in allowed:
            text = entry.strip().strip("[]").rstrip(".").lower()
            try:
                self._networks.append(ip_network(text, strict=False))
            except ValueError:
                self._names.add(text)

    def allows_name(self, host: str) -> bool:
        """Whether the settings list this host name: then it may lead anywhere."""
        return host.rstrip(".").lower() in self._names

    def allows(self, address: Address) -> bool:
        """Whether an address may be connected to."""
        return self.lists(address) or is_public(address)

    def of_name(self, host: str, infos: Sequence[AddressInfo]) -> list[AddressInfo]:
        """Those of a name's addresses that may be connected to.

        Raises:
            PrivateAddressError: it has some, and none may.
        """
        if self.allows_name(host):
            return list(infos)
        fine = [info for info in infos if self.allows(ip_address(str(info[4][0])))]
        if infos and not fine:
            raise PrivateAddressError(refusal(host, infos[0][4][0]))
        return fine

    def lists(self, address: Address) -> bool:
        """Whether the settings list this address, or the network it lies in."""
        return any(
            part.version == network.version and part in network
            for part in embedded(address)
            for network in self._networks
        )

    def needs_no_contact(self, host: str) -> bool:
        """Whether a host is loopback, listed as private, or never asked: nobody is there to read a contact."""
        name = host.rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost") or self.allows_name(name):
            return True
        address = literal_address(name)
        return address is not None and (self.lists(address) or not is_public(address))

    def check_literal(self, url: URL) -> None:
        """Refuse a URL whose host is, in any spelling, an address that is not allowed.

        Raises:
            PrivateAddressError: it is.
        """
        host = url.raw_host or ""
        address = literal_address(host)
        if address is not None and not self.allows(address) and not self.allows_name(host):
            raise PrivateAddressError(refusal(host, address))
