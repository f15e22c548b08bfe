"""`client_folder`: image files in a folder tree, with texts beside them or in one metadata file."""

import csv
import fnmatch
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import orjson

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.sources.protocol import Requests, Traits
from vlm_assets.transfer.files import FileHashes
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import Reject, SourceError
from vlm_assets.words.layout import bucket_name, bucket_of, nfc
from vlm_assets.words.records import Item, Listed, ListedSlice, Record

_METADATA: Final = ("metadata.csv", "metadata.jsonl")
_ROOT_SLICE: Final = "root"
_FILES_PER_SLICE: Final = 10_000


class ClientFolderSpec(SourceSpec):
    """Keys of a client folder. `include` and `exclude` are globs over the relative path."""

    path: Path
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    text: Literal["none", "sidecar", "metadata.csv", "metadata.jsonl"] = "none"
    files_per_slice: int | None = None


class ClientFolder:
    """A slice is a top folder; or a bucket of files, where there are no folders or `files_per_slice` is set."""

    kind: ClassVar[str] = "client_folder"
    version: ClassVar[int] = 1
    spec_type: ClassVar[type[SourceSpec]] = ClientFolderSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.NONE, renders_pages=False, memory_mib=8_192, badges=frozenset()
    )

    def list(self, spec: ClientFolderSpec, context: ListContext) -> Listed:
        """Every file but hidden ones and the texts' own, with (path, size, sha256) as its identity.

        Raises:
            SourceError: the folder is missing or empty, or its metadata file names files that are not there.
        """
        names = _files(spec)
        texts = _texts(spec, names)
        keys = sorted(set(names) - texts.own_files)
        paths = [os.path.join(spec.path, names[key]) for key in keys]
        with FileHashes(context.cache_dir / "sha256.db", workers=context.settings.worker_count) as hashes:
            digests = hashes.hash_many(paths)
        items = [
            _item(key, names[key], path, digest, texts)
            for key, path, digest in zip(keys, paths, digests, strict=True)
        ]
        if not items:
            raise SourceError(f"source {spec.name}: no file in {spec.path} matches; check path and include")
        slices, buckets = _slices(spec, items, context.previous_buckets)
        return Listed(revision="folder", slices=slices, buckets=buckets)

    def fetch(
        self, spec: ClientFolderSpec, items: Sequence[Item], context: FetchContext
    ) -> Iterator[Record | Reject]:
        """One record a file; its bytes are read by the caller."""
        for item in items:
            payload = item.payload
            name = os.fsdecode(bytes.fromhex(payload["name_hex"])) if "name_hex" in payload else item.key
            yield Record(
                item=item.key, record=0, key=item.key, image=spec.path / name,
                origin=item.key, text=payload.get("text"), extra=payload.get("extra"),
            )  # fmt: skip
            context.progress(1, item.size_bytes or 0)


SOURCE = ClientFolder()


class _Texts:
    """Texts and other columns by file key, and the files that hold them."""

    def __init__(self) -> None:
        self.by_key: dict[str, tuple[str | None, Mapping[str, Any]]] = {}
        self.own_files: set[str] = set()


def _files(spec: ClientFolderSpec) -> dict[str, str]:
    """Names of regular files as they are on disk, by NFC key: the path below the folder with `/`.

    Links to files are followed, to folders not. A dangling link is listed too (and rejected when read); pipes,
    sockets and devices are no files.
    """
    if not spec.path.is_dir():
        raise SourceError(f"source {spec.name}: {spec.path} is not a folder; is the volume mounted?")
    root = os.fspath(spec.path)
    found: dict[str, str] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        for entry in _entries(spec, f"{root}/{folder}"):
            name = folder + entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(name + "/")
                continue
            special = not entry.is_file() and not entry.is_symlink()
            key = nfc(name)
            if special or not _matches(spec, key):
                continue
            if key in found:
                raise SourceError(
                    f"source {spec.name}: two files are named {key} once in Unicode NFC; rename one of "
                    f"{os.fsencode(found[key])!r}, {os.fsencode(name)!r}"
                )
            found[key] = name
    return found


