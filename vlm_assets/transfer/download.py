"""Many URLs into a spool: in order for the caller, at the hosts' pace on the network, resumable after kill -9."""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from yarl import URL

from vlm_assets.transfer.addresses import AddressPolicy, PrivateAddressError
from vlm_assets.transfer.bodies import Body
from vlm_assets.transfer.budget import BudgetSpentError, present_meter
from vlm_assets.transfer.contact import require_contact
from vlm_assets.transfer.guest import Guest
from vlm_assets.transfer.http import new_loop_factory, refusal_of
from vlm_assets.transfer.politeness import AskLeniently, GiveUp, HostLimits, Patience, Retry
from vlm_assets.transfer.postponed import PutOff
from vlm_assets.transfer.schedule import EVIDENCE_URLS, Host, Job, Schedule, Turn
from vlm_assets.transfer.spool import Spool, Stored
from vlm_assets.transfer.taken_urls import TakenUrls
from vlm_assets.transfer.urls import UrlError, host_key, shown_url, wire_url
from vlm_assets.transfer.visits import Outcome, Visits
from vlm_assets.transfer.wire import Wire
from vlm_assets.words.clock import unix_now
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import PostponedError, Reject, RejectReason, SourceError

_SYNC_IMAGES: Final = 1000
_SYNC_S: Final = 10.0
_log = logging.getLogger("vlm_assets.transfer")


@dataclass(frozen=True, slots=True)
class UrlItem:
    """One URL to fetch. `key` names it in the spool and in its reject; `sha256` (hex) is verified when declared."""

    key: str
    url: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The body of one URL: encoded bytes, or (above 4 MiB) a file in the spool's folder that holds just them."""

    key: str
    body: bytes | Path
    size_bytes: int


def fetch_urls(
    items: Sequence[UrlItem], context: FetchContext, limits: HostLimits
) -> Iterator[Fetched | Reject]:
    """One body or reject an item, in the order of `items`, while the rest is still being downloaded.

    What an earlier, killed process spooled under `context.spool_dir` is not asked for again, but for transient
    rejects, once their host no longer wants to be left alone. Keys are unique. Bodies wait on disk, not in memory.

    Raises:
        ConfigError: no contact in the settings, and the hosts are not local.
        SourceError: cancelled.
        PostponedError: hosts were given up for now; everything else has arrived and is kept, as above.
        BudgetSpentError: the night's budget of the source is used up; what has arrived is kept.
        DiskFullError, StoreError: the spool cannot be written.
    """
    require_contact(context.settings, (item.url for item in items))
    with closing(Spool(context.spool_dir, forced=context.force)) as spool:
        download = _Download(items, context, limits, spool)
        thread = threading.Thread(target=download.run, name=f"fetch {context.slice_name}", daemon=True)
        thread.start()
        try:
            for index, item in enumerate(items):
                download.wait_for(index)
                yield download.result(index, item)
            spool.end()
        finally:
            download.stop()
            thread.join()
            download.report()
            download.measure()


