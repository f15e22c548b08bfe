"""One visit to one URL: the request, and what is wanted of its answer."""

import asyncio
import hashlib
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from yarl import URL

from vlm_assets.transfer.addresses import PrivateAddressError
from vlm_assets.transfer.guest import Guest
from vlm_assets.transfer.http import REDIRECTS, fault_of, next_hop
from vlm_assets.transfer.politeness import Accept, GiveUp, Retry, judge_fault, judge_status
from vlm_assets.transfer.robots import forbids_ai
from vlm_assets.transfer.schedule import Job
from vlm_assets.transfer.sniff import not_an_image
from vlm_assets.transfer.spool import INLINE_BYTES
from vlm_assets.transfer.urls import UrlError
from vlm_assets.words.errors import RejectReason

_DRAINED_BYTES: Final = 64 * 1024
"""Error pages up to this size are read, so that the connection can be used again."""


@dataclass(frozen=True, slots=True)
class Body:
    """What one URL gave, in memory or in a file of the spool's folder."""

    content: bytes | Path
    size_bytes: int
    sha256: str
    """Of a body with a declared hash; else empty."""


class Visits:
    """Asks for the URLs of one fetch, each time one request; bodies of some size go to files in `folder`."""

    def __init__(self, guest: Guest, folder: Path) -> None:
        self._guest = guest
        self._settings = guest.settings
        self._policy = guest.policy
        self._patience = guest.patience
        self._meter = guest.meter
        self._folder = folder

    async def ask(self, job: Job) -> Body | URL | GiveUp | Retry:
        """Send the request and read what is wanted of its answer."""
        tries = job.failures + 1
        self._guest.count()
        try:
            async with (
                asyncio.timeout(self._patience.max_wait_s),
                self._guest.session.get(job.url, allow_redirects=False) as response,
            ):
                return await self._read(job, response, tries)
        except UrlError as error:
            return GiveUp(RejectReason.BAD_URL, f"redirect: {error}")
        except PrivateAddressError as error:
            return GiveUp(RejectReason.PRIVATE_ADDRESS, str(error))
        except aiohttp.InvalidURL:
            return GiveUp(RejectReason.BAD_URL, "no valid URL")
        except (aiohttp.ClientError, OSError) as error:
            fault = fault_of(error)
            if fault is None:
                raise
            verdict = judge_fault(
                fault.fault, fault.detail, tries=tries, patience=self._patience, jitter=random.random()
            )
            return verdict if isinstance(verdict, GiveUp | Retry) else GiveUp(RejectReason.UNREACHABLE, "")

    async def _read(
        self, job: Job, response: aiohttp.ClientResponse, tries: int
    ) -> Body | URL | GiveUp | Retry:
        verdict = judge_status(
            response.status, response.headers, tries=tries, patience=self._patience, jitter=random.random()
        )
        length = response.content_length
        if response.status != 200 and length is not None and length <= _DRAINED_BYTES:
            await response.read()
        if response.status in REDIRECTS:
            return next_hop(job.url, response.headers.get("Location"), self._policy)
        if not isinstance(verdict, Accept):
            return verdict
        if self._settings.obey_robots and forbids_ai(response.headers.getall("X-Robots-Tag", ())):
            return GiveUp(RejectReason.NOAI, "X-Robots-Tag")
        if response.status not in {200, 203}:
            return GiveUp(RejectReason.HTTP_ERROR, f"status {response.status}")
        cap = self._settings.max_image_bytes
        if length is not None and length > cap:
            return GiveUp(RejectReason.TOO_MANY_BYTES, f"{length} bytes announced, the cap is {cap}")
        return await self._body(job, response, cap)

    async def _body(self, job: Job, response: aiohttp.ClientResponse, cap: int) -> Body | GiveUp:
        """The body, in memory or, from `INLINE_BYTES` on, in a file; refused as soon as it cannot be right."""
        content = response.content
        chunks: list[bytes] = []
        size = 0
        hasher = hashlib.sha256() if job.declared else None
        part = self._folder / f"{job.index}.part"
        file = None
        try:
            while chunk := await content.readany():
                if size == 0 and (what := not_an_image(chunk, response.headers.get("Content-Type", ""))):
                    return GiveUp(RejectReason.NOT_AN_IMAGE, f"is {what}")
                size += len(chunk)
                self._meter.received(len(chunk))
                if size > cap:
                    return GiveUp(RejectReason.TOO_MANY_BYTES, f"more than {cap} bytes")
                if hasher is not None:
                    hasher.update(chunk)
                if file is None and size > INLINE_BYTES:
                    file = part.open("wb")
                    file.writelines(chunks)
                    chunks.clear()
                if file is not None:
                    file.write(chunk)
                else:
                    chunks.append(chunk)
            if size == 0:
                return GiveUp(RejectReason.EMPTY, "no bytes")
            digest = hasher.hexdigest() if hasher is not None else ""
            if file is None:
                return Body(chunks[0] if len(chunks) == 1 else b"".join(chunks), size, digest)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
            return Body(part, size, digest)
        finally:
            if file is not None:
                file.close()
