"""Names of what is in a repository's archives, asked for before they are fetched: a zip's by its directory alone."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from vlm_assets.archives.encodings import name_hint
from vlm_assets.archives.limits import ArchiveLimits, DamagedArchiveError
from vlm_assets.archives.names import (
    Encodings,
    archive_stem,
    is_archive_name,
    is_hidden,
    is_image_name,
    is_junk,
    packed_image_name,
)
from vlm_assets.archives.read import Reading, read_members
from vlm_assets.archives.zip_directory import read_directory
from vlm_assets.archives.zips import entry_name
from vlm_assets.captions.tables import is_table_name
from vlm_assets.hub.repo_files import RepoFile
from vlm_assets.words.errors import BombError, LeftOut
from vlm_assets.words.layout import key_hash, nfc

LOOKED_AT_BYTES: Final = 64 * 2**20
"""An archive of another format, or in several files, is read for its names where it is no larger."""
_MAX_GUESSED: Final = 2000
_MAX_UNSURE: Final = 1000
"""Names that a payload holds; where there are more, no name is sure."""


@dataclass(frozen=True, slots=True)
class MemberNames:
    """Looks into a repository's archives."""

    ranged: Callable[[RepoFile], BinaryIO]
    """A file upstream, read in ranges."""
    fetch: Callable[[str], Path]
    """A whole file, out of the cache where it can."""
    max_image_bytes: int
    encoding: Encodings = None
    guessed: set[str] = field(default_factory=set)
    """Names met whose encoding nobody declares."""

    @property
    def hints(self) -> list[str]:
        """What to do about these; one line, or none."""
        hint = name_hint(sorted(self.guessed))
        return [hint] if hint else []

    def of(self, path: str, parts: Sequence[RepoFile]) -> Collection[str] | None:
        """Members that may be images, names in NFC; None where only fetching the archive tells.

        Raises:
            SourceError: the Hub cannot be reached.
        """
        if inner := packed_image_name(path):
            return [inner]
        names = self._names(path, parts)
        if names is None or any(map(is_archive_name, names)):
            return None
        return [name for name in names if not (is_junk(name) or is_hidden(name) or is_table_name(name))]

    def _names(self, path: str, parts: Sequence[RepoFile]) -> list[str] | None:
        try:
            if len(parts) == 1 and PurePosixPath(path).suffix.lower() in {".zip", ".cbz"}:
                return list(self._in_directory(parts[0]))
            if sum(one.size_bytes for one in parts) <= LOOKED_AT_BYTES:
                return list(self._by_reading(parts))
        except (DamagedArchiveError, BombError):  # fetching it tells
            return None
        return None

    def _in_directory(self, file: RepoFile) -> Iterator[str]:
        for entry in read_directory(self.ranged(file), file.path):
            name, unsafe, guessed = entry_name(entry, self.encoding)
            if not (entry.is_folder or unsafe):
                self._met(name, guessed=guessed)
                yield name

    def _by_reading(self, parts: Sequence[RepoFile]) -> Iterator[str]:
        reading = Reading(
            ArchiveLimits(self.max_image_bytes), is_image_name, self.encoding, unread=lambda _: True
        )
        paths = [self.fetch(one.path).resolve() for one in parts]
        for member in read_members(paths, reading, where=parts[0].path):
            if not isinstance(member, LeftOut):
                self._met(member.name, guessed=member.guessed)
                yield member.name

    def _met(self, name: str, *, guessed: bool) -> None:
        if guessed and len(self.guessed) < _MAX_GUESSED:
            self.guessed.add(name)


def unsure_names(
    members: Mapping[str, Collection[str] | None], loose: Iterable[str]
) -> dict[str, Sequence[str] | bool]:
    """Of each archive the members that a table may not name without the archive's own; all: True.

    They lie, unpacked in its place, where another file does: a member of another archive, or a `loose` file.

    Args:
        members: Names by path of the archive; None: not known.
        loose: NFC paths of other files.
    """
    others = list(loose)
    there = Counter(map(key_hash, others))
    for path, names in members.items():
        there.update({key_hash(f"{folder}{name}") for name in names or () for folder in folders_of(path)})
    is_unknown = len(members) > 1 and None in members.values()
    found: dict[str, Sequence[str] | bool] = {}
    for path, names in members.items():
        folder = folders_of(path)[0]
        if names is None:
            unsure = [one[len(folder) :] for one in others if one.startswith(folder)]
        else:
            unsure = [name for name in names if there[key_hash(f"{folder}{name}")] > 1]
        found[path] = is_unknown or len(unsure) > _MAX_UNSURE or sorted(unsure)
    return found


def folders_of(path: str) -> tuple[str, str]:
    """Where an archive's members lie when it is unpacked: in its place, or in a folder of its name."""
    folder = f"{nfc(path).rpartition('/')[0]}/".lstrip("/")
    return folder, f"{folder}{archive_stem(nfc(path))}/"
