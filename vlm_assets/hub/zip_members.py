"""Images in a repository's zips that no split takes, by the paths that they have where the zips are unpacked.

Rows of tables name them so (`images/0.jpg` beside `images.zip`): conversations are mostly published like this.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final

from vlm_assets.archives.contents import read_whole
from vlm_assets.archives.limits import ArchiveLimits, Budget
from vlm_assets.archives.names import Encodings
from vlm_assets.archives.zip_directory import ZipEntry, read_directory
from vlm_assets.archives.zips import ZipArchive, entry_name
from vlm_assets.hub.member_names import MemberNames, folders_of
from vlm_assets.hub.repo_files import RepoFile
from vlm_assets.words.layout import temporary_beside

LOOKED_INTO: Final = 200
"""Zips whose directories a listing reads: the first by path."""
_IN_MEMORY_BYTES: Final = 8 * 2**20


class ZipMembers:
    """Which member of which zip a path means."""

    def __init__(self, zips: Iterable[tuple[RepoFile, Collection[str]]] = ()) -> None:
        """`zips`: each with the names of its members."""
        self._by_folder: defaultdict[str, list[tuple[RepoFile, Collection[str]]]] = defaultdict(list)
        for file, names in zips:
            for folder in folders_of(file.path):
                self._by_folder[folder].append((file, names))

    def found(self, key: str) -> tuple[RepoFile, str] | None:
        """The zip and the member's name; None where there is none, or two."""
        ends = [0, *(place + 1 for place, char in enumerate(key) if char == "/")]
        meant = {
            (file.path, key[end:]): file
            for end in ends
            for file, names in self._by_folder.get(key[:end], ())
            if key[end:] in names
        }
        if len(meant) != 1:
            return None
        [((_, name), file)] = meant.items()
        return file, name

    def zips(self, keys: Iterable[str] | None) -> list[RepoFile]:
        """The zips in which any of these files is, by path; None: all."""
        if keys is None:
            there = [file for zips in self._by_folder.values() for file, _ in zips]
        else:
            there = [found[0] for key in keys if (found := self.found(key)) is not None]
        by_path = {file.path: file for file in there}
        return [by_path[path] for path in sorted(by_path)]


class WithMembers(Collection[str]):
    """Keys of files, and those of members where no file has them."""

    def __init__(self, files: Collection[str], found: Callable[[str], object]) -> None:
        self._files = files
        self._found = found

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and (key in self._files or self._found(key) is not None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def listed_zips(files: Sequence[RepoFile], names: MemberNames) -> ZipMembers:
    """Of the first zips among these files, by path.

    Raises:
        SourceError: the Hub cannot be reached.
    """
    looked_into = ((one, names.of(one.path, [one])) for one in _zips(files)[:LOOKED_INTO])
    return ZipMembers((one, frozenset(found)) for one, found in looked_into if found)


def zips_hint(files: Iterable[RepoFile]) -> list[str]:
    """A line where there are more zips than are looked into."""
    zips = _zips(files)[LOOKED_INTO:]
    told = f"only the first {LOOKED_INTO} zips are looked into for what rows name; {len(zips)} are not, the first is"
    hint = "a copy of the repository on this machine is read by client_folder, with text: TABLE"
    return [f"{told} {zips[0].path}; {hint}"] if zips else []


def _zips(files: Iterable[RepoFile]) -> list[RepoFile]:
    return sorted((one for one in files if one.path.lower().endswith(".zip")), key=lambda one: one.path)


@dataclass(frozen=True)
class FetchedZips:
    """The members of some zips, which are fetched when the first path is asked for."""

    files: Sequence[RepoFile]
    fetch: Callable[[RepoFile], Path]
    spool_dir: Path
    max_image_bytes: int
    encoding: Encodings = None

    def found(self, key: str) -> tuple[RepoFile, str] | None:
        """As `ZipMembers.found`.

        Raises:
            SourceError: a zip cannot be had, or its directory not be read.
        """
        return self._members.found(key)

    def read(self, file: RepoFile, name: str) -> bytes | Path:
        """A member's bytes, large ones below the spool.

        Raises:
            MemberFaultError: it cannot be read.
        """
        limits = ArchiveLimits(self.max_image_bytes)
        with self.fetch(file).open("rb") as opened:
            archive = ZipArchive(opened, Budget(limits, file.size_bytes, file.path), encoding=self.encoding)
            data = read_whole(archive.entry(self._entries[file.path][name]), limits.member_bytes)
        if len(data) <= _IN_MEMORY_BYTES:
            return data
        path = self.spool_dir / "members" / sha256(f"{file.identity}!{name}".encode()).hexdigest()
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = temporary_beside(path)
        beside.write_bytes(data)
        return beside.replace(path)

    @cached_property
    def _entries(self) -> Mapping[str, Mapping[str, ZipEntry]]:
        entries: dict[str, dict[str, ZipEntry]] = {}
        for file in self.files:
            with self.fetch(file).open("rb") as opened:
                entries[file.path] = _by_name(read_directory(opened, file.path), self.encoding)
        return entries

    @cached_property
    def _members(self) -> ZipMembers:
        return ZipMembers((file, self._entries[file.path]) for file in self.files)


def _by_name(entries: Iterable[ZipEntry], encoding: Encodings) -> dict[str, ZipEntry]:
    """Entries by name, without those of which there are two."""
    found: dict[str, ZipEntry] = {}
    twice: set[str] = set()
    for entry in entries:
        name, unsafe, _ = entry_name(entry, encoding)
        if entry.is_folder or unsafe:
            continue
        if name in found:
            twice.add(name)
        found[name] = entry
    return {name: entry for name, entry in found.items() if name not in twice} if twice else found
