"""Rows of JSON files, streamed: lines, an array of objects, or one object in a form whose meaning is plain."""

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from vlm_assets.captions.json_values import MAX_DEPTH, is_too_deep, whole_characters
from vlm_assets.captions.text_files import DAMAGED, TextFile
from vlm_assets.words.errors import SourceError
from vlm_assets.words.layout import nfc

_CHUNK_CHARS: Final = 2**20
_VALUE_CHARS: Final = 256 * 2**20
"""One value is held in memory as a whole; a larger one is refused."""
_BETWEEN: Final = " \t\r\n"
_KEY_ENDS: Final = re.compile(r'"[ \t\r\n]*:')

NumberedRow = tuple[int, dict[str, Any]]


def json_line_rows(file: TextFile) -> Iterator[NumberedRow]:
    """An object a line, with its line; blank lines are none.

    Raises:
        SourceError: a line that is not JSON or no object.
    """
    for number, line in enumerate(file.lines(), 1):
        if line.strip():
            yield (
                number,
                _row(parsed_json(line, f"{file.where}: line {number}"), f"{file.where}: line {number}"),
            )


def json_rows(file: TextFile, wanted: Callable[[str], bool]) -> Iterator[NumberedRow]:
    """The objects of a JSON file, with their number from 1, in bounded memory where they stand in an array.

    Read are: an array of objects; objects one after the other (JSON lines under another name); one object that maps
    names of files to texts or objects, that holds one list of objects, or that is a COCO file of captions; one
    object that has a column which `wanted` knows is a row.

    Raises:
        SourceError: not JSON to its end, or in none of these forms.
    """
    values = _values(file)
    first = next(values, None)
    if first is None:
        return
    in_array, value = first
    second = next(values, None)
    if in_array or second is not None:
        yield 1, _row(value, f"{file.where}: row 1")
        if second is not None:
            yield 2, _row(second[1], f"{file.where}: row 2")
        for number, (_, other) in enumerate(values, 3):
            yield number, _row(other, f"{file.where}: row {number}")
        return
    row = _row(value, file.where)
    yield from enumerate([row] if any(map(wanted, row)) else _rows_of_object(row, file.where), 1)


def parsed_json(line: str, where: str) -> Any:
    """A JSON value out of text that is nothing else.

    Raises:
        SourceError: it is no JSON, or one of its objects says two things under one name.
    """
    try:
        value = _shallow(orjson.loads(line), where)
    except orjson.JSONDecodeError as error:
        return whole_characters(_shallow(_plainly_parsed(line, where, str(error)), where))
    if len(_KEY_ENDS.findall(line)) != _count_keys(value):  # `":` may stand in a text too
        _plainly_parsed(line, where)  # orjson keeps the last of two values under one name
    return value


def _plainly_parsed(line: str, where: str, told: str = "") -> Any:
    """What Python's `json` reads: also the NaN, Infinity and halves of surrogate pairs that it writes."""
    try:
        return json.loads(line, object_pairs_hook=_object)
    except _TwiceError as error:
        raise SourceError(f"{where}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where} is not JSON: {told or error}") from None


class _TwiceError(Exception):
    """An object that says two things under one name."""


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        for name, value in pairs:
            if made[name] != value:
                raise _TwiceError(f"{name!r} stands twice in an object, with two values; which is meant?")
    return made


