"""Parquet and Arrow files in a Kaggle archive: looked into when it is listed, read row by row when it is fetched.

They are packed as a rule, and a footer lies at the end: each is unpacked for a look, once.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from vlm_assets.archives.limits import MemberFaultError
from vlm_assets.archives.spool import MemberSpool
from vlm_assets.sources._data_files import (
    DataFile,
    check_words,
    data_format,
    declared,
    kept_as_rows,
    look,
    row_events,
)
from vlm_assets.sources._kaggle_archive import KaggleKeys, file_name, open_entries
from vlm_assets.sources._kaggle_members import KaggleMember, identity_of, left_out_of, payload_of
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import LeftOut, LeftOutReason, Reject, SourceError
from vlm_assets.words.layout import temporary_beside
from vlm_assets.words.records import Event, Item

if TYPE_CHECKING:
    from vlm_assets.archives.members import Entry
    from vlm_assets.transfer.kaggle import KaggleDataset

_FORMAT: Final = 2
"""Of what is kept."""
_FEW_BYTES: Final = 64 * 2**20
"""Had by Range requests in any case; more of them too, where they are less than half of the archive."""


def row_items(
    members: Sequence[KaggleMember],
    spec: KaggleKeys,
    dataset: "KaggleDataset",
    context: ListContext,
    archive_bytes: int,
) -> tuple[list[Item], list[LeftOut]]:
    """The data files whose rows hold images as items, and the others with the reason.

    What was found is kept in the cache by the member's identity, for a version never changes.

    Raises:
        SourceError: the archive cannot be had.
    """
    rule = spec.caption_rule()
    kept = _Looks(context.cache_dir / f"{file_name(dataset)}.rows.json", spec, context)
    looked_at = [one for one in members if not rule.may_own(one.name)]
    unknown = {one.index: one for one in looked_at if kept.of(one) is None}
    size = sum(one.size_bytes for one in unknown.values())
    if unknown:
        whole = size > _FEW_BYTES and 2 * size > archive_bytes
        with open_entries(spec, dataset, context, unknown, whole=whole) as entries:
            for index, member in unknown.items():
                kept.add(member, _look(member, entries[index], spec, context))
        kept.save()
    items: list[Item] = []
    check_words(spec.name, spec, (one for one in map(kept.of, looked_at) if isinstance(one, DataFile)))
    left_out = [left_out_of(one, LeftOutReason.UNKNOWN_TYPE) for one in members if rule.may_own(one.name)]
    for one in looked_at:
        found = kept.of(one)
        if isinstance(found, DataFile):
            item = Item(one.name, identity_of(one), payload_of(one), one.size_bytes)
            items.append(kept_as_rows(item, found))
        else:
            left_out.append(left_out_of(one, LeftOutReason.UNKNOWN_TYPE, found or ""))
    return items, left_out


def rows_of(item: Item, entry: "Entry", origin: str, context: FetchContext) -> Iterator[Event]:
    """Records of a data file's rows; a reject where it cannot be unpacked.

    Raises:
        SourceError: it cannot be read to its end.
    """
    with ExitStack() as stack:
        try:
            path = _unpacked(entry, context.spool_dir, stack)
        except MemberFaultError as fault:
            yield Reject(item.key, fault.reason, fault.detail, 0)
            return
        yield from row_events(path, item, origin, context)


class _Looks:
    """What looks into members found, in a file that may be deleted at any time."""

    def __init__(self, file: Path, spec: KaggleKeys, context: ListContext) -> None:
        self._file = file
        rule = spec.label_rule
        labels = rule and rule.column and [rule.column, sorted(rule.known or ())]
        told = [
            [one.as_json() for one in declared("", spec)],
            context.settings.max_image_bytes,
            labels,
            spec.text,
        ]
        self._told = sha256(orjson.dumps([told, _FORMAT])).hexdigest()
        try:
            self._kept: dict[str, Any] = {} if context.force else orjson.loads(file.read_bytes())
        except (OSError, ValueError):
            self._kept = {}

    def of(self, member: KaggleMember) -> DataFile | str | None:
        """What was found; None where nobody looked."""
        found = self._kept.get(self._key(member))
        return DataFile(**found) if isinstance(found, dict) else found

    def add(self, member: KaggleMember, found: DataFile | str) -> None:
        self._kept[self._key(member)] = asdict(found) if isinstance(found, DataFile) else found

    def save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = temporary_beside(self._file)
        beside.write_bytes(orjson.dumps(self._kept))
        beside.replace(self._file)

    def _key(self, member: KaggleMember) -> str:
        return f"{member.name}:{identity_of(member)}:{self._told}"


def _look(member: KaggleMember, entry: "Entry", spec: KaggleKeys, context: ListContext) -> DataFile | str:
    form = data_format(member.name)
    if form is None:
        raise SourceError(f"{member.name} is no data file")
    with ExitStack() as stack:
        try:
            path = _unpacked(entry, context.cache_dir, stack)
        except MemberFaultError as fault:
            return fault.detail[:300]
        found = look(path, member.name, form, spec, context.settings.max_image_bytes)
        return found[:300] if isinstance(found, str) else found


def _unpacked(entry: "Entry", folder: Path, stack: ExitStack) -> Path:
    """The member as a file, gone with the stack.

    Raises:
        MemberFaultError: it cannot be unpacked.
    """
    if entry.closed is not None:
        raise MemberFaultError(*entry.closed)
    spool = MemberSpool(folder)
    stack.callback(spool.close)
    return spool.put(entry.open())
