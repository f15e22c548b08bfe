"""The guard for asyncio, as aiohttp takes one; apart, for a crawl has no aiohttp to load."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from aiohappyeyeballs import start_connection
from aiohttp.abc import AbstractResolver, ResolveResult

from vlm_assets.transfer.addresses import PrivateAddressError, refusal
from vlm_assets.transfer.guard import Guard


class GuardedResolver(AbstractResolver):
    """Names become the allowed ones of their addresses."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._granted: set[str] = set(guard.proxy_addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All allowed addresses of a name.

        Raises:
            PrivateAddressError: every address of the name is refused.
            OSError: the name does not resolve.
        """
        # In a thread of the loop's own executor: names that hang keep no other name waiting.
        infos = await asyncio.to_thread(self._guard.addresses, host, port, family)
        self._granted.update(str(info[4][0]) for info in infos)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
            for found, _, proto, _, address in infos
        ]

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connection to one of the allowed addresses of a name, or to a literal address that is allowed.

        Raises:
            PrivateAddressError: none is allowed.
            OSError: the name does not resolve, or no address answers.
        """
        infos = await asyncio.to_thread(self._guard.addresses, host, port)
        self._granted.update(str(info[4][0]) for info in infos)
        return await start_connection(infos, happy_eyeballs_delay=0.25, socket_factory=self.socket_for)

    async def close(self) -> None:
        """Nothing is held."""

    def socket_for(self, info: Sequence[Any]) -> socket.socket:
        """A socket for one connection, after a last look at the address it will go to.

        Raises:
            PrivateAddressError: an address that no earlier check should have let through.
        """
        family, kind, proto, _, address = info
        text = str(address[0])
        if text not in self._granted and not self._guard.policy.allows(ip_address(text)):
            raise PrivateAddressError(refusal(text, text))
        made = socket.socket(family=family, type=kind, proto=proto)
        made.setblocking(False)  # noqa: FBT003 - the only way to say it
        return made
