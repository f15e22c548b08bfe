"""One visit to one URL: the request, and what is wanted of its answer."""

import asyncio
import random
from pathlib import Path
from typing import Final

import aiohttp
from yarl import URL

from vlm_assets.transfer.addresses import PrivateAddressError
from vlm_assets.transfer.answers import Answer, is_whole, length_said
from vlm_assets.transfer.bodies import Body, Sink, without_codings
from vlm_assets.transfer.encodings import OverCapError, codings_of
from vlm_assets.transfer.guest import Guest
from vlm_assets.transfer.http import FaultError
from vlm_assets.transfer.opt_outs import TDM_HEADER, reserves
from vlm_assets.transfer.politeness import Accept, AskLeniently, GiveUp, Retry, judge_status
from vlm_assets.transfer.redirects import REDIRECTS
from vlm_assets.transfer.robots import forbids_ai
from vlm_assets.transfer.schedule import Job
from vlm_assets.transfer.sniff import not_an_image
from vlm_assets.transfer.urls import UrlError
from vlm_assets.words.errors import RejectReason

_DRAINED_BYTES: Final = 64 * 1024
"""Error pages up to this size are read, so that the connection can be used again."""
_NO_CONTENT: Final = frozenset({204, 205})
_HEAD_BYTES: Final = 4096


Outcome = Body | URL | GiveUp | Retry | AskLeniently
"""Of one visit; a URL is where it leads on."""


class Visits:
    """Asks for the URLs of one fetch, each time one request; bodies of some size go to files in `folder`."""

    def __init__(self, guest: Guest, folder: Path) -> None:
        self._guest = guest
        self._settings = guest.settings
        self._policy = guest.policy
        self._patience = guest.patience
        self._meter = guest.meter
        self._folder = folder

    async def ask(self, job: Job) -> Outcome:
        """Send the request and read what is wanted of its answer."""
        tries = job.failures + 1
        try:
            async with (
                asyncio.timeout(self._patience.max_wait_s),
                self._guest.send(job.url, headers=job.trail.headers(job.url), lenient=job.lenient) as answer,
            ):
                return await self._read(job, answer, tries)
        except UrlError as error:
            return GiveUp(RejectReason.BAD_URL, f"redirect: {error}")
        except PrivateAddressError as error:
            return GiveUp(RejectReason.PRIVATE_ADDRESS, str(error))
        except aiohttp.InvalidURL:
            return GiveUp(RejectReason.BAD_URL, "no valid URL")
        except (aiohttp.ClientError, OSError, FaultError) as error:
            return self._guest.judge_error(error, job.url, tries)

    async def _read(self, job: Job, answer: Answer, tries: int) -> Outcome:
        verdict = judge_status(
            answer.status, answer.headers, tries=tries, patience=self._patience, jitter=random.random()
        )
        redirected = answer.status in REDIRECTS
        if redirected or not isinstance(verdict, Accept):
            await _drain(answer)
        if redirected:
            return job.trail.follow(job.url, answer.headers, self._policy)
        if not isinstance(verdict, Accept):
            return verdict
        if self._settings.heeds_opt_outs and reserves(answer.headers.getall(TDM_HEADER, ())):
            return GiveUp(RejectReason.TDM_RESERVED, TDM_HEADER)
        if self._settings.obey_robots and forbids_ai(answer.headers.getall("X-Robots-Tag", ())):
            return GiveUp(RejectReason.NOAI, "X-Robots-Tag")
        if answer.status in _NO_CONTENT:
            return GiveUp(RejectReason.HTTP_ERROR, f"status {answer.status}: nothing in it")
        if answer.status == 206 and not is_whole(answer.headers):
            named = answer.headers["Content-Range"][:80]
            return GiveUp(RejectReason.HTTP_ERROR, f"status 206 though all was asked for: {named}")
        cap, length = self._settings.max_image_bytes, length_said(answer.headers)
        if length is not None and length > cap:
            return GiveUp(RejectReason.TOO_MANY_BYTES, f"{length} bytes announced, the cap is {cap}")
        return await self._body(job, answer, cap)

    async def _body(self, job: Job, answer: Answer, cap: int) -> Body | GiveUp:
        """The body, refused as soon as it cannot be right."""
        codings, kind = codings_of(answer.headers), answer.headers.get("Content-Type", "")
        part = self._folder / f"{job.index}.part"
        content = answer.content
        try:
            with Sink(part, cap, hashed=bool(job.declared) and not codings) as sink:
                while chunk := await content.readany():
                    if not codings and sink.size_bytes == 0 and (what := not_an_image(chunk, kind)):
                        return GiveUp(RejectReason.NOT_AN_IMAGE, f"is {what}")
                    self._meter.received(len(chunk))
                    sink.add(chunk)
                body = await asyncio.to_thread(sink.body) if sink.on_disk else sink.body()
            if codings:
                body = await asyncio.to_thread(
                    without_codings, body, codings, part, cap, hashed=bool(job.declared)
                )
                with body.opened() as file:
                    if what := not_an_image(file.read(_HEAD_BYTES), kind):
                        return GiveUp(RejectReason.NOT_AN_IMAGE, f"is {what}")
        except OverCapError:
            return GiveUp(RejectReason.TOO_MANY_BYTES, f"more than {cap} bytes")
        return body if body.size_bytes else GiveUp(RejectReason.EMPTY, "no bytes")


async def _drain(answer: Answer) -> None:
    """Read a short body that nobody wants."""
    length = length_said(answer.headers)
    if length is not None and length <= _DRAINED_BYTES:
        while await answer.content.readany():
            pass
