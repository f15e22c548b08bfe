"""Cells with images: bytes, base64 text, or the name of a file that is followed where it may be.

Pure but for what `Follow` does. Images stay encoded.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from vlm_assets.archives.contents import is_image_head
from vlm_assets.words.errors import RejectReason

ImageShape = Literal["struct", "binary", "text"]
_NAME_CHARS: Final = 4096
"""A longer text is no file's name."""


_KINDS: Final[Mapping[ImageShape, type | tuple[type, ...]]] = {
    "struct": Mapping,
    "binary": bytes,
    "text": str,
}
_SAID: Final[Mapping[ImageShape, str]] = {
    "struct": "an object with bytes or path",
    "binary": "bytes",
    "text": "text",
}


@dataclass(frozen=True, slots=True)
class ImageColumn:
    """A column with images. `many`: a row holds a list of them."""

    name: str
    shape: ImageShape
    """How one image is held: struct<bytes, path>, plain bytes, or base64 text or a name."""
    many: bool
    beside: tuple[str, ...] = ()
    """Fields of the struct that hold neither the bytes nor the path: captions, sizes."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One image of a row: its bytes or what is wrong, upstream's path, and where in the row it stands."""

    data: bytes | Path | None
    path: str | None
    problem: str | None
    name: str
    reason: RejectReason = RejectReason.NO_IMAGE
    transient: bool = False
    origin: str | None = None
    """Where the bytes lie, if not in the row."""
    wants: str | None = None
    """The name of a file that holds them."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A file that rows name, or why it cannot be had."""

    path: Path | None
    origin: str
    reason: RejectReason = RejectReason.NOT_FOUND
    detail: str = ""
    transient: bool = False
    data: bytes | None = None
    """Its bytes, where they lie in no file of their own."""


class Follow(Protocol):
    """Files that a table's rows may name: those of its repository or folder, no others."""

    def key_of(self, name: str) -> str | None:
        """The listed file that a name means; None where it means none."""
        ...

    def why_not(self, name: str) -> str:
        """Why a name means none."""
        ...

    def get(self, keys: Sequence[str]) -> Mapping[str, Followed]:
        """The files of these keys, each once."""
        ...


def cells_of(values: Mapping[str, Any], columns: Sequence[ImageColumn], follow: Follow | None) -> list[Cell]:
    """The images of a row, column by column. A null column is no image, a null in a list is a missing one."""
    cells: list[Cell] = []
    for column in columns:
        value = values[column.name]
        if value is None:
            continue
        if not column.many:
            cells.append(_cell(value, column.shape, column.name, follow))
        elif isinstance(value, (list, tuple)):
            cells += [_cell(one, column.shape, f"{column.name}[{n}]", follow) for n, one in enumerate(value)]
        else:
            cells.append(_of_another_kind(value, "a list of images", column.name))
    return cells


def count_images(value: Any, column: ImageColumn) -> int:
    """How many images a cell of a column has upstream, be they to be had or not."""
    if value is None:
        return 0
    return len(value) if column.many and isinstance(value, (list, tuple)) else 1


def beside_image(value: Any, column: ImageColumn) -> Any:
    """What a cell says beside its image, or one for each of its images; None where it says nothing."""
    if column.many:
        told = [_beside(one, column) for one in _images_of(value, column)]
        return told if any(told) else None
    return _beside(value, column)


def _images_of(value: Any, column: ImageColumn) -> Sequence[Any]:
    """The cell's images; of JSON, where each row may be of another kind, none where a list is none."""
    if not column.many:
        return (value,)
    return value if isinstance(value, (list, tuple)) else ()


def _beside(value: Any, column: ImageColumn) -> dict[str, Any] | None:
    if not isinstance(value, Mapping):
        return None
    told = {name: value.get(name) for name in column.beside}
    return told if any(one is not None for one in told.values()) else None


def names_in(value: Any, column: ImageColumn) -> Iterator[str]:
    """Names of files that a cell of a column gives instead of bytes; of text each that could be one."""
    for one in _images_of(value, column):
        if column.shape == "struct" and isinstance(one, Mapping):
            if not one.get("bytes") and one.get("path"):
                yield str(one["path"])
        elif column.shape == "text" and isinstance(one, str) and len(one) <= _NAME_CHARS:
            yield one


def followed_cells(rows: Sequence[list[Cell]], follow: Follow | None) -> list[list[Cell]]:
    """The cells of some rows with the files that they name, fetched together."""
    keys = list(dict.fromkeys(cell.wants for cells in rows for cell in cells if cell.wants is not None))
    if follow is None or not keys:
        return list(rows)
    files = follow.get(keys)
    return [[_with_file(cell, files) for cell in cells] for cells in rows]


def gives_image(value: Any, follow: Follow | None) -> bool:
    """Whether a text, or one of a list, plainly is an image in base64 or names a file."""
    if isinstance(value, (list, tuple)):
        return any(gives_image(one, follow) for one in value)
    if not isinstance(value, str) or not value:
        return False
    if follow is not None and len(value) <= _NAME_CHARS and follow.key_of(value) is not None:
        return True
    data = decoded_text_image(value)
    return data is not None and is_image_head(data)


def decoded_text_image(text: str) -> bytes | None:
    """Image bytes from base64 text or a `data:` URI; None for anything else (a path, a URL)."""
    body = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(body.split()), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _with_file(cell: Cell, files: Mapping[str, Followed]) -> Cell:
    if cell.wants is None:
        return cell
    file = files[cell.wants]
    data = file.data if file.data is not None else file.path
    if data is None:
        return replace(cell, problem=file.detail, reason=file.reason, transient=file.transient)
    return replace(cell, data=data, origin=file.origin)


def _cell(value: Any, shape: ImageShape, name: str, follow: Follow | None) -> Cell:
    if value is None:
        return Cell(None, None, None, name)
    if not _is_of(shape, value):
        return _of_another_kind(value, _SAID[shape], name)
    if shape == "struct":
        path, data = value.get("path"), value.get("bytes")
        data = decoded_text_image(data) if isinstance(data, str) else data
        if data is not None and not isinstance(data, bytes):
            return _of_another_kind(data, "bytes or base64 text", f"{name}.bytes")
        return (
            Cell(data, path, None, name) if data or not path else _named(str(path), str(path), name, follow)
        )
    if shape == "binary":
        return Cell(value or None, None, None, name)
    if follow is not None and len(value) <= _NAME_CHARS and follow.key_of(value) is not None:
        return _named(value, value, name, follow)
    data = decoded_text_image(value)
    if data is not None or follow is None or len(value) > _NAME_CHARS:
        problem = None if data else f"neither base64 nor a data URI: {value[:60]!r}"
        return Cell(data, None, problem, name)
    return _named(value, None, name, follow)


def _is_of(shape: ImageShape, value: Any) -> bool:
    return isinstance(value, _KINDS[shape])


def _of_another_kind(value: Any, expected: str, name: str) -> Cell:
    """A cell whose value is not of the kind that its column has elsewhere, as rows of JSON may be."""
    return Cell(None, None, f"{type(value).__name__} {str(value)[:60]!r} where {expected} is expected", name)


def _named(wanted: str, path: str | None, name: str, follow: Follow | None) -> Cell:
    """A cell that names a file."""
    if follow is None:
        return Cell(None, path, f"only a path: {wanted[:100]}", name)
    key = follow.key_of(wanted)
    if key is None:
        reason = RejectReason.NOT_FOUND
        return Cell(None, path, f"names {wanted[:100]!r}, {follow.why_not(wanted)}", name, reason)
    return Cell(None, path, None, name, wants=key)