def _count_keys(value: Any) -> int:
    """Keys of all objects in a value."""
    count, left = 0, [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            count += len(one)
            left += [inner for inner in one.values() if isinstance(inner, dict | list)]
        elif isinstance(one, list):
            left += [inner for inner in one if isinstance(inner, dict | list)]
    return count


def _shallow(value: Any, where: str) -> Any:
    if is_too_deep(value):
        raise SourceError(f"{where}: lists and objects in each other, more than {MAX_DEPTH} deep")
    return value


def _row(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SourceError(f"{where}: expected an object, got {_spoken(value)}")
    row = {nfc(name): cell for name, cell in value.items()}
    if len(row) < len(value):
        names = [nfc(name) for name in value]
        twice = next(name for name in names if names.count(name) > 1)
        raise SourceError(f"{where}: {twice!r} stands twice, written in two forms of Unicode")
    return row


def _spoken(value: Any) -> str:
    names = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _values(file: TextFile) -> Iterator[tuple[bool, Any]]:
    """The elements of the array that the file is, or the values that follow each other in it; and which of both."""
    try:
        with file.stream() as stream:
            yield from _Scanner(stream, file.where).values()
    except (*DAMAGED, UnicodeError) as error:
        raise SourceError(f"{file.where}: has changed while it was read ({error})") from error


class _Scanner:
    """Cuts values off a stream of characters; holds one value and a chunk."""

    def __init__(self, stream: io.TextIOBase, where: str) -> None:
        self._stream = stream
        self._where = where
        self._text = ""
        self._place = 0
        self._line = 1
        self._ended = False
        self._decode = json.JSONDecoder(object_pairs_hook=_object).raw_decode

    def values(self) -> Iterator[tuple[bool, Any]]:
        if self._next() != "[":
            while self._next():
                yield False, self._value()
            return
        self._place += 1
        while self._next() != "]":
            yield True, self._value()
            mark = self._next()
            if mark == ",":
                self._place += 1
                if self._next() == "]":
                    raise self._error("a value after the comma")
            elif mark != "]":
                raise self._error("a comma or the array's end")
        self._place += 1
        if self._next():
            raise self._error("nothing after the array's end")

    def _next(self) -> str:
        """The next character that is not white; "" at the end."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in _BETWEEN:
                self._place += 1
            if self._place < len(self._text) or self._ended:
                return self._text[self._place : self._place + 1]
            self._fill()

    def _value(self) -> Any:
        while True:
            try:
                value, end = self._decode(self._text, self._place)
            except json.JSONDecodeError as error:
                if self._ended or len(self._text) - self._place > _VALUE_CHARS:
                    raise self._error(error.msg, error.pos) from None
            except RecursionError:
                raise self._error("less nesting") from None
            except _TwiceError as error:
                line = self._line + _lines(self._text, self._place)
                raise SourceError(f"{self._where}: line {line}: {error}") from None
            else:
                if is_too_deep(value):
                    raise self._error("less nesting")
                self._place = end
                return whole_characters(value)
            self._fill()

    def _fill(self) -> None:
        """Reads as much again as is held, so that a value of any length is looked at a few times only."""
        self._line += _lines(self._text, self._place)
        self._text = self._text[self._place :]
        self._place = 0
        more = self._stream.read(max(_CHUNK_CHARS, len(self._text)))
        self._ended = not more
        self._text += more

    def _error(self, expected: str, place: int | None = None) -> SourceError:
        line = self._line + _lines(self._text, self._place if place is None else place)
        return SourceError(f"{self._where}: line {line} is not JSON: expected {_lower(expected)}")


def _lower(told: str) -> str:
    return told.removeprefix("Expecting ").removeprefix("expected ")


def _lines(text: str, end: int) -> int:
    return text.count("\n", 0, end)


def _rows_of_object(value: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    lists = {name: one for name, one in value.items() if _is_table(one)}
    if {"images", "annotations"} <= set(lists):
        yield from _coco_rows(lists["images"], lists["annotations"], where)
    elif value and all(isinstance(one, str) or _is_texts(one) for one in value.values()):
        for name, text in value.items():
            yield {"file_name": name, "text": text}
    elif value and all(isinstance(one, dict) for one in value.values()):
        for name, row in value.items():
            yield {"file_name": name, **{nfc(key): cell for key, cell in row.items()}}
    elif len(lists) == 1:
        for row in next(iter(lists.values())):
            yield _row(row, where)
    else:
        raise SourceError(
            f"{where}: an object with {', '.join(sorted(value)[:10]) or 'nothing'}; expected an array of objects, an "
            "object that maps file names to texts, one with a single list of objects, or COCO captions"
        )


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _coco_rows(
    images: list[dict[str, Any]], annotations: list[dict[str, Any]], where: str
) -> Iterator[dict[str, Any]]:
    """A row a caption, with its image's own columns.

    Source: cocodataset.org, "Data format", 5. Image Captioning.

    Raises:
        SourceError: annotations without captions, or of an image that is not there.
    """
    by_id = {_coco_id(image.get("id")): image for image in images}
    for number, annotation in enumerate(annotations, 1):
        image = by_id.get(_coco_id(annotation.get("image_id")))
        if image is None or not isinstance(annotation.get("caption"), str):
            told = "names no image of the file" if image is None else "has no caption"
            raise SourceError(
                f"{where}: annotation {number} {told}; of COCO files those of captions are read"
            )
        yield {**image, **annotation}


def _coco_id(value: Any) -> Any:
    """An id, or what a list or an object says, for such are no key."""
    return str(value) if isinstance(value, list | dict) else value