def _entries(spec: ClientFolderSpec, folder: str) -> list[os.DirEntry[str]]:
    """What a folder holds, hidden names left out.

    Raises:
        SourceError: it cannot be read; an item would be lost.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"source {spec.name}: cannot read {folder}: {error.strerror}") from error


def _matches(spec: ClientFolderSpec, key: str) -> bool:
    return any(fnmatch.fnmatchcase(key, glob) for glob in spec.include) and not any(
        fnmatch.fnmatchcase(key, glob) for glob in spec.exclude
    )


def _texts(spec: ClientFolderSpec, names: Mapping[str, str]) -> _Texts:
    texts = _Texts()
    if spec.text == "sidecar":
        stems = {key.rsplit(".", 1)[0] for key in names if not key.endswith(".txt")}
        for key, name in names.items():
            stem = key.removesuffix(".txt")
            if key.endswith(".txt") and stem in stems:
                texts.own_files.add(key)
                texts.by_key[stem] = ((spec.path / name).read_text("utf-8-sig", errors="replace").strip(), {})
    elif spec.text != "none":
        for key, name in names.items():
            if key.rsplit("/", 1)[-1] == spec.text:
                texts.own_files.add(key)
                _read_metadata(spec, key, spec.path / name, names, texts)
        if not texts.own_files:
            raise SourceError(f"source {spec.name}: text is {spec.text}, but there is none in {spec.path}")
    return texts


def _read_metadata(
    spec: ClientFolderSpec, key: str, path: Path, names: Mapping[str, str], texts: _Texts
) -> None:
    """Rows of a metadata file, laid out as `imagefolder` has it: a `file_name` column, relative to the file."""
    base = key.rpartition("/")[0]
    for number, row in _metadata_rows(spec, path):
        name = row.pop("file_name", None)
        target = nfc(f"{base}/{name}" if base else str(name))
        if name is None or target not in names:
            told = f"names {name!r}, which is not there" if name else "has no file_name"
            raise SourceError(f"source {spec.name}: {path}: row {number} {told}")
        text = next((row.pop(column) for column in ("text", "caption") if row.get(column)), None)
        texts.by_key[target] = (None if text is None else str(text), row)


def _metadata_rows(spec: ClientFolderSpec, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as stream:
                yield from enumerate(csv.DictReader(stream), 2)
        else:
            with path.open("rb") as stream:
                yield from (
                    (number, orjson.loads(line)) for number, line in enumerate(stream, 1) if line.strip()
                )
    except (ValueError, csv.Error) as error:
        raise SourceError(f"source {spec.name}: {path}: {error}") from error


def _item(key: str, name: str, path: str, digest: str, texts: _Texts) -> Item:
    text, extra = texts.by_key.get(key) or texts.by_key.get(key.rsplit(".", 1)[0], (None, {}))
    size = os.path.getsize(path) if digest else None
    payload: dict[str, Any] = {}
    if name != key:  # on disk not in NFC, or not UTF-8
        payload["name_hex"] = os.fsencode(name).hex()
    if text is not None:
        payload["text"] = text
    if extra:
        payload["extra"] = dict(extra)
    told = orjson.dumps([text, extra], option=orjson.OPT_SORT_KEYS).decode() if text or extra else ""
    return Item(key, f"{size}:{digest}{told and ':' + told}", payload, size)


def _slices(
    spec: ClientFolderSpec, items: Sequence[Item], previous: Mapping[str, int]
) -> tuple[list[ListedSlice], dict[str, int]]:
    """Top folders, each in buckets of its own when large; or buckets of all files."""
    per_slice = spec.files_per_slice or _FILES_PER_SLICE
    by_folder: defaultdict[str, list[Item]] = defaultdict(list)
    whole = spec.files_per_slice is not None or spec.buckets is not None
    for item in items:
        by_folder["" if whole or "/" not in item.key else item.key.split("/", 1)[0]].append(item)
    slices: list[ListedSlice] = []
    buckets: dict[str, int] = {}
    for folder in sorted(by_folder):
        members = by_folder[folder]
        count = spec.buckets or previous.get(folder) or max(1, math.ceil(len(members) / per_slice))
        buckets[folder] = count
        name = folder or (_ROOT_SLICE if count == 1 and not whole else "")
        if count == 1 and name:
            slices.append(ListedSlice(name, members, items_per_slice=per_slice))
            continue
        parts: list[list[Item]] = [[] for _ in range(count)]
        for item in members:
            parts[bucket_of(item.key, count)].append(item)
        slices += [
            ListedSlice(
                "_".join(filter(None, (name, bucket_name(number, count)))), part, items_per_slice=per_slice
            )
            for number, part in enumerate(parts)
            if part
        ]
    return slices, buckets
