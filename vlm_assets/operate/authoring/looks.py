"""A look at a source before it is in the catalogue: what is there, and which keys it needs. Fetches no item.

Folders are walked and lists read to their end; repositories, datasets and releases are listed, as `plan` would.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from vlm_assets.archives.names import is_archive_name
from vlm_assets.captions.naming_tables import looks_like_captions, naming_tables
from vlm_assets.captions.sidecars import is_sidecar_name, match_sidecars
from vlm_assets.captions.trees import METADATA_NAMES
from vlm_assets.captions.words import TEXT_NAMES, usual_texts
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.operate.authoring.counted import Documents, Tables, count_pages, count_rows
from vlm_assets.settings import Settings
from vlm_assets.sources._data_files import data_format
from vlm_assets.sources._folder_walk import FolderWalk
from vlm_assets.sources._hints import unread_hints
from vlm_assets.sources._url_list import UrlList, choose_columns
from vlm_assets.sources.client_folder import is_image
from vlm_assets.sources.registry import source_of, traits_of
from vlm_assets.transfer.private_hosts import PrivateHosts
from vlm_assets.words.contexts import ListContext
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import LeftOut, LeftOutReason, SourceError
from vlm_assets.words.records import Listed, ListedSlice
from vlm_assets.words.tolerance import Tolerance
from vlm_assets.words.unread import too_many_unread

LABEL_NAMES: Final = ("label", "labels", "class", "category", "subcategory")
"""Columns that plainly hold labels, the first that is there."""
HASH_NAMES: Final = ("sha256", "image_sha256", "hash_sha256")
MOST_LABELS: Final = 40
"""A column of more values holds something else."""
_ROWS: Final = 10_000
"""So many rows of a list are looked at for labels."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a source shows. `told`: a fact a line."""

    told: tuple[str, ...]
    keys: Mapping[str, Any] = field(default_factory=dict)
    """Of the kind, that its entry needs or should have."""
    selector: Mapping[str, Any] = field(default_factory=dict)
    """`folder` or `column` of `subcategory_from`, where `labels` come from."""
    labels: tuple[str, ...] = ()
    """Two or more, sorted."""
    maybe: tuple[str, ...] = ()
    """Lines of keys that a person may want: comments of the entry."""


def look_at(kind: str, place: Mapping[str, Any], settings: Settings, name: str) -> Look:
    """What is at a place, which is the kind's own key and its value. `name`: of the source, for messages.

    Raises:
        SourceError: nothing of the kind is there, or it cannot be read.
        ConfigError: the settings lack what it takes to ask.
    """
    look = _look_at(kind, place, settings, name)
    if not traits_of(kind).renders_pages:
        return look
    told = "text: layer makes the text layer of a page its text; without that key pages have no text"
    return replace(
        look,
        told=(*look.told, told),
        maybe=("text: layer  # the text of pages that have one; it is left out without this key",),
    )


def _look_at(kind: str, place: Mapping[str, Any], settings: Settings, name: str) -> Look:
    own = _own_look(kind, settings, name)
    if own is not None:
        return own(next(iter(place.values())))
    spec = source_of(kind).spec_type.model_validate(
        {
            "name": name,
            "kind": kind,
            "category": "look",
            "subcategory": "look",
            "licence": "unknown",
            **place,
        }
    )
    with tempfile.TemporaryDirectory(prefix="vlm-look-") as folder:
        base = Path(folder)
        context = ListContext(settings, base / "cache", base / "locks")
        (base / "cache").mkdir()
        (base / "locks").mkdir()
        listed = source_of(kind).list(spec, context)
        return _with_words(spec, listed, context) or _listed(spec, listed)


def _with_words(spec: SourceSpec, listed: Listed, context: ListContext) -> Look | None:
    """The same with the keys of captions that nobody named; None where there are none, or they cannot be read."""
    if not listed.word_keys:
        return None
    wordy = type(spec).model_validate({**spec.model_dump(exclude_unset=True), **listed.word_keys})
    try:
        look = _listed(wordy, source_of(spec.kind).list(wordy, context))
    except SourceError:
        return None
    said = " and ".join(f"{key}: {value}" for key, value in listed.word_keys.items())
    return replace(look, told=(*look.told, f"captions by {said}"), keys={**look.keys, **listed.word_keys})


def _own_look(kind: str, settings: Settings, name: str) -> Callable[[str], Look] | None:
    """The look that hashes and asks nothing, where the kind's keys name files of this machine; else it is listed."""
    keys = source_of(kind).spec_type.model_fields
    if "urls" in keys:
        return partial(_urls, settings=settings)
    if "path" not in keys:
        return None
    if traits_of(kind).renders_pages:
        return partial(_documents, name=name)
    return partial(_folder, name=name) if "include" in keys else None