class _Download:
    """The event loop's side and the caller's side of one `fetch_urls`."""

    def __init__(
        self, items: Sequence[UrlItem], context: FetchContext, limits: HostLimits, spool: Spool
    ) -> None:
        self._items = items
        self._context = context
        self._settings = context.settings
        self._limits = limits.tightened(context.settings)
        self._patience = Patience.of(context.settings)
        self._spool = spool
        self._policy = AddressPolicy(context.settings.allow_private_hosts)
        self._taken = TakenUrls(context.tombstoned_urls)
        self._results: list[Stored | Reject | None] = [None] * len(items)
        self._wanted = -1
        self._arrived = threading.Event()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._meter = present_meter()
        self._spent: BudgetSpentError | None = None
        self._done_items = self._done_bytes = 0
        self._reported_items = self._reported_bytes = 0
        self._retries = 0
        self._figures: dict[str, float] = {}
        self._over = False
        self._put_off = PutOff(dict(spool.hosts), self._patience)
        self._postponed: PostponedError | None = None

    # The caller's side.

    def wait_for(self, index: int) -> None:
        """Return when the item is done; report progress meanwhile."""
        self._wanted = index
        while self._results[index] is None:
            self._arrived.clear()
            over = self._over  # looked at first: what is missing after it will never come
            if self._results[index] is not None:
                break
            if self._error is not None:
                raise self._error
            if over and self._postponed is not None:
                raise self._postponed
            if over:
                raise SourceError(f"{self._items[index].key}: the download ended without it")
            if self._context.cancelled.is_set():
                done = self._done_items
                raise SourceError(
                    f"{self._context.source}/{self._context.slice_name}: cancelled with {done} of "
                    f"{so_many(len(self._items), 'URL')} done; they are kept for the next run"
                )
            self._arrived.wait(0.25)
            self.report()
        if index % 256 == 0:
            self.report()

    def result(self, index: int, item: UrlItem) -> Fetched | Reject:
        """The body or reject of a finished item."""
        result = self._results[index]
        if isinstance(result, Stored):
            return Fetched(item.key, self._spool.read(result), result.size_bytes)
        if result is None:
            raise SourceError(f"{item.key}: asked for before it was done")
        return result

    def report(self) -> None:
        """Tell the caller's callback what has been done since the last time."""
        items, size_bytes = self._done_items, self._done_bytes
        if (items, size_bytes) != (self._reported_items, self._reported_bytes):
            self._context.progress(items - self._reported_items, size_bytes - self._reported_bytes)
            self._reported_items, self._reported_bytes = items, size_bytes

    def measure(self) -> None:
        """Hand over the figures of the whole fetch."""
        for name, value in self._figures.items():
            self._context.measure(name, value)
        done, total = self._done_items, len(self._items)
        name = f"{self._context.source}/{self._context.slice_name}"
        _log.info("%s: %d of %d URLs done; %s", name, done, total, self._figures)

    def stop(self) -> None:
        """Make the loop's side end soon."""
        self._stop.set()

    # The loop's side.

    def run(self) -> None:
        """Body of the private thread."""
        try:
            with asyncio.Runner(loop_factory=new_loop_factory()) as runner:
                runner.run(self._main())
        except Exception as error:  # noqa: BLE001 - a worker boundary: re-raised in the caller's thread
            self._error = error
        finally:
            self._over = True
            self._arrived.set()

    async def _main(self) -> None:
        started = time.monotonic()
        async with Wire(self._settings) as wire:
            guest = Guest(self._settings, self._context.locks_dir, wire, self._meter)
            self._guest = guest
            self._visits = Visits(guest, self._spool.folder)
            self._schedule = Schedule(
                guest.gate,
                self._limits,
                self._patience,
                start_narrow=self._settings.obey_robots or self._settings.heeds_opt_outs,
                veto=lambda job: guest.refusal(job.url),
            )
            self._wake = asyncio.Event()
            self._plan()
            try:
                await self._dispatch()
            finally:
                self._schedule.close()
                guest.close()
        self._settle_put_off()
        self._spool.sync()
        self._figures = {
            "requests": guest.requests,
            "retries": self._retries,
            "download_bytes": self._done_bytes,
            "download_seconds": round(time.monotonic() - started, 3),
        }

    def _plan(self) -> None:
        """Settle what is known without asking; queue the rest, and last what failed on an earlier visit."""
        now = unix_now()
        again: list[tuple[str, Job]] = []
        for index, item in enumerate(self._items):
            if self._stop.is_set():
                return
            stored = self._spool.bodies.get(item.key)
            if stored is not None and stored.declared == item.sha256:
                self._finish(index, stored)
                continue
            known = self._spool.rejects.get(item.key)
            if known is not None and not (known.transient and self._put_off.is_over(known.not_before, now)):
                self._finish(index, known)
                continue
            try:
                url = wire_url(item.url)
                self._policy.check_literal(url)
            except (UrlError, PrivateAddressError) as error:
                refusal = refusal_of(error)
                self._reject(index, GiveUp(refusal.reason, refusal.detail))
                continue
            host, retried = host_key(url), item.key in self._context.retried
            job = Job(index, item.key, url, item.sha256, settled=retried or known is not None)
            if (note := self._put_off.still(host, now)) is not None:
                if known is not None:
                    self._finish(index, known)
                elif retried:
                    why = GiveUp(RejectReason.UNREACHABLE, note.detail, transient=True, not_before=note.until)
                    self._reject(index, why)
                else:
                    self._put_off.add_unvisited(host, index)
            elif job.settled:
                again.append((host, job))
            else:
                self._schedule.add(host, job)
        for host, job in again:
            self._schedule.add(host, job)

    async def _dispatch(self) -> None:
        turns: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        try:
            while not self._stop.is_set() and self._error is None:
                self._wake.clear()
                if self._spent is not None and not turns:
                    raise self._spent
                while (
                    self._spent is None
                    and len(turns) < self._settings.http_concurrency
                    and (turn := self._schedule.take(unix_now()))
                ):
                    task = loop.create_task(self._turn(turn))
                    turns.add(task)
                    task.add_done_callback(turns.discard)
                self._settle_unasked()
                if not turns and self._schedule.empty:
                    return
                await self._sync_when_due()
                pause_s = min(max(self._schedule.wake_at - unix_now(), 0.0), 0.25)
                if not self._wake.is_set() and (pause_s > 0 or turns):
                    timer = loop.call_later(pause_s or 0.25, self._wake.set)
                    await self._wake.wait()
                    timer.cancel()
        finally:
            for task in turns:
                task.cancel()
            await asyncio.gather(*turns, return_exceptions=True)
        if self._error is not None:
            raise self._error

    async def _sync_when_due(self) -> None:
        spool = self._spool
        if spool.unsynced and (
            spool.unsynced >= _SYNC_IMAGES or time.monotonic() - spool.synced_at > _SYNC_S
        ):
            await asyncio.to_thread(spool.sync)

    async def _turn(self, turn: Turn) -> None:
        """One request of one job, and what follows from its answer."""
        try:
            await self._visit(turn.host, turn.job)
        except BudgetSpentError as error:
            self._spent = error  # what is under way may end; what was not asked is no reject
        except Exception as error:  # noqa: BLE001 - a worker boundary: raised again by the dispatcher
            self._error = error
        finally:
            self._schedule.release(turn)
            self._wake.set()

    async def _visit(self, host: Host, job: Job) -> None:
        if self._settings.obey_robots and self._guest.known_rules(job.url) is None:
            rules, asked = await self._guest.rules(job.url, host.interval_s)
            host.interval_s = max(host.interval_s, rules.crawl_delay_s)
            self._again_later(host, job, rules.unavailable, asked=asked)
            return
        if self._guest.known_opt_outs(job.url) is None:
            why, asked = await self._guest.opt_outs(job.url, host.interval_s)
            self._again_later(host, job, why, asked=asked)
            return
        started = unix_now()
        outcome = await self._visits.ask(job)
        self._settle(host, job, outcome, started)

    def _again_later(self, host: Host, job: Job, why: GiveUp | None, *, asked: bool) -> None:
        """The turn went into what the origin says of itself: the URL waits for the next, as the rate demands."""
        known = self._guest.known_opt_outs(job.url) is not None
        if known and not host.waves and not host.throttled:
            host.width = host.limit
        if asked:
            host.resting_until = max(host.resting_until, unix_now() + host.interval_s)
        self._schedule.add(host.name, job, first=True)
        if why is not None and why.transient:
            wished = why.not_before > unix_now()
            host.given_up = why if wished or host.waiting >= EVIDENCE_URLS else None

    def _settle_unasked(self) -> None:
        """What the schedule has decided not to ask for."""
        for job, verdict in self._schedule.vetoed:
            self._reject(job.index, verdict)
        self._schedule.vetoed.clear()
        for job, host, why in self._schedule.put_off:
            known = self._spool.rejects.get(job.key)
            if known is not None:
                self._finish(job.index, known)
            elif job.settled:
                self._reject(job.index, why)
            else:
                self._put_off.add(job, host, why)
        self._schedule.put_off.clear()

    def _release_held(self, host: Host) -> None:
        """The host is not to blame: its failures are those of single URLs."""
        for job, verdict in host.held:
            self._reject(job.index, verdict)
        host.held.clear()

    def _settle_put_off(self) -> None:
        """What becomes of items whose hosts were given up, or gave no good answer to anything."""
        for host in self._schedule.hosts:
            if len(host.held) + self._put_off.count(host.name) < EVIDENCE_URLS:
                self._release_held(host)
            for job, verdict in host.held:
                self._put_off.add(job, host, verdict)
        for index, verdict in self._put_off.let_go():
            self._reject(index, verdict)
        for name, note in self._put_off.notes(unix_now()).items():
            self._spool.note_host(name, note)
        slice_name = f"{self._context.source}/{self._context.slice_name}"
        self._postponed = self._put_off.error(slice_name, len(self._items), self._spool.hosts)

    def _settle(self, host: Host, job: Job, outcome: Outcome, started: float) -> None:
        now = unix_now()
        if isinstance(outcome, Retry):
            self._retry(host, job, outcome, started, now)
            return
        if isinstance(outcome, GiveUp) and outcome.transient:
            host.failed(job, started, now, outcome.detail, self._patience, random.random())
            if outcome.not_before > now:
                host.gate.pause(now, outcome.not_before)
            elif not host.last_ok and not job.settled:
                host.held.append((job, outcome))
                return
            self._reject(job.index, outcome)
            return
        host.succeeded(now)
        self._release_held(host)
        if isinstance(outcome, GiveUp):
            self._reject(job.index, outcome)
        elif isinstance(outcome, AskLeniently):
            job.lenient = True
            self._schedule.add(host.name, job, first=True)
        elif isinstance(outcome, URL):
            self._follow(job, outcome)
        elif job.declared and outcome.sha256 != job.declared:
            self._mismatch(host, job, outcome)
        elif isinstance(outcome.content, Path):
            self._finish(
                job.index, self._spool.add_file(job.key, job.declared, outcome.content), outcome.size_bytes
            )
        else:
            self._finish(
                job.index, self._spool.add_body(job.key, job.declared, outcome.content), outcome.size_bytes
            )

    def _retry(self, host: Host, job: Job, retry: Retry, started: float, now: float) -> None:
        job.failures += 1
        job.lenient = job.lenient or retry.leniently
        self._retries += 1
        host.failed(job, started, now, retry.detail, self._patience, random.random())
        _log.debug("%s: %s, try %d", shown_url(job.url), retry.detail, job.failures)
        if retry.pause_s > 0:
            host.slow_down()
            host.gate.pause(now, now + retry.pause_s)
            self._schedule.add(host.name, job, first=True)
        else:
            self._schedule.add_later(host.name, job, now + retry.delay_s)

    def _follow(self, job: Job, target: URL) -> None:
        if str(target) in self._taken:
            self._reject(job.index, GiveUp(RejectReason.TOMBSTONED, f"redirects to {shown_url(target)}"))
        else:
            job.url = target
            self._schedule.add(host_key(target), job, first=True)

    def _mismatch(self, host: Host, job: Job, body: Body) -> None:
        body.drop()
        job.mismatches += 1
        if job.mismatches == 1:
            self._retries += 1
            self._schedule.add(host.name, job, first=True)
            return
        detail = f"declared {job.declared[:12]}…, got {body.sha256[:12]}… twice"
        self._reject(job.index, GiveUp(RejectReason.CHECKSUM, detail))

    def _reject(self, index: int, verdict: GiveUp) -> None:
        key = self._items[index].key
        wish = verdict.not_before if verdict.transient else 0
        reject = Reject(key, verdict.reason, verdict.detail, None, verdict.transient, wish)
        self._spool.add_reject(reject)
        self._finish(index, reject)

    def _finish(self, index: int, result: Stored | Reject, size_bytes: int = 0) -> None:
        self._results[index] = result
        self._done_items += 1
        self._done_bytes += size_bytes
        if index == self._wanted:
            self._arrived.set()
