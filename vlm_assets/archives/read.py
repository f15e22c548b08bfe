"""Every member of an archive, and of the archives inside it, as a record, a reject, or left out with a reason.

members = records (rejected ones included) + left out. A folder is no member; nor is an archive that was opened: its
members are. The order is the archive's own; archives that were split over several members come last.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from vlm_assets.archives.contents import HEAD_BYTES, form_named, is_image_head, peek, read_whole, what_it_is
from vlm_assets.archives.forms import (
    SEVEN_ZIP,
    TAR,
    ZIP,
    check_whole,
    form_of,
    form_of_file,
    is_archive_head,
    open_tar,
)
from vlm_assets.archives.joined import open_joined, part_starts
from vlm_assets.archives.limits import (
    ArchiveLimits,
    Budget,
    DamagedArchiveError,
    MemberFaultError,
    MissingPartsError,
)
from vlm_assets.archives.members import Entry, Found, Member
from vlm_assets.archives.names import (
    Encodings,
    is_archive_name,
    is_compressed_name,
    is_hidden,
    is_image_name,
    is_junk,
    packed_image_name,
    suffix_of,
)
from vlm_assets.archives.seven_zip import EncryptedNamesError, SevenZipReader
from vlm_assets.archives.split import SplitArchive, find_split_archives, part_of
from vlm_assets.archives.spool import MemberSpool
from vlm_assets.archives.streams import Peeked, Stream, compression_of, decompressed
from vlm_assets.archives.tars import BLOCK, TarReader, looks_like_tar
from vlm_assets.archives.zip_directory import is_last_part
from vlm_assets.archives.zips import ZipArchive
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import LeftOut, LeftOutReason, RejectReason


@dataclass(frozen=True, slots=True)
class Reading:
    """How archives are read."""

    limits: ArchiveLimits
    wanted: Callable[[str], bool] = is_image_name
    """Names the members that are records whatever their bytes."""
    encoding: Encodings = None
    """Of names that are neither declared nor valid UTF-8."""
    spool_dir: Path | None = None
    """Where archives inside lie while they are read, if they must; None: the system's folder."""
    unread: Callable[[str], bool] = lambda name: False  # noqa: ARG005 - reads all
    """Names members that are told without their bytes, as a `Member` that has neither data nor a reason."""
    holds_record: Callable[[bytes], bool] = is_image_head
    """Tells by their first bytes which of those that are not `wanted` are records too."""


def read_members(parts: Path | Sequence[Path], reading: Reading, *, where: str) -> Iterator[Found]:
    """Every record of an archive in its own order, one in memory at a time, and what was left out.

    The format is taken from the content. A name that comes twice is a reject from the second on. The `key` of what
    was left out is the member's name.

    `where` names it in messages; one that is the name of a packed image (`a.jpg.gz`) gives this image.

    Raises:
        MissingPartsError: parts of it are not there; nothing was given.
        TruncatedArchiveError: it is cut.
        DamagedArchiveError: no archive, or it cannot be enumerated to its end.
        BombError: it unpacks to too much.
        StoreError: an archive inside cannot be spooled.
    """
    paths = [parts] if isinstance(parts, Path) else list(parts)
    size_bytes = sum(path.stat().st_size for path in paths)
    walk = _Walk(reading, Budget(reading.limits, size_bytes, where))
    with closing(walk):
        if len(paths) > 1:
            check_whole(paths, Budget(reading.limits, size_bytes, where))
        try:
            if packed_image_name(where):
                with open_joined(paths) as file:
                    yield from walk.packed_image(Entry(where, lambda: file))
            else:
                yield from walk.joined(paths, "", 0)
        except EncryptedNamesError:
            yield walk.refused(paths[0].name, RejectReason.ENCRYPTED, "its directory is behind a password")


def read_inside(entries: Sequence[Entry], name: str, reading: Reading, budget: Budget) -> Iterator[Found]:
    """Members of an archive that is a member itself, or several that it was split over; names are relative to it.

    Raises:
        MissingPartsError: parts of it are not there; nothing was given.
        DamagedArchiveError: it cannot be read to its end, its own bytes in the outer archive included.
        BombError, StoreError: as `read_members`.
    """
    walk = _Walk(reading, budget)
    with closing(walk):
        try:
            if len(entries) > 1:
                paths = [walk.spool.put(entry.open()) for entry in entries]
                check_whole(paths, replace(budget))
                yield from walk.joined(paths, "", 1)
            elif packed_image_name(entries[0].name):
                yield from walk.packed_image(entries[0])
            else:
                yield from walk.inside(entries[0], "", 1)
        except _LastPartError as fault:
            raise MissingPartsError(f"{budget.where}: {name}: {fault}") from fault
        except MemberFaultError as fault:
            raise DamagedArchiveError(f"{budget.where}: {name}: {fault}") from fault


