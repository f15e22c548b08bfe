"""Samples of WebDataset tars: which members are one, which of them are images, what the others say.

Source: the WebDataset format description (webdataset/webdataset, README "The WebDataset Format"): members that share
a name up to the first dot of the base name. Where they do not stand side by side, the first ones wait on disk.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final, Self

from blake3 import blake3

from vlm_assets.archives.members import Member
from vlm_assets.archives.names import Encodings, is_image_name, suffix_of
from vlm_assets.archives.read import Reading as ArchiveReading
from vlm_assets.archives.read import read_members
from vlm_assets.captions.conversations import Conversation, conversation_of
from vlm_assets.captions.json_rows import parsed_json
from vlm_assets.captions.json_values import json_value
from vlm_assets.captions.text_files import read_text
from vlm_assets.captions.trees import CaptionRule
from vlm_assets.captions.turns import MESSAGES_NAMES, ConversationError
from vlm_assets.captions.words import TEXT_NAMES, as_text, usual_texts
from vlm_assets.hub.columns import Wanted
from vlm_assets.hub.packed import PackedWords, names_members, packed_records, unjoined
from vlm_assets.words.caption_counts import GUESSED_NAME
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import Companion, LeftOut, Reject, RejectReason, SourceError
from vlm_assets.words.records import Event, Record, RecordImage

SAMPLE_BYTES: Final = 512 * 2**20
"""What the members of one key may hold together, and so how much of a tar is in memory at most. Less than what a row
of a table may: such a row was written as one, while names share a key by accident."""
_MEMBER_COST_BYTES: Final = 1024
"""What a member without bytes costs in memory."""
_PLAIN_FIELD: Final = re.compile(r"(?:(?:image|img)?[._-]?\d*\.)?[a-z0-9]+", re.IGNORECASE)
"""`jpg`, `0.jpg`, `image_1.png`: the images of a sample. `seg.png` or `depth.png` is something about one."""
_TEXT_SUFFIXES: Final = frozenset({".txt", ".text", ".caption", ".transcript"})
_WORD_SUFFIXES: Final = _TEXT_SUFFIXES | {".json", ".cls"}


@dataclass(slots=True)
class _Sample:
    """Members that share a key; none are kept once they are too large together."""

    key: str
    members: list[Member] = field(default_factory=list)
    size_bytes: int = 0
    count: int = 0

    def add(self, member: Member) -> None:
        self.size_bytes += len(member.data or b"") + _MEMBER_COST_BYTES
        self.count += 1
        if self.size_bytes <= SAMPLE_BYTES:
            self.members.append(member)
        else:
            self.members.clear()

    def field(self, member: Member) -> str:
        """What of a member's name is not the key: `jpg`, `seg.png`."""
        return member.name[len(self.key) + 1 :]


@dataclass(slots=True)
class _Met:
    """Which fields a tar's samples have, and which of the catalogue's columns one of them had."""

    fields: dict[str, None] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)

    def enter(self, values: Iterable[str]) -> None:
        if len(self.fields) < 1000:
            self.fields.update(dict.fromkeys(values))


def webdataset_records(
    parts: Sequence[Path],
    item: str,
    origin: str,
    reading: ArchiveReading,
    wanted: Wanted,
    words: PackedWords,
) -> Iterator[Event]:
    """A record a sample, in the order in which samples are complete, and what was left out of the tar.

    A tar of images with tables of their words in it, or beside it and naming some of them (one image a sample), and
    no words beside each, is read as an archive of images. Of a table beside it that is not joined, the rows are
    counted: the file is the repository's, and no member of any tar.

    Raises:
        SourceError: it cannot be read to its end, several images and none named, or a column of the catalogue that
            no sample has.
    """
    how = replace(reading, wanted=lambda _: True)
    names = _names(parts, origin, how, words.rule)
    if not names.has_words and (
        names.has_tables or (not names.several and names_members(parts, item, origin, reading, words))
    ):
        yield from packed_records(parts, item, origin, reading, words)
        return
    yield from unjoined(item, origin, reading, words)
    met = _Met()
    record = -1
    for found in _samples(parts, origin, how, wanted, names.torn):
        if isinstance(found, LeftOut):
            yield replace(found, key=f"{item}/{found.key}".rstrip("/"))
            continue
        record += 1
        if isinstance(found, Member):
            detail = f"{found.name}: {found.detail}"[:300]
            yield Reject(item, found.reason or RejectReason.UNREADABLE, detail, record)
        elif found.size_bytes > SAMPLE_BYTES:
            detail = f"{found.key}: {so_many(found.count, 'member')} with this name, more than {SAMPLE_BYTES} bytes"
            yield Reject(item, RejectReason.TOO_MANY_BYTES, detail[:300], record)
        else:
            yield _record(found, item, record, origin, wanted, met, reading.encoding)
        if isinstance(found, _Sample) and found.count > 1:
            yield Companion(f"{item}/{found.key}", found.count - 1)
    if record < 0:
        yield Reject(item, RejectReason.EMPTY, "a tar without samples")
    else:
        _check_columns(wanted, met, origin)


