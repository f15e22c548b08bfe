"""Which columns of a row name files, and which listed file a name means."""

import posixpath
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vlm_assets.captions.words import plain_text
from vlm_assets.words.layout import nfc
from vlm_assets.words.suffixes import IMAGE_SUFFIXES

_ONE: Final = "file_name"
_MANY: Final = "file_names"


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file as a row names it. `column` is the one that its image would have in `datasets`."""

    column: str
    name: str


def is_name_column(name: str) -> bool:
    """Whether a column names files by `datasets`' rule: `file_name(s)`, or a name that ends in `_file_name(s)`."""
    return name in (_ONE, _MANY) or name.endswith((f"_{_ONE}", f"_{_MANY}"))


def name_column_test(declared: str | None) -> Callable[[str], bool]:
    """What tells name columns: the declared one alone, else `is_name_column`."""
    if declared is None:
        return is_name_column
    wanted = nfc(declared)
    return lambda name: name == wanted


def split_row(
    values: Mapping[str, Any], is_name: Callable[[str], bool]
) -> tuple[list[NamedFile], dict[str, Any]]:
    """The files that a row names, in the order of its columns and at any depth, and its other values.

    Values of a name column that are no names (a fraction, an empty cell) name nothing; they stay nowhere, for such a
    cell says nothing else.
    """
    files: list[NamedFile] = []
    rest: dict[str, Any] = {}
    for column, value in values.items():
        if is_name(column):
            files += _named(_image_column(column), value)
        else:
            kept = _without_names(value, column, is_name, files)
            if kept is not None or value is None:
                rest[column] = kept
    return files, rest


def listed_name(name: str, folder: str, listed: Container[str], suffixes: Collection[str] = ()) -> str | None:
    """The key of the listed file that a name means, from the folder of its table on; None where none is listed.

    A name is taken as it stands first, then with backslashes as `/` and without `./`, `//` and inner `..`, then
    without blanks around it. Case counts. Nothing is opened by such a name: what is not listed is not found, so
    neither an absolute path nor `..` leads anywhere outside.

    `suffixes`: of a name without an image's suffix (an id) those are tried; it means a file where one alone is there.
    """
    base = f"{folder}/" if folder else ""
    exact = nfc(base + name)
    if exact in listed:
        return exact
    for candidate in (name, name.strip()):
        plain = candidate.replace("\\", "/")
        if not plain or plain.startswith("/") or "://" in plain:
            return None
        key = nfc(posixpath.normpath(base + plain))
        if key in listed:
            return key
    ids = [key for key in (f"{exact}{suffix}" for suffix in suffixes) if key in listed]
    return ids[0] if len(ids) == 1 and not _has_suffix(name) else None


def image_suffixes(listed: Iterable[str]) -> frozenset[str]:
    """Suffixes of the images among these, as they are written."""
    return frozenset(posixpath.splitext(key)[1] for key in listed if _has_suffix(key))


def _has_suffix(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _image_column(column: str) -> str:
    if column.endswith(_MANY):
        return column[: -len(_MANY)].removesuffix("_") or "images"
    if column.endswith(_ONE):
        return column[: -len(_ONE)].removesuffix("_") or "image"
    return column


def _named(column: str, value: Any) -> list[NamedFile]:
    if isinstance(value, str | bytes):
        name = plain_text(value)
        return [NamedFile(column, name)] if name.strip() else []
    if isinstance(value, int) and not isinstance(value, bool):  # an id: `1234` of `1234.jpg`
        return [NamedFile(column, str(value))]
    if isinstance(value, (list, tuple)):
        return [file for one in value for file in _named(column, one)]
    return []


def _without_names(value: Any, path: str, is_name: Callable[[str], bool], files: list[NamedFile]) -> Any:
    """A value without the name columns inside it, which go to `files`; None where nothing else was in it."""
    if isinstance(value, Mapping):
        kept = {}
        for column, inner in value.items():
            if isinstance(column, str) and is_name(column):
                files += _named(f"{path}.{_image_column(column)}", inner)
            else:
                kept[column] = _without_names(inner, f"{path}.{column}", is_name, files)
        return kept if kept or not value else None
    if isinstance(value, (list, tuple)):
        return [_without_names(inner, path, is_name, files) for inner in value]
    return value