def _folder(path: str, name: str) -> Look:
    """Images, archives and words of a folder; its top folders as labels."""
    archive = Path(path)
    if archive.is_file() and is_archive_name(archive.name):
        size = f"an archive of {archive.stat().st_size:,} bytes, read member by member"
        return Look((size,), {"path": str(archive.parent), "include": [archive.name]})
    walk = FolderWalk(name, Path(path))
    files = sorted(walk.files)
    images = [key for key in files if is_image(walk, key)]
    archives = [key for key in files if is_archive_name(key)]
    tables = sorted({key.rpartition("/")[2] for key in files} & set(METADATA_NAMES))
    beside = match_sidecars(images, (key for key in files if key not in set(images)))
    apart = {*images, *archives, *(key for names in beside.by_image.values() for key in names)}
    naming = [] if tables else naming_tables(images, set(files) - apart, partial(_opened, walk, path))
    known = {one.key for one in naming}
    data = [
        key
        for key in files
        if data_format(key) and key not in known and key.rpartition("/")[2] not in METADATA_NAMES
    ]
    if not images and not archives and not data:
        pdfs = sum(key.lower().endswith(".pdf") for key in files)
        other = f"; {so_many(pdfs, 'PDF')}: that is the kind pdf_folder" if pdfs else ""
        raise SourceError(f"{path}: no image and no archive among {so_many(len(files), 'file')}{other}")
    packed = (
        f", {so_many(len(some), word)}" for some, word in ((archives, "archive"), (data, "data file")) if some
    )
    told = [so_many(len(images), "image") + "".join(packed)]
    keys: dict[str, Any] = {}
    if tables:
        keys["text"] = "metadata"
        told.append(f"captions in {', '.join(tables)}")
    elif naming and naming[0].images >= len(beside.by_image):
        keys |= naming[0].keys
        told.append(f"captions in {naming[0].key}: its column {naming[0].column!r} names them")
        told += [one.told for one in naming[1:] if one.keys["text"] != keys["text"]]
    elif beside.by_image:
        keys["text"] = "sidecar"
        told.append(f"text files beside {len(beside.by_image):,} of them")
    others = set(files) - apart - known - set(data)
    maybe = sorted(key for key in others if images and looks_like_captions(key) and key not in tables)
    if maybe and "text" not in keys:
        told += unread_hints([LeftOut(key, LeftOutReason.UNKNOWN_TYPE) for key in maybe], images)
    others -= {key for key in others if key.rpartition("/")[2] in METADATA_NAMES}
    if keys.get("text") == "sidecar":
        others -= {key for key in others if is_sidecar_name(key)}
    unread = sorted(others - set(maybe))
    if not archives and not data:
        told += _unread_told(unread, len(images) + len(unread))
    return Look(tuple(told), keys, *_by_folder(images))


def _unread_told(unread: Sequence[str], total: int) -> list[str]:
    """What will fail the listing, as the source's default tolerance has it."""
    told = too_many_unread(unread, total, Tolerance(SourceSpec.DEFAULT_TOLERANCE, said=False))
    return [f"{told}, which fails its listing: exclude them or raise it"] if told else []


def _opened(walk: FolderWalk, path: str, key: str) -> IO[bytes]:
    return Path(path, walk.files[key]).open("rb")


def _documents(path: str, name: str) -> Look:
    """PDFs and archives of a folder; its top folders as labels."""
    walk = FolderWalk(name, Path(path))
    files = sorted(walk.files)
    pdfs = [key for key in files if key.lower().endswith(".pdf")]
    archives = sum(is_archive_name(key) for key in files)
    if not pdfs and not archives:
        raise SourceError(f"{path}: no PDF and no archive among {so_many(len(files), 'file')}")
    told = so_many(len(pdfs), "PDF") + (f", {so_many(archives, 'archive')}" if archives else "")
    pages = _pages_told(count_pages(Path(path, walk.files[key]) for key in pdfs), len(pdfs))
    return Look((told, *pages), {}, *_by_folder(pdfs))


def _pages_told(found: Documents, documents: int) -> list[str]:
    """Pages, and documents that give none as they are; of those that were looked at, where that is not all."""
    if not found.looked_at:
        return []
    of = "" if found.looked_at == documents else f" in {found.looked_at:,} of the PDFs, which were looked at"
    told = [f"{so_many(found.pages, 'page')}{of}"]
    if found.encrypted:
        told.append(f"{so_many(found.encrypted, 'PDF asks', 'PDFs ask')} for a password: encrypted, a reject")
    if found.damaged:
        told.append(
            f"{so_many(found.damaged, 'PDF is', 'PDFs are')} damaged: repaired if that can be, else a reject"
        )
    return told