def _check_columns(wanted: Wanted, met: _Met, origin: str) -> None:
    """Returns where every column that the catalogue names was met.

    Raises:
        SourceError: one was in no sample; lists the fields.
    """
    named = {
        "text_column": [wanted.text_column], "messages_column": [wanted.messages_column],
        "image_column": wanted.image_columns,
    }  # fmt: skip
    if wanted.label is not None and wanted.label.column:
        named["subcategory_from.column"] = [wanted.label.column]
    for key, columns in named.items():
        for column in columns:
            if column is not None and column not in met.found:
                raise SourceError(
                    f"{origin}: no sample has {column!r} ({key}); there are: {', '.join(sorted(met.fields)[:50])}"
                )


def _samples(
    parts: Sequence[Path],
    origin: str,
    reading: ArchiveReading,
    wanted: Wanted,
    torn: Mapping[int, int],
) -> Iterator[_Sample | Member | LeftOut]:
    """Samples, members whose name came before, and what was left out."""
    missing = dict(torn)
    sample: _Sample | None = None
    with _Aside(reading.spool_dir) as aside:
        for member in read_members(parts, reading, where=origin):
            if isinstance(member, LeftOut) or member.reason is RejectReason.DUPLICATE_ITEM:
                yield member
                continue
            key = _sample_key(member.name)
            if sample is not None and key != sample.key:
                yield from _parts_of(sample, wanted)
                sample = None
            if (mark := _mark(key)) in torn:
                aside.put(key, member)
                missing[mark] -= 1
                if not missing[mark]:
                    yield from _parts_of(aside.take(key), wanted)
                continue
            sample = sample or _Sample(key)
            sample.add(member)
    if sample is not None:
        yield from _parts_of(sample, wanted)


def _parts_of(sample: _Sample, wanted: Wanted) -> Iterator[_Sample]:
    """The sample; or several, where its members are pairs of an image and its words under dotted names.

    `a.0.jpg`, `a.0.txt`, `a.1.jpg`, `a.1.txt`: whoever wrote these meant `a.0` and `a.1`.
    """
    if len(sample.members) < 3:
        yield sample
        return
    stems: dict[str, list[Member]] = {}
    for member in sample.members:
        stems.setdefault(sample.field(member).rpartition(".")[0], []).append(member)
    suffixes = {stem: [suffix_of(member.name) for member in members] for stem, members in stems.items()}
    images = [sum(map(_is_image_suffix, found)) for found in suffixes.values()]
    has_words = any(_WORD_SUFFIXES.intersection(found) for found in suffixes.values())
    if wanted.image_columns or "" in stems or max(images, default=0) > 1 or sum(images) < 2 or not has_words:
        yield sample
        return
    for stem, members in stems.items():
        part = _Sample(f"{sample.key}.{stem}")
        for member in members:
            part.add(member)
        yield part


def _is_image_suffix(suffix: str) -> bool:
    return is_image_name(f"x{suffix}")


@dataclass(frozen=True, slots=True)
class _Names:
    """What the names of a tar's members tell."""

    torn: Mapping[int, int]
    """Keys whose members do not stand side by side, with how many they are."""
    has_tables: bool
    """Whether one is a table of captions by its name."""
    has_words: bool
    """Whether one holds words of its sample."""
    several: bool
    """Whether a key has several images: masks, frames."""