class _LastPartError(Exception):
    """A zip is the last part of several. `path`: where it was spooled, if it was."""

    path: Path | None = None


class _Parts:
    """Members that are parts of split archives, until all others of their archive have been read."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[Path, int | None]] = {}
        """Spooled file and size by name."""
        self._last_parts: set[str] = set()

    def add(self, name: str, path: Path, size_bytes: int | None) -> None:
        """Keeps one."""
        self.found[name] = path, size_bytes
        part = part_of(name)
        if part is not None and part.kind == "zip":
            self._last_parts.add(part.archive)

    def take(self, name: str) -> bool:
        """Whether a member is one: by its name, or, of a zip's last one, by those that came before."""
        return part_of(name) is not None or name in self._last_parts


class _Walk:
    """One archive being read, with all that lies in it."""

    def __init__(self, reading: Reading, budget: Budget) -> None:
        self._reading = reading
        self._budget = budget
        self._seen: set[int] = set()
        self._number = 0
        self.spool = MemberSpool(reading.spool_dir)

    def close(self) -> None:
        """Removes what was spooled."""
        self.spool.close()

    def joined(self, paths: Sequence[Path], prefix: str, depth: int) -> Iterator[Found]:
        """All of an archive in one file or several. `depth`: archives around it."""
        with open_joined(paths) as file:
            yield from self._file(file, prefix, depth, paths)

    def packed_image(self, entry: Entry) -> Iterator[Found]:
        """What `a.jpg.gz` holds, as a member `a.jpg`; of a tar its members."""
        name = packed_image_name(entry.name)
        yield from self._inner(self._unpacked(replace(entry, name=name), name, entry.name, 0), name)

    def inside(self, entry: Entry, prefix: str, depth: int) -> Iterator[Found]:
        """All of an archive that is a member: in its place, as it streams by, or spooled."""
        if entry.closed is not None:
            raise MemberFaultError(*entry.closed)
        if entry.size_bytes == 0:
            raise MemberFaultError(RejectReason.EMPTY, "an archive of no bytes")
        if entry.view is not None:
            with entry.view() as file:
                if form_of_file(file) != SEVEN_ZIP:
                    yield from self._file(file, prefix, depth)
                    return
        stream = entry.open()
        head = stream.read(BLOCK)
        form = form_of(head)
        if form is not None and form not in {ZIP, SEVEN_ZIP}:
            yield from self._tar(
                open_tar(Peeked(head, stream), form, self._budget, encoding=self._encoding), prefix, depth
            )
            return
        yield from self._spooled(self.spool.put(Peeked(head, stream)), prefix, depth)

    def _spooled(self, path: Path, prefix: str, depth: int) -> Iterator[Found]:
        try:
            with path.open("rb") as file:
                yield from self._file(file, prefix, depth, [path])
        except _LastPartError as last:
            last.path = path
            raise
        except BaseException:
            path.unlink()
            raise
        path.unlink()

    @property
    def _encoding(self) -> Encodings:
        return self._reading.encoding

    def _file(self, file: BinaryIO, prefix: str, depth: int, paths: Sequence[Path] = ()) -> Iterator[Found]:
        form = form_of_file(file)
        if form is None:
            file.seek(0)
            told = what_it_is(file.read(HEAD_BYTES))
            raise DamagedArchiveError(f"{self._budget.where}: no archive of a known format{told}")
        if form == ZIP:
            if len(paths) < 2 and depth and is_last_part(file):
                raise _LastPartError("the last part of a split zip")
            starts = part_starts(paths) if paths else (0,)
            archive = ZipArchive(file, self._budget, encoding=self._encoding, part_starts=starts)
            yield from self._entries(archive.entries(), prefix, depth)
        elif form == SEVEN_ZIP:
            yield from self._entries(SevenZipReader(paths, self._budget).entries(), prefix, depth)
        else:
            reader = open_tar(
                file, form, self._budget, encoding=self._encoding, positioned=file if form == TAR else None
            )
            yield from self._tar(reader, prefix, depth)

    def _tar(self, reader: TarReader, prefix: str, depth: int) -> Iterator[Found]:
        yield from self._entries(reader.entries(), prefix, depth)
        if reader.tail_bytes:
            detail = "bytes behind the end of the tar"
            yield LeftOut(prefix.rstrip("/"), LeftOutReason.UNKNOWN_TYPE, detail, reader.tail_bytes)

    def _entries(self, entries: Iterator[Entry], prefix: str, depth: int) -> Iterator[Found]:
        parts = _Parts()
        with closing(entries):  # type: ignore[type-var]  # all are generators
            for entry in entries:
                if not entry.is_folder:
                    yield from self._member(entry, parts, prefix, depth)
        splits = find_split_archives(parts.found)
        for split in splits:
            yield from self._split(split, parts, prefix, depth)
        for name in sorted(set(parts.found).difference(*(split.parts for split in splits))):
            path, size_bytes = parts.found[name]
            if is_archive_name(name):
                missing = "it says that it is the last of several parts"
                yield LeftOut(prefix + name, LeftOutReason.SPLIT_ARCHIVE_INCOMPLETE, missing, size_bytes)
                continue
            with path.open("rb") as file:
                yield LeftOut(
                    prefix + name, LeftOutReason.UNKNOWN_TYPE, form_named(file.read(HEAD_BYTES)), size_bytes
                )

    def _member(self, entry: Entry, parts: _Parts, prefix: str, depth: int) -> Iterator[Found]:
        name = prefix + entry.name
        try:
            if entry.name in parts.found:
                yield self.refused(name, RejectReason.DUPLICATE_ITEM, "the archive has this name twice")
            elif parts.take(entry.name) and _is_plain(entry):
                parts.add(entry.name, self.spool.put(entry.open()), entry.size_bytes)
            else:
                yield from self._whole_or_last(entry, parts, name, depth)
        except MemberFaultError as fault:
            yield self.refused(name, fault.reason, fault.detail)

    def _whole_or_last(self, entry: Entry, parts: _Parts, name: str, depth: int) -> Iterator[Found]:
        try:
            yield from self._entry(entry, name, entry.name, depth)
        except _LastPartError as last:
            parts.add(entry.name, last.path or self.spool.put(entry.open()), entry.size_bytes)

    def _split(self, split: SplitArchive, parts: _Parts, prefix: str, depth: int) -> Iterator[Found]:
        reason, missing = LeftOutReason.SPLIT_ARCHIVE_INCOMPLETE, split.missing
        paths = [parts.found[part][0] for part in split.parts]
        if depth >= self._reading.limits.depth:
            reason, missing = LeftOutReason.NESTED_TOO_DEEP, f"{so_many(depth, 'archive')} around it"
        elif not missing:
            missing = self._missing(paths)
        if not missing:
            name = prefix + split.name
            yield from self._inner(self.joined(paths, f"{name}/", depth + 1), name)
        else:
            for part in split.parts:
                yield LeftOut(prefix + part, reason, missing, parts.found[part][1])
        for path in paths:
            path.unlink()

    def _missing(self, paths: Sequence[Path]) -> str:
        """What is missing at the end of a split archive; "" where nothing is, or it is damaged otherwise."""
        try:
            check_whole(paths, replace(self._budget))
        except MissingPartsError as error:
            return self._told(error)
        except DamagedArchiveError:  # reading it tells
            pass
        return ""

    def _entry(self, entry: Entry, name: str, judged: str, depth: int) -> Iterator[Found]:
        """What becomes of a member; `judged` is its name without the suffixes of compressions taken off so far."""
        if is_junk(entry.name):
            yield LeftOut(name, LeftOutReason.OS_JUNK, "", entry.size_bytes)
        elif entry.unsafe:
            yield self.refused(name, RejectReason.UNSAFE_MEMBER, entry.unsafe)
        elif is_hidden(entry.name):
            yield LeftOut(name, LeftOutReason.HIDDEN, "", entry.size_bytes)
        elif is_archive_name(judged):
            yield from self._archive(entry, name, depth)
        elif self._reading.unread(judged):
            yield Member(name, -1, None, guessed=entry.guessed)
        elif self._reading.wanted(judged):
            yield self._record(entry, name)
        elif is_compressed_name(judged) and not entry.closed:
            yield from self._compressed(entry, name, judged, depth)
        else:
            yield from self._by_content(entry, name, judged, depth)

    def _archive(self, entry: Entry, name: str, depth: int) -> Iterator[Found]:
        if depth >= self._reading.limits.depth:
            yield LeftOut(
                name,
                LeftOutReason.NESTED_TOO_DEEP,
                f"{so_many(depth, 'archive')} around it",
                entry.size_bytes,
            )
            return
        yield from self._inner(self.inside(entry, f"{name}/", depth + 1), name, guessed=entry.guessed)

    def _inner(self, members: Iterator[Found], name: str, *, guessed: bool = False) -> Iterator[Found]:
        """Passes on what an archive inside gives; one that ends early is a reject itself, the outer one goes on.

        `guessed`: the encoding of its own name is, which its members' names begin with.
        """
        try:
            for one in members:
                yield replace(one, guessed=True) if guessed and isinstance(one, Member) else one
        except MemberFaultError as fault:
            yield self.refused(name, fault.reason, fault.detail)
        except EncryptedNamesError:
            yield self.refused(name, RejectReason.ENCRYPTED, "its directory is behind a password")
        except DamagedArchiveError as error:
            yield self.refused(name, RejectReason.UNREADABLE, self._told(error))

    def _compressed(self, entry: Entry, name: str, judged: str, depth: int) -> Iterator[Found]:
        """A single file behind gzip and the like; a tar where it is one."""
        if depth >= self._reading.limits.depth:
            yield LeftOut(
                name,
                LeftOutReason.NESTED_TOO_DEEP,
                f"{so_many(depth, 'archive')} around it",
                entry.size_bytes,
            )
            return
        yield from self._inner(self._unpacked(entry, name, judged, depth), name, guessed=entry.guessed)

    def _unpacked(self, entry: Entry, name: str, judged: str, depth: int) -> Iterator[Found]:
        stream = entry.open()
        head = stream.read(BLOCK)
        form = compression_of(head)
        if form is None:
            yield LeftOut(name, LeftOutReason.UNKNOWN_TYPE, form_named(head), entry.size_bytes)
            return
        inner = decompressed(Peeked(head, stream), form, self._budget)
        block = inner.read(BLOCK)
        rest = Peeked(block, inner)
        if looks_like_tar(block):
            yield from self._tar(
                TarReader(rest, self._budget, encoding=self._encoding), f"{name}/", depth + 1
            )
            return
        yield from self._entry(Entry(entry.name, lambda: rest), name, judged.rpartition(".")[0], depth + 1)

    def _by_content(self, entry: Entry, name: str, judged: str, depth: int) -> Iterator[Found]:
        """A member whose name tells nothing: a record where it is an image that can be admitted."""
        try:
            stream, head = peek(entry)
        except MemberFaultError as fault:
            yield LeftOut(name, LeftOutReason.UNKNOWN_TYPE, fault.detail, entry.size_bytes)
            return
        if self._reading.holds_record(head):
            yield self._record(entry, name, stream)
        elif not suffix_of(judged) and is_archive_head(head):
            again = replace(entry, open=lambda: stream)
            yield from self._archive(again, name, depth)
        else:
            yield LeftOut(name, LeftOutReason.UNKNOWN_TYPE, form_named(head), entry.size_bytes)

    def _record(self, entry: Entry, name: str, stream: Stream | None = None) -> Member:
        """A record with its bytes, or why there are none."""
        key = int.from_bytes(blake3(name.encode()).digest(8), "little")
        if key in self._seen:
            return self.refused(name, RejectReason.DUPLICATE_ITEM, "the archive has this name twice")
        self._seen.add(key)
        try:
            data = read_whole(entry, self._reading.limits.member_bytes, stream)
        except MemberFaultError as fault:
            return self.refused(name, fault.reason, fault.detail)
        self._number += 1
        return Member(name, self._number - 1, data, guessed=entry.guessed)

    def refused(self, name: str, reason: RejectReason, detail: str) -> Member:
        """A record without bytes."""
        self._number += 1
        return Member(name, self._number - 1, None, reason, detail)

    def _told(self, error: Exception) -> str:
        return str(error).removeprefix(f"{self._budget.where}: ")


def _is_plain(entry: Entry) -> bool:
    return not (entry.unsafe or entry.closed or is_junk(entry.name) or is_hidden(entry.name))