def _by_folder(names: Iterable[str]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The top folders as labels, where every name has one and they are more than one."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    if "" in tops or not 1 < len(tops) <= MOST_LABELS:
        return {}, ()
    return {"folder": 1}, tuple(sorted(tops))


def _urls(path: str, settings: Settings) -> Look:
    """Columns of a list, and what its label column holds."""
    urls = UrlList(Path(path), known_columns=(*LABEL_NAMES, *HASH_NAMES, *TEXT_NAMES))
    label = _first(LABEL_NAMES, urls.columns)
    columns = choose_columns(path, urls.columns, label=label)
    private = PrivateHosts(settings)
    values: Counter[str] = Counter()
    for row in islice(urls.rows(columns), _ROWS):
        values[row[2] or ""] += 1
        for url in row[3] or row[:1]:
            private(str(url))
    count = values.total()
    if not count:
        raise SourceError(f"{path}: no rows")
    at_least = "at least " if count == _ROWS else ""
    talks = urls.talks(others=(columns.url, label))
    told = (
        f"{at_least}{so_many(count, 'row')}; columns {', '.join(urls.columns)}",
        *talks.hints,
        *private.hints,
    )
    keys = {
        "url_column": columns.url if len(urls.columns) > 1 else None,
        "text_column": next(iter(usual_texts(urls.columns)), None),
        "messages_column": talks.column,
        "sha256_column": _first(HASH_NAMES, urls.columns),
    }
    return Look(told, {key: name for key, name in keys.items() if name}, *_by_column(label, values))


def _by_column(label: str | None, values: Collection[str]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """A column's values as labels, where every row has one and they are few."""
    if label is None or "" in values or not 1 < len(values) <= MOST_LABELS:
        return {}, ()
    return {"column": label}, tuple(sorted(values))


def _first(names: Iterable[str], columns: Collection[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _listed(spec: SourceSpec, listed: Listed) -> Look:
    """What a listing says: slices, items, hints, and the classes of a label column that is declared."""
    slices = list(listed.slices)
    items = sum(len(one.items) for one in slices)
    size_bytes = sum(item.size_bytes or 0 for one in slices for item in one.items)
    tables = _tables(spec, slices)
    what = (
        so_many(items, "item")
        if tables is None
        else f"{so_many(tables.rows, 'row')} in {so_many(items, 'file')}"
    )
    counts = f"{what}{' in' if tables is None else ','} {so_many(len(slices), 'slice')}, {_size(size_bytes)}"
    told = [f"revision {listed.revision}: {counts}"]
    left_out = Counter(str(one.reason) for one in listed.left_out)
    if left_out:
        told.append(
            "left out: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))
        )
    told += listed.hints
    features = _features(listed.attributes)
    if columns := tuple(features) or (tables.columns if tables else ()):
        told.append(f"columns {', '.join(columns)}")
    keys = (
        {"text_column": next(iter(usual_texts(features)), None)}
        if "text_column" in type(spec).model_fields
        else {}
    )
    found = {key: name for key, name in keys.items() if name}
    label = _first(LABEL_NAMES, [name for name, one in features.items() if _classes(one)])
    if label is not None:
        return Look(tuple(told), found, *_by_column(label, _classes(features[label])))
    return Look(tuple(told), found, *_by_folder(_keys(slices)))


def _tables(spec: SourceSpec, slices: Sequence[ListedSlice]) -> Tables | None:
    """Rows and columns of data files on this machine; None of any other source."""
    folder = getattr(spec, "path", None)
    items = [item for one in slices for item in one.items]
    if not isinstance(folder, Path) or not all({"path", "format"} <= item.payload.keys() for item in items):
        return None
    return count_rows([(folder / item.payload["path"], item.payload["format"]) for item in items])


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.2f} GB" if size_bytes >= 10**9 else f"{size_bytes / 1e6:,.2f} MB"


def _keys(slices: Iterable[ListedSlice]) -> Iterator[str]:
    """Paths of loose items; one without folder where there are containers, whose insides nobody has seen."""
    for one in slices:
        yield from ("" for _ in one.items[:1] if one.container)
        yield from (item.key for item in one.items if not one.container)


def _features(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Columns that the first config declares, with their types."""
    configs = attributes.get("features") or {}
    return dict(next(iter(configs.values()), {})) if isinstance(configs, Mapping) else {}


def _classes(feature: Any) -> tuple[str, ...]:
    names = feature.get("names") if isinstance(feature, Mapping) else None
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()