def _names(parts: Sequence[Path], origin: str, reading: ArchiveReading, rule: CaptionRule) -> _Names:
    has_tables = has_words = several = False
    pictured: set[int] = set()
    counts: dict[int, int] = {}
    names: set[int] = set()
    torn: set[int] = set()
    last: int | None = None
    for member in read_members(parts, replace(reading, unread=lambda _: True), where=origin):
        if isinstance(member, LeftOut) or (name := _mark(member.name)) in names:
            continue
        names.add(name)
        has_tables |= bool(rule.tables) and rule.may_own(member.name)
        has_words |= suffix_of(member.name) in _WORD_SUFFIXES
        key = _mark(_sample_key(member.name))
        if is_image_name(member.name):
            several |= key in pictured
            pictured.add(key)
        if key != last and key in counts:
            torn.add(key)
        counts[key] = counts.get(key, 0) + 1
        last = key
    return _Names({key: counts[key] for key in torn}, has_tables, has_words, several)


def _mark(text: str) -> int:
    """Eight bytes for a name: a tar may have a million of them."""
    return int.from_bytes(blake3(text.encode()).digest(8), "little")


class _Aside:
    """Members that wait on disk until the others of their samples have come."""

    def __init__(self, folder: Path | None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
        self._places: defaultdict[str, list[tuple[Member, int, int | None]]] = defaultdict(list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, key: str, member: Member) -> None:
        """Keeps a member."""
        place = self._file.seek(0, 2)
        size_bytes = None if member.data is None else self._file.write(member.data)
        self._places[key].append((replace(member, data=None), place, size_bytes))

    def take(self, key: str) -> _Sample:
        """The sample of all members that were kept under a key."""
        sample = _Sample(key)
        for member, place, size_bytes in self._places.pop(key):
            self._file.seek(place)
            data = None if size_bytes is None else self._file.read(size_bytes)
            sample.add(replace(member, data=data))
        return sample


def _sample_key(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _record(
    sample: _Sample,
    item: str,
    record: int,
    origin: str,
    wanted: Wanted,
    met: _Met,
    encoding: Encodings,
) -> Record | Reject:
    """A sample with all its images; one that cannot be read, or whose words cannot, rejects it whole."""
    key = sample.key
    by_field = {sample.field(member): member for member in sample.members}
    met.enter(by_field)
    chosen = _image_fields(by_field, key, origin, wanted)
    met.found.update(chosen)
    fault = _fault(by_field, chosen)
    if fault is not None or not chosen:
        reason = fault.reason if fault is not None and fault.reason else RejectReason.NO_IMAGE
        detail = "" if fault is None else f"{fault.name}: {fault.detail}"
        return Reject(item, reason, f"{key}: {detail or 'no image member'}"[:300], record)
    try:
        values = {
            name: _field_value(name, one, encoding)
            for name, one in sorted(by_field.items())
            if name not in chosen
        }
        met.enter(f"json.{name}" for name in values.get("json") or () if isinstance(values["json"], Mapping))
        text, extra = _text(values, wanted.text_column, f"sample {key}", met)
        said, extra = _messages(extra, wanted.messages_column, len(chosen), met)
        met.found.update(extra)
    except ConversationError as error:
        return Reject(item, RejectReason.BAD_CONVERSATION, f"{key}: {error}"[:300], record)
    except SourceError as error:
        return Reject(item, RejectReason.UNREADABLE, str(error)[:300], record)
    images = [RecordImage(by_field[name].data or b"", name if len(chosen) > 1 else None) for name in chosen]
    first = by_field[chosen[0]].name if len(chosen) == 1 else key
    return Record(
        item, record, f"{item}/{key}", images, f"{origin}#{first}", text=text, extra=extra,
        messages=None if said is None else said.messages, images_upstream=len(chosen),
        remarks=({} if said is None else {str(change): count for change, count in said.changes.items()})
        | ({GUESSED_NAME: 1} if any(one.guessed for one in sample.members) else {}),
    )  # fmt: skip


def _fault(by_field: Mapping[str, Member], chosen: Sequence[str]) -> Member | None:
    """The member without bytes that a sample cannot do without: an image, words, or any where it has no image."""
    refused = [name for name, member in by_field.items() if member.data is None]
    needed = [name for name in refused if not chosen or name in chosen or _suffix(name) in _WORD_SUFFIXES]
    return by_field[needed[0]] if needed else None


def _image_fields(by_field: Mapping[str, Member], key: str, origin: str, wanted: Wanted) -> list[str]:
    """Fields of a sample that are its images: those named, else `jpg` or the numbered ones, else the only one."""
    images = [name for name in by_field if is_image_name(f"x.{name}")]
    if named := wanted.image_columns:
        return [name for name in named if name in by_field]
    plain = sorted(filter(_PLAIN_FIELD.fullmatch, images), key=_field_order)
    if plain or len(images) <= 1:
        return plain or images
    if len({re.sub(r"\d+", "0", name.rpartition(".")[0]) for name in images}) == 1:
        return sorted(images, key=_field_order)
    raise SourceError(
        f"{origin}, sample {key}: several images: {', '.join(sorted(images))}; set image_column to one of them, "
        "or to the list of those that make up a sample"
    )


def _field_order(name: str) -> tuple[list[int], str]:
    return [int(number) for number in re.findall(r"\d+", name.rpartition(".")[0])], name


def _messages(
    values: dict[str, Any], column: str | None, images: int, met: _Met
) -> tuple[Conversation | None, dict[str, Any]]:
    """The conversation: the named member (or `json.key` inside one), else one under a usual name in a json."""
    nested = [f"json.{name}" for name in MESSAGES_NAMES]
    for candidate in (column,) if column else (*MESSAGES_NAMES, *nested):
        name, _, inner = candidate.partition(".")
        left, rest = dict(values), values.get(name)
        if candidate in values:
            value = left.pop(candidate)
        elif inner and isinstance(rest, Mapping) and inner in rest:
            value = rest[inner]
            left[name] = {key: one for key, one in rest.items() if key != inner}
        else:
            continue
        met.found.add(candidate)
        if (said := conversation_of(value, images)) is None:
            continue
        left = {key: one for key, one in left.items() if key != name or one}
        return said, {**left, **({candidate: json_value(said.beside)} if said.beside else {})}
    return None, values


def _suffix(field: str) -> str:
    """The suffix of a field's name in small letters: `.png` of `seg.PNG`, `.jpg` of `jpg`."""
    return f".{field.rpartition('.')[2].lower()}"


def _field_value(name: str, member: Member, encoding: Encodings) -> Any:
    """What a member says, as JSON.

    Raises:
        SourceError: words that cannot be read for certain.
    """
    if member.data is None:
        return {"rejected": member.reason, "detail": member.detail}
    if _suffix(name) not in _WORD_SUFFIXES:
        return json_value(member.data)
    data = member.data
    told = encoding if encoding is None or isinstance(encoding, str) else tuple(encoding)
    content = read_text(member.name, lambda: BytesIO(data), told)
    return json_value(parsed_json(content, member.name)) if _suffix(name) == ".json" else content.strip()


def _text(
    values: dict[str, Any], column: str | None, where: str, met: _Met
) -> tuple[str | None, dict[str, Any]]:
    """The text: the named member (or `json.key` inside one), else `txt` and the like, else a json's caption.

    Where none of these is there, the only member of text is it.

    Raises:
        SourceError: the named one holds objects.
    """
    inside = values.get("json")
    nested = [f"json.{name}" for name in (usual_texts(inside) if isinstance(inside, Mapping) else ())]
    texts = [name for name in values if _suffix(name) in _TEXT_SUFFIXES]
    usual = (*_usual(values), *nested, *(texts if len(texts) == 1 else ()))
    for candidate in (column,) if column else usual:
        name, _, inner = candidate.partition(".")
        whole = values.get(name)
        if candidate in values:
            value, kept = values[candidate], {k: v for k, v in values.items() if k != candidate}
        elif inner and isinstance(whole, Mapping) and inner in whole:
            value, kept = whole[inner], values
        else:
            continue
        met.found.add(candidate)
        if column is None and not _is_text(value):
            continue
        return as_text(value, f"{where}, {candidate}"), kept
    return None, values


def _usual(values: Mapping[str, Any]) -> list[str]:
    """Members under a usual name, whatever the case of its letters."""
    by_name = {name.lower(): name for name in sorted(values, reverse=True)}
    return list(dict.fromkeys(by_name[name.lower()] for name in TEXT_NAMES if name.lower() in by_name))


def _is_text(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, str) for one in value)
    return isinstance(value, str)
