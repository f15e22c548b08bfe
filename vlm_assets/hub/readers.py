"""A data file on disk as record batches or records, in file order, in bounded memory, images undecoded.

Parquet and Arrow through pyarrow over a memory map; json and csv through `datasets`' own builders in Arrow; archives
member by member. `load_dataset` without streaming would write a second full copy. Anonymous memory is a few
batches, but pyarrow holds twice the largest Parquet page while it decompresses it (measured: a row group of 100
images of 1 MB 440 MiB in all, one of 300 720 MiB, a single page of 1 GB 2.2 GiB).
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import orjson

from vlm_assets.archives.limits import ArchiveLimits
from vlm_assets.archives.members import Member
from vlm_assets.archives.names import Encodings, is_image_name
from vlm_assets.archives.read import Reading as ArchiveReading
from vlm_assets.archives.read import read_members
from vlm_assets.captions.conversations import Conversation, normalise
from vlm_assets.captions.json_values import json_value
from vlm_assets.captions.turns import MESSAGES_NAMES, ConversationError
from vlm_assets.captions.words import TEXT_NAMES
from vlm_assets.hub.columns import Wanted
from vlm_assets.hub.packed import PackedWords, packed_records
from vlm_assets.hub.tables import Columns, plan_columns, records_of
from vlm_assets.words.errors import LeftOut, Reject, RejectReason, SourceError
from vlm_assets.words.records import Record, RecordImage

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_BYTES: Final = 16 * 2**20
"""Planned bytes of a batch; a single larger row is a batch of its own."""
MAX_BATCH_ROWS: Final = 1024
_SAMPLES: Final = 8
_PLAIN_FIELD: Final = re.compile(r"(?:(?:image|img)?[._-]?\d*\.)?[a-z0-9]+", re.IGNORECASE)
"""`jpg`, `0.jpg`, `image_1.png`: the images of a sample. `seg.png` or `depth.png` is something about one."""
_END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
TABLE_FORMATS: Final = ("parquet", "arrow", "json", "csv")
SAMPLE_BYTES: Final = 512 * 2**20
"""What the members of one WebDataset key may hold together, and so how much of a tar is in memory at most. Less than
what a row of a table may: such a row was written as one, while names share a key by accident."""
_MEMBER_COST_BYTES: Final = 1024
"""What a member without bytes costs in memory."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the data files of a source are read."""

    limits: ArchiveLimits
    wanted: Wanted = field(default_factory=Wanted)
    features: Mapping[str, Any] = field(default_factory=dict)
    """From the README; those in a file's own schema win."""
    spool_dir: Path | None = None
    """Where archives inside archives may lie while they are read."""
    encoding: Encodings = None
    """Of names and texts in archives that are neither declared nor UTF-8."""
    words: PackedWords = field(default_factory=PackedWords)
    """Of images in archives."""


def read_data_file(
    path: Path | Sequence[Path], kind: str, item: str, origin: str, reading: Reading
) -> Iterator[Record | Reject | LeftOut]:
    """All records of a data file, and what was left out of an archive. Several files: parts of a split archive.

    Raises:
        SourceError: it cannot be read to its end, or its columns leave open which is the image.
    """
    parts = [path] if isinstance(path, Path) else list(path)
    if kind == "webdataset":
        yield from _webdataset(parts, item, origin, reading)
    elif kind == "archive":
        how = ArchiveReading(reading.limits, is_image_name, reading.encoding, reading.spool_dir)
        yield from packed_records(parts, item, origin, how, reading.words)
    else:
        yield from _table(parts[0], kind, item, origin, reading)


def batches_of(
    path: Path, kind: str, where: str, columns: Sequence[str] | None = None
) -> "Iterator[pa.RecordBatch]":
    """Record batches of a table file, each planned to `BATCH_BYTES`; `columns` only where given.

    Raises:
        SourceError: truncated, damaged, or not such a file.
    """
    import pyarrow as pa

    readers = {"parquet": _parquet, "arrow": _arrow, "json": _by_datasets, "csv": _by_datasets}
    try:
        for batch in readers[kind](path, kind):
            yield batch.select(list(columns)) if columns is not None else batch
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"{where}: cannot be read to its end ({_short(error)})") from error


def _table(path: Path, kind: str, item: str, origin: str, reading: Reading) -> Iterator[Record | Reject]:
    columns: Columns | None = None
    row = record = 0
    for batch in batches_of(path, kind, origin):
        if columns is None:
            columns = plan_columns(
                batch.schema, origin, reading.wanted, features=reading.features, samples=_samples_of(batch)
            )
        for event in records_of(batch, columns, item, origin, first_row=row, first_record=record):
            record = (event.record or 0) + 1
            yield event
        row += batch.num_rows
    if record == 0:
        yield Reject(item, RejectReason.EMPTY, "a data file without rows")


