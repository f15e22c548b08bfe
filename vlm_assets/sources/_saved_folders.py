"""Which data files a folder of datasets has, by split: as `save_to_disk` wrote them, or lying there by themselves.

Whoever made the folder may be a stranger. Its JSON has declared shapes, and no name and no link in it leads out of
the folder unless the catalogue allows links to.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

from pydantic import BaseModel, Field, ValidationError

from vlm_assets.sources._folder_walk import FolderWalk, is_within
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import LeftOutReason, SourceError
from vlm_assets.words.plain_files import read_plain

_MAX_JSON_BYTES: Final = 12 * 2**20
"""What names 300,000 files. The worst that fits takes 0.7 GiB to read (measured: 55 bytes a byte)."""
_SHOWN: Final = 100

IndexT = TypeVar("IndexT", bound=BaseModel)


class _Index(BaseModel):
    """`dataset_dict.json`."""

    splits: tuple[str, ...] = ()


class _DataFile(BaseModel):
    filename: str


class _State(BaseModel):
    """`state.json`."""

    data_files: tuple[_DataFile, ...] = Field(alias="_data_files")


class _Info(BaseModel):
    """`dataset_info.json`."""

    features: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """One split: its data files relative to the source's path."""

    name: str
    format: str
    files: tuple[str, ...]
    features: dict[str, Any]


class SavedFolder:
    """A folder on this machine; `walk` is of the same one."""

    def __init__(self, source: str, root: Path, walk: FolderWalk, *, follow_links: bool) -> None:
        self._where = f"source {source}: "
        self._root = root
        self._real = os.path.realpath(root)
        self._walk = walk
        self._follow_links = follow_links

    def groups(self) -> list[Group]:
        """Its splits, sorted.

        Raises:
            SourceError: it is partial, has no data, or JSON of another shape, or that names what is not in it.
        """
        return [self._split(folder) for folder in self._splits()] or self._plain()

    def _splits(self) -> list[Path]:
        """Folders of splits, each once whatever leads there; none where there is no `state.json`."""
        indexes = sorted(self._named("dataset_dict.json"))
        folders = sorted(path.parent for path in self._named("state.json"))
        for index in indexes:
            for split in self._read(index, _Index).splits:
                folders.append(index.parent / self._inner(index, "splits", split))
        return sorted(_each_once(folders))

    def _named(self, name: str) -> Iterator[Path]:
        return (self._root / path for path in self._walk.files.values() if path.rpartition("/")[2] == name)

    def _split(self, folder: Path) -> Group:
        state = folder / "state.json"
        if not self._is_here(state):
            raise SourceError(
                f"{self._where}{folder} has no state.json though dataset_dict.json names it: partial"
                f"{self.link_hint()}"
            )
        names = dict.fromkeys(one.filename for one in self._read(state, _State).data_files)
        paths = [folder / self._inner(state, "_data_files", name) for name in names]
        missing = [path for path in paths if not _is_file(path)]
        if missing:
            raise SourceError(
                f"{self._where}{folder} is partial: {len(missing)} of {len(paths)} data files are missing, "
                f"the first is {_shown(missing[0].relative_to(folder).as_posix())}; copy it again"
            )
        info = folder / "dataset_info.json"
        features = self._read(info, _Info).features if self._is_here(info) else None
        relative = folder.relative_to(self._root)
        name = relative.as_posix().replace("/", "--") if relative.parts else "data"
        files = sorted(path.relative_to(self._root).as_posix() for path in _each_once(paths))
        return Group(name, "arrow", tuple(files), features or {})

    def _is_here(self, path: Path) -> bool:
        """Whether it is a file, and may be read."""
        return _is_file(path) and (self._follow_links or is_within(os.path.realpath(path), self._real))

    def _inner(self, index: Path, key: str, name: str) -> str:
        """A name that JSON gives, which stays in the folder of that JSON, and does not lead out of the source's."""
        pure = PurePosixPath(name)
        if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\0" in name:
            raise SourceError(
                f"{self._where}{index}: {key} names {_shown(name)}, which is no name within its folder"
            )
        real = os.path.realpath(index.parent / pure)
        if not self._follow_links and not is_within(real, self._real):
            raise SourceError(
                f"{self._where}{index}: {key} names {_shown(name)}, a link that leads out to {_shown(real)}; "
                "follow_links: true takes it in"
            )
        return pure.as_posix()

    def _read(self, path: Path, kind: type[IndexT]) -> IndexT:
        """What a file of JSON says, as far as it is asked.

        Raises:
            SourceError: it cannot be read, is too long, or of another shape; names the key.
        """
        try:
            return kind.model_validate_json(read_plain(path, _MAX_JSON_BYTES), strict=True)
        except OSError as error:
            raise SourceError(f"{self._where}{path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise SourceError(f"{self._where}{path} cannot be read: {_told(error)}") from error

    def link_hint(self) -> str:
        """What to do about links that lead out, where there are any; with a "; " before it."""
        out = [one.key for one in self._walk.left_out if one.reason is LeftOutReason.LINK_OUTSIDE]
        if not out:
            return ""
        return f"; {so_many(len(out), 'link')} out of it, as {_shown(min(out))}; follow_links: true takes them in"

    def _plain(self) -> list[Group]:
        """Splits of a folder of data files by `datasets`' own patterns."""
        from vlm_assets.hub.contents import local_formats, with_contents
        from vlm_assets.hub.readers import TABLE_FORMATS, TEXT_FORMATS
        from vlm_assets.hub.splits import find_splits

        paths = sorted(self._walk.files.values())
        format_of = with_contents(local_formats(self._root, paths))
        tables = [
            path
            for path in paths
            if format_of(path) in TABLE_FORMATS and not PurePosixPath(path).name.startswith("cache-")
        ]
        if not tables:
            raise SourceError(
                f"{self._where}no Arrow or Parquet file and no state.json in {self._root} "
                f"({so_many(len(paths), 'file')}){self.link_hint()}; for folders of images use kind client_folder"
            )
        found = find_splits(tables, self._card(), f"{self._where}{self._root}", formats=format_of)
        alone = len({split.config for split in found}) == 1
        groups = [
            Group(
                one.split if alone else f"{one.config}--{one.split}",
                one.format,
                one.files,
                dict(one.features or {}),
            )
            for one in found
        ]
        taken = {path for one in found for path in one.files}
        rest: dict[str, list[str]] = {}
        for path in tables:
            form = format_of(path)
            if path not in taken and form is not None and form not in TEXT_FORMATS:
                rest.setdefault(form, []).append(path)
        # A split is in one format, by `datasets`' rule; Parquet beside Arrow is data all the same.
        return groups + [Group(f"rest--{form}", form, tuple(rest[form]), {}) for form in sorted(rest)]

    def _card(self) -> str:
        if "README.md" not in self._walk.files:
            return ""
        with (self._root / "README.md").open("rb") as file:
            return file.read(_MAX_JSON_BYTES).decode("utf-8", "replace")


def _each_once(paths: Iterable[Path]) -> Iterator[Path]:
    """The first of those that lead to the same place: names can do so in any number, by links."""
    seen: set[str] = set()
    for path in paths:
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield path


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - pathlib raises where a name is too long for any file


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole"
    return f"{place}: {first['msg']}"[:300]


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")
