"""URLs that are not asked for because of their host: until when, and for how many visits to come.

One visit is one fetch of a slice. What is put off is no reject, and a slice with it is not committed: it would depend
on the moment what is in it. A host that gives nothing over `VISITS` visits is let go; its URLs are transient rejects.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from vlm_assets.transfer.politeness import MAX_PAUSE_S, GiveUp, Patience, utc
from vlm_assets.transfer.schedule import Host, Job
from vlm_assets.transfer.spool import HostNote
from vlm_assets.words.clock import has_come
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import PostponedError, RejectReason

VISITS: Final = 4
"""In a row that a host may give no good answer, at 10 minutes, 40, 160, 640 from each other, before it is let go."""
_TOLD_HOSTS: Final = 3
_SLACK_S: Final = 60.0


@dataclass(slots=True)
class _PutOff:
    why: GiveUp
    host: Host | None
    """None: it was not visited, because its pause of an earlier visit has not ended."""
    indexes: list[int] = field(default_factory=list)


class PutOff:
    """The URLs of one fetch that are put off, by host."""

    def __init__(self, notes: Mapping[str, HostNote], patience: Patience) -> None:
        """`notes` of earlier visits, by host."""
        self._notes = notes
        self._patience = patience
        self._hosts: dict[str, _PutOff] = {}

    def still(self, host: str, now: float) -> HostNote | None:
        """The note of an earlier visit, where its pause has not ended."""
        note = self._notes.get(host)
        return note if note is not None and not self.is_over(note.until, now) else None

    def is_over(self, until: float, now: float) -> bool:
        """Whether a pause on record is over, or longer than any that is put there."""
        longest_s = max(MAX_PAUSE_S, self._patience.max_wait_s * 4.0 ** (VISITS - 1)) + _SLACK_S
        return has_come(until, now, longest_s=longest_s)

    def add_unvisited(self, host: str, index: int) -> None:
        """Put off an item of a host whose pause has not ended."""
        if host not in self._hosts:
            note = self._notes[host]
            why = GiveUp(RejectReason.UNREACHABLE, note.detail, transient=True, not_before=note.until)
            self._hosts[host] = _PutOff(why, None)
        self._hosts[host].indexes.append(index)

    def add(self, job: Job, host: Host, why: GiveUp) -> None:
        """Put off a job of a host that was given up in this visit."""
        known = self._hosts.setdefault(host.name, _PutOff(why, host))
        known.why, known.host = why, host
        known.indexes.append(job.index)

    def count(self, host: str) -> int:
        """Items of a host that are put off."""
        return len(self._hosts[host].indexes) if host in self._hosts else 0

    def let_go(self) -> Iterator[tuple[int, GiveUp]]:
        """Items, with their verdict, whose hosts were given up often enough; they are put off no more."""
        for name, one in list(self._hosts.items()):
            visits = self._visits(name, one)
            if visits >= VISITS:
                del self._hosts[name]
                detail = f"{name} given up on {visits} visits: {one.why.detail}"[:300]
                yield from ((index, replace(one.why, detail=detail)) for index in one.indexes)

    def notes(self, now: float) -> dict[str, HostNote]:
        """What to remember of the hosts that were visited and given up."""
        made = {}
        for name, one in self._hosts.items():
            if one.host is not None:
                visits = self._visits(name, one)
                pause_s = self._patience.max_wait_s * 4.0 ** max(visits - 1, 0)
                until = one.why.not_before if one.why.not_before > now else now + pause_s
                made[name] = HostNote(visits, until, one.why.detail)
        return made

    def error(self, name: str, total: int, notes: Mapping[str, HostNote]) -> PostponedError | None:
        """What to raise for a slice; None where nothing is put off. `notes`: the newest of every host."""
        if not self._hosts:
            return None
        until = {host: notes[host].until for host in self._hosts}
        count = sum(len(one.indexes) for one in self._hosts.values())
        hosts = "; ".join(
            f"{host}: {self._hosts[host].why.detail}, due {utc(until[host])}"
            for host in sorted(until, key=until.__getitem__)[:_TOLD_HOSTS]
        )
        more = f"; and {so_many(len(until) - _TOLD_HOSTS, 'host')} more" if len(until) > _TOLD_HOSTS else ""
        return PostponedError(
            f"{name}: {count} of {so_many(total, 'URL')} are not fetched yet, because their hosts were given up "
            f"for now. "
            f"{hosts}{more}. What has arrived is kept and nothing is committed; the slice is due from then on",
            min(until.values()),
        )

    def _visits(self, name: str, one: _PutOff) -> int:
        """Visits in a row without a good answer, this one included where something was asked."""
        earlier = self._notes[name].visits if name in self._notes else 0
        if one.host is None:
            return 0  # not visited: not let go now
        if one.host.last_ok:
            return 1
        return earlier + one.host.asked