def _samples_of(batch: "pa.RecordBatch") -> dict[str, list[Any]]:
    """First values of the columns that may hold conversations as JSON text."""
    names = [name for name in batch.schema.names if name in MESSAGES_NAMES]
    return {name: batch.column(name).slice(0, _SAMPLES).to_pylist() for name in names}


def _parquet(path: Path, kind: str) -> "Iterator[pa.RecordBatch]":
    import pyarrow.parquet as pq

    del kind
    with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group)
            rows = _rows_per_batch(about.total_byte_size, about.num_rows)
            yield from file.iter_batches(batch_size=rows, row_groups=[group], use_threads=False)


def _arrow(path: Path, kind: str) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    del kind
    with pa.memory_map(str(path)) as source:
        is_file_format = source.read(6) == b"ARROW1"
        source.seek(max(source.size() - len(_END_OF_STREAM), 0))
        if not is_file_format and source.read() != _END_OF_STREAM:
            raise ValueError(
                "no end-of-stream mark: truncated"
            )  # pyarrow takes a cut between batches for the end
        source.seek(0)
        reader = pa.ipc.open_file(source) if is_file_format else pa.ipc.open_stream(source)
        batches = (
            (reader.get_batch(i) for i in range(reader.num_record_batches)) if is_file_format else reader
        )
        for batch in batches:
            rows = _rows_per_batch(batch.nbytes, batch.num_rows)
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)


def _by_datasets(path: Path, kind: str) -> "Iterator[pa.RecordBatch]":
    """JSON (lines or one array) and csv as `load_dataset` types them, streaming."""
    from datasets.packaged_modules.csv.csv import Csv
    from datasets.packaged_modules.json.json import Json

    options = {"sep": "\t"} if ".tsv" in path.name else {}
    with tempfile.TemporaryDirectory(prefix="vlm-") as cache:
        builder = (Json if kind == "json" else Csv)(
            cache_dir=cache, data_files={"train": [str(path)]}, dataset_name="rows", **options
        )
        stream = builder.as_streaming_dataset("train").with_format("arrow")
        for table in stream.iter(batch_size=256):
            for batch in table.combine_chunks().to_batches():
                rows = _rows_per_batch(batch.nbytes, batch.num_rows)
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)


def _rows_per_batch(size_bytes: int, rows: int) -> int:
    return max(1, min(MAX_BATCH_ROWS, BATCH_BYTES * max(rows, 1) // max(size_bytes, 1)))


def _webdataset(
    parts: Sequence[Path], item: str, origin: str, reading: Reading
) -> Iterator[Record | Reject | LeftOut]:
    """Samples of a tar in its order: members that share a name up to the first dot of the base name.

    Source: the WebDataset format description (webdataset/webdataset, README "The WebDataset Format").
    """
    record = -1
    for found in _samples(parts, origin, reading):
        if isinstance(found, LeftOut):
            yield replace(found, key=f"{item}/{found.key}".rstrip("/"))
            continue
        record += 1
        if found.size_bytes > SAMPLE_BYTES:
            detail = f"{found.key}: {found.count} members share this name, more than {SAMPLE_BYTES} bytes"
            yield Reject(item, RejectReason.TOO_MANY_BYTES, detail[:300], record)
        else:
            yield _webdataset_record(found.key, found.members, item, record, origin, reading)
    if record < 0:
        yield Reject(item, RejectReason.EMPTY, "a tar without samples")


@dataclass(slots=True)
class _Sample:
    """Members that stand side by side and share a key; none are kept once they are too large together."""

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


def _samples(parts: Sequence[Path], origin: str, reading: Reading) -> Iterator[_Sample | LeftOut]:
    sample: _Sample | None = None
    for member in _read_archive(parts, origin, reading, wanted=lambda _: True):
        if isinstance(member, LeftOut):
            yield member
            continue
        key = _sample_key(member.name)
        if sample is None or key != sample.key:
            if sample is not None:
                yield sample
            sample = _Sample(key)
        sample.add(member)
    if sample is not None:
        yield sample


def _read_archive(
    parts: Sequence[Path], origin: str, reading: Reading, *, wanted: Callable[[str], bool] = is_image_name
) -> Iterator[Member | LeftOut]:
    how = ArchiveReading(reading.limits, wanted, reading.encoding, reading.spool_dir)
    return read_members(parts, how, where=origin)


def _sample_key(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _webdataset_record(
    key: str, members: Sequence[Member], item: str, record: int, origin: str, reading: Reading
) -> Record | Reject:
    """A sample with all its images; one that cannot be read rejects it whole."""
    by_field = {member.name.rpartition("/")[2].partition(".")[2]: member for member in members}
    chosen = _image_fields(by_field, key, origin, reading)
    refused = [by_field[name] for name in chosen if by_field[name].data is None]
    if not chosen or refused:
        fault = next(iter(refused), None) or next((m for m in members if m.reason is not None), None)
        reason = fault.reason if fault is not None and fault.reason else RejectReason.NO_IMAGE
        detail = (
            f"{fault.name}: {fault.detail}" if fault and len(chosen) > 1 else fault.detail if fault else ""
        )
        return Reject(item, reason, f"{key}: {detail or 'no image member'}"[:300], record)
    values = {name: _field_value(name, one) for name, one in sorted(by_field.items()) if name not in chosen}
    text, extra = _webdataset_text(values, reading.wanted.text_column)
    try:
        said, extra = _webdataset_messages(extra, reading.wanted.messages_column, len(chosen))
    except ConversationError as error:
        return Reject(item, RejectReason.BAD_CONVERSATION, f"{key}: {error}"[:300], record)
    images = [RecordImage(by_field[name].data or b"", name if len(chosen) > 1 else None) for name in chosen]
    first = by_field[chosen[0]].name if len(chosen) == 1 else key
    return Record(
        item, record, f"{item}/{key}", images, f"{origin}#{first}", text=text, extra=extra,
        messages=None if said is None else said.messages, images_upstream=len(chosen),
        remarks={} if said is None else {str(change): count for change, count in said.changes.items()},
    )  # fmt: skip


def _image_fields(by_field: Mapping[str, Member], key: str, origin: str, reading: Reading) -> list[str]:
    """Fields of a sample that are its images: those named, else `jpg` or the numbered ones, else the only one."""
    images = [name for name in by_field if is_image_name(f"x.{name}")]
    if named := reading.wanted.image_columns:
        return [name for name in named if name in by_field]
    plain = sorted(filter(_PLAIN_FIELD.fullmatch, images), key=_field_order)
    if plain or len(images) <= 1:
        return plain or images
    raise SourceError(
        f"{origin}, sample {key}: several images: {', '.join(sorted(images))}; set image_column to one of them, "
        "or to the list of those that make up a sample"
    )


def _field_order(name: str) -> tuple[int, str]:
    number = "".join(filter(str.isdigit, name.rpartition(".")[0]))
    return int(number or 0), name


def _webdataset_messages(
    values: dict[str, Any], column: str | None, images: int
) -> tuple[Conversation | None, dict[str, Any]]:
    """The conversation: the named member (or `json.key` inside one), else one under a usual name in a json."""
    nested = [f"json.{name}" for name in MESSAGES_NAMES]
    for candidate in (column,) if column else (*MESSAGES_NAMES, *nested):
        name, _, inner = candidate.partition(".")
        whole = values.get(name)
        value = whole.get(inner) if inner and isinstance(whole, Mapping) else None if inner else whole
        if value is None:
            continue
        said = normalise(value, images)
        rest = {k: v for k, v in whole.items() if k != inner} if inner and isinstance(whole, Mapping) else {}
        left = {**{k: v for k, v in values.items() if k != name}, **({name: rest} if rest else {})}
        return said, {**left, **({candidate: json_value(said.beside)} if said.beside else {})}
    return None, values


def _field_value(name: str, member: Member) -> Any:
    if member.data is None:
        return {"rejected": member.reason, "detail": member.detail}
    suffix = PurePosixPath(f"x.{name}").suffix
    try:
        if suffix == ".json":
            return orjson.loads(member.data)
        if suffix in (".txt", ".text", ".cls", ".caption", ".transcript"):
            return member.data.decode("utf-8").strip()
    except ValueError:
        pass
    return json_value(member.data)


def _webdataset_text(values: dict[str, Any], column: str | None) -> tuple[str | None, dict[str, Any]]:
    """The text: the named member (or `json.key` inside one), else `txt` and the like, else a json's caption."""
    nested = [f"json.{name}" for name in TEXT_NAMES]
    for candidate in (column,) if column else (*TEXT_NAMES, *nested):
        name, _, inner = candidate.partition(".")
        value = values.get(candidate, values.get(name))
        if inner and candidate not in values:
            value = value.get(inner) if isinstance(value, Mapping) else None
        if isinstance(value, str):
            kept = {k: v for k, v in values.items() if inner or k != name}
            return value, kept
    return None, values


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:150] or type(error).__name__
