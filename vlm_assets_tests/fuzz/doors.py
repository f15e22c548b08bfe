"""The doors: each takes bytes as a stranger might send them. What may come out is the same for all of them.

An outcome is a record, a reject with a reason, or an error of this project that names what it is about. Anything
else that a door raises is a fault, and so are signals, hangs and memory without end, which only the process around it
sees.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from vlm_assets.words.errors import Companion, ConfigError, LeftOut, Reject, VlmAssetsError
from vlm_assets_tests.fuzz import mutate, seeds
from vlm_assets_tests.fuzz.mutate import Change

NAME: Final = "the-name-of-it"
"""What errors must name."""


@dataclass(frozen=True)
class Door:
    """`enter(folder, name of the seed, bytes)` gives a word about the outcome; `share` of the default run's cases."""

    seeds: Callable[[], Mapping[str, bytes]]
    enter: Callable[[Path, str, bytes], str]
    changes: tuple[Change, ...] = ()
    cases: int = 100
    cpu_s: float = 10.0
    """A case that takes more of this process has hung."""


def outcome(events: Iterable[object]) -> str:
    """What a reader gave, looked through to its end.

    Raises:
        AssertionError: a reject without a reason.
    """
    told = "nothing"
    for event in events:
        if isinstance(event, Reject | LeftOut):
            assert event.reason, event
        told = type(event).__name__ if not isinstance(event, LeftOut | Companion) else told
    return told


@cache
def _prober() -> Any:
    from vlm_assets_tests.images.pictures import prober

    return prober()


def probe(folder: Path, name: str, data: bytes) -> str:
    del folder, name
    from vlm_assets.images.probe import ImageFacts

    answer = _prober().probe(data)
    assert isinstance(answer, ImageFacts) or answer.reason
    return type(answer).__name__


def archive(folder: Path, name: str, data: bytes) -> str:
    from vlm_assets.archives.limits import ArchiveLimits
    from vlm_assets.archives.read import Reading, read_members

    del name
    path = _put(folder, data)
    return outcome(read_members(path, Reading(ArchiveLimits(2**24), spool_dir=folder), where=NAME))


def table(folder: Path, name: str, data: bytes) -> str:
    from vlm_assets.archives.limits import ArchiveLimits
    from vlm_assets.hub.readers import Reading, read_data_file

    kind = seeds.tables()[name][0]
    path = _put(folder, data, _suffix(name))
    return outcome(
        read_data_file(path, kind, path.name, NAME, Reading(ArchiveLimits(2**24), spool_dir=folder))
    )


def _suffix(name: str) -> str:
    return {"lines": ".jsonl", "json": ".json", "fields": ".json", "csv": ".csv", "tsv": ".tsv"}.get(name, "")


def look(folder: Path, name: str, data: bytes) -> str:
    """What listing sees of a table before it is fetched: columns, names of files, labels."""
    from vlm_assets.hub.looks import TableLook

    suffix = _suffix(name)
    found = TableLook(f"x{suffix}", seeds.tables()[name][0], NAME, _put(folder, data, suffix))
    columns = found.columns()
    list(found.names(columns) if columns is not None else ())
    list(found.labels("kind"))
    return "Columns"


def caption(folder: Path, name: str, data: bytes) -> str:
    from vlm_assets.captions.tables import Table

    path = _put(folder, data)
    loaded = Table(f"x/{name}", NAME, lambda: path.open("rb")).load()
    return outcome(loaded.rows())


def sidecar(folder: Path, name: str, data: bytes) -> str:
    from vlm_assets.captions.trees import CaptionRule

    del folder
    files = [("a.json" if name == "object" else "a.txt", NAME, lambda: BytesIO(data))]
    return type(CaptionRule(sidecars=True).sidecar_words(files)).__name__


def conversation(folder: Path, name: str, data: bytes) -> str:
    from vlm_assets.captions.conversations import normalise
    from vlm_assets.captions.marks import MarksError
    from vlm_assets.captions.turns import ConversationError

    del folder, name
    try:
        return type(normalise(data.decode("utf-8", "replace"), 1)).__name__
    except (ConversationError, MarksError) as error:
        return _told(error, bool(str(error)))


@cache
def _pages(folder: Path) -> Any:
    from vlm_assets.pdf.facts import PageOptions
    from vlm_assets.pdf.pool import PagePool

    return PagePool(PageOptions(dpi=20, text="layer", page_cpu_s=10), 1, folder / "pages", folder / "slots")


def document(folder: Path, name: str, data: bytes) -> str:
    from vlm_assets.pdf.facts import PageFault

    del name
    told = "nothing"
    for page in _pages(folder).submit(_put(folder, data)).pages():
        assert not isinstance(page, PageFault) or page.reason
        told = type(page).__name__
        if not isinstance(page, PageFault):
            page.file.unlink(missing_ok=True)
    return told


def structure(folder: Path, name: str, data: bytes) -> str:
    """What a worker does to a page before anything is drawn, without the worker."""
    from vlm_assets.pdf.document import DocumentError, open_document

    del name
    try:
        opened = open_document(_put(folder, data))
    except DocumentError as error:
        return _told(error, bool(error.reason))
    opened.close()
    return "Document"


def catalogue(folder: Path, name: str, data: bytes) -> str:
    from vlm_assets.installation.load import load_catalog

    del name
    first, _, second = data.partition(b"-----\n")
    (folder / "sources").mkdir(exist_ok=True)
    (folder / "corpus.yaml").write_bytes(first)
    (folder / "sources" / "all.yaml").write_bytes(second)
    try:
        load_catalog(folder)
    except ConfigError as error:
        return _told(error, all(one.file and one.message for one in error.problems))
    return "Catalog"


def record(folder: Path, name: str, data: bytes) -> str:
    """A file that the product wrote, after somebody's disk was at it; errors name it."""
    version = folder / "version"
    version.mkdir(exist_ok=True)
    for other, sound in seeds.records().items():
        if other != name and not (version / other).exists():
            (version / other).write_bytes(sound)
    path = version / name
    path.write_bytes(data)
    try:
        return _READERS[name](path)
    except VlmAssetsError as error:
        return _told(error, path.name in str(error) or "again" in str(error))
    finally:
        path.write_bytes(seeds.records()[name])


def _rows(path: Path) -> str:
    from vlm_assets.store.slices import data_file_names, read_rows

    names = data_file_names(one.name for one in path.parent.iterdir())
    return str(sum(1 for _ in read_rows(path.parent, names)))


def _index(path: Path) -> str:
    from vlm_assets.store.taken_down import images_of, read_index

    images_of(read_index(path))
    return _rows(path)


def _lock(path: Path) -> str:
    from vlm_assets.store.corpus_lock import Locked, read_lock

    locked = Locked(read_lock(path.with_name("corpus.lock")), path.with_name("corpus.lock.items.parquet"))
    list(locked.taken_down_ids())
    return str(sum(len(locked.items(*one)) + len(locked.identities(*one)) for one in locked.lock.slices))


def _manifest(path: Path) -> str:
    from vlm_assets.store.versions import read_manifest
    from vlm_assets.words.manifest import SliceManifest

    return type(read_manifest(path.parent, SliceManifest)).__name__


def _ledger(path: Path) -> str:
    from vlm_assets.store.left_out import examples_of, read_slice_left_out
    from vlm_assets.store.slices import read_items_ledger, read_rejects

    folder = path.parent
    if path.name == "left_out.parquet":
        return str(len(read_slice_left_out(folder)) + len(examples_of(path)))
    return str(len(read_rejects(folder) if path.name == "rejects.parquet" else read_items_ledger(folder)))


def _listing(path: Path) -> str:
    from vlm_assets.store.listings import read_items, read_listing
    from vlm_assets.words.layout import DataRoot

    root = DataRoot(path.parent)
    root.listings.mkdir(exist_ok=True)
    (root.listings / "street.json").write_bytes(path.with_name("street.json").read_bytes())
    listing = read_listing(root, "street")
    assert listing is not None
    items = root.listings / path.with_name("items.arrow").name
    items.write_bytes(path.with_name("items.arrow").read_bytes())
    if path.name == "street.json":
        return type(listing).__name__
    listing = listing.model_copy(update={"items_file": items.name})
    return str(sum(len(read_items(root, listing, key)) for key in listing.slices))


def _tombstone(path: Path) -> str:
    from vlm_assets.store.tombstones import read_tombstone
    from vlm_assets.words.layout import DataRoot

    root = DataRoot(path.parent)
    root.tombstones.mkdir(exist_ok=True)
    (root.tombstones / "tombstone.json").write_bytes(path.read_bytes())
    return type(read_tombstone(root, "tombstone")).__name__


_READERS: Final[Mapping[str, Callable[[Path], str]]] = {
    "metadata.json": _manifest, "index.arrow": _index, "data-00000.arrow": _rows,
    "items.parquet": _ledger, "rejects.parquet": _ledger, "left_out.parquet": _ledger, "street.json": _listing,
    "items.arrow": _listing, "tombstone": _tombstone, "corpus.lock": _lock, "corpus.lock.items.parquet": _lock,
}  # fmt: skip


def _read_again() -> Mapping[str, bytes]:
    return {name: data for name, data in seeds.records().items() if name in _READERS}


def saved(folder: Path, name: str, data: bytes) -> str:
    """The JSON of a folder of `save_to_disk`, beside which others keep theirs; no file outside is named by it."""
    from vlm_assets.hub.tables import class_names
    from vlm_assets.sources._folder_walk import FolderWalk
    from vlm_assets.sources._saved_folders import SavedFolder

    root = folder / f"{NAME}-in"
    (root / "train").mkdir(parents=True, exist_ok=True)
    for path in (folder / "a.arrow", root / "train/a.arrow"):
        path.write_bytes(b"")
    for link in (root / "d", root / "train/d"):
        if not link.is_symlink():
            link.symlink_to(".")
    for other, sound in seeds.SAVED.items():
        (root / other).write_bytes(data if other == name else sound)
    groups = SavedFolder("x", root, FolderWalk("x", root), follow_links=False).groups()
    for group in groups:
        class_names(None, group.features)
        assert all((root / one).resolve().is_relative_to(root.resolve()) for one in group.files)
    return f"{len(groups)} of {sum(len(group.files) for group in groups)}"


def readme(folder: Path, name: str, data: bytes) -> str:
    """What a README declares of its configs, over a tree as deep as its patterns are."""
    from vlm_assets.hub.splits import find_splits

    del folder
    found = find_splits(seeds.README_TREE, data.decode("utf-8", "replace"), NAME)
    return f"{name}: {len(found)} splits, {sum(len(one.files) for one in found)} files"


def robots(folder: Path, name: str, data: bytes) -> str:
    from vlm_assets.transfer.robots import parse_rules

    del folder, name
    rules = parse_rules(data)
    assert 0 <= rules.crawl_delay_s <= 30
    return str(rules.allows("http://x/a/b"))


def opt_outs(folder: Path, name: str, data: bytes) -> str:
    from yarl import URL

    from vlm_assets.transfer.opt_outs import opt_outs_of

    del folder
    found = opt_outs_of(data, b"") if name == "tdmrep.json" else opt_outs_of(b"", data)
    verdict = found.verdict(URL("http://x/img/a.jpg"))
    return f"{len(found.tdm)} rules, {verdict.reason if verdict else 'open'}"


def xmp(folder: Path, name: str, data: bytes) -> str:
    from vlm_assets.annotators.rights import UnreadablePacketError, data_mining

    del folder, name
    try:
        return f"{len(data_mining(data))} values"
    except UnreadablePacketError:
        return "unreadable"


def answer(folder: Path, name: str, data: bytes) -> str:
    """The lenient client's reading of an HTTP answer."""
    from vlm_assets.transfer.http import FaultError
    from vlm_assets.transfer.lenient import _body, _head, _Lines

    del folder, name

    async def read() -> str:
        reader = asyncio.StreamReader(limit=2**16)
        reader.feed_data(data)
        reader.feed_eof()
        lines = _Lines(reader, 5.0)
        status, headers = await _head(lines)
        body = _body("GET", status, headers, lines)
        while await body.readany():
            pass
        return str(status)

    try:
        return asyncio.run(read())
    except FaultError as error:
        return _told(error, bool(str(error)))


def _told(error: Exception, says: bool) -> str:  # noqa: FBT001 - whether it says what it must
    if not says:
        raise ValueError(f"an error that does not say what is wrong with what: {error}") from error
    return type(error).__name__


def _put(folder: Path, data: bytes, suffix: str = "") -> Path:
    path = folder / f"{NAME}{suffix}"
    path.write_bytes(data)
    return path


_TEXT: Final = (mutate.scalar, mutate.line, mutate.scalar)
_IMAGES: Final = (mutate.png_chunk, mutate.jpeg_segment)
_PACKED: Final = (mutate.zip_field, mutate.tar_field)
_PDF: Final = (mutate.pdf_reference, mutate.pdf_name, mutate.pdf_object, mutate.digits)


def _tables() -> Mapping[str, bytes]:
    return {name: data for name, (_, data) in seeds.tables().items()}


def _looked_at() -> Mapping[str, bytes]:
    return {
        name: data for name, (kind, data) in seeds.tables().items() if kind not in {"webdataset", "archive"}
    }


DOORS: Final[Mapping[str, Door]] = {
    "images": Door(seeds.images, probe, _IMAGES, 500),
    "archives": Door(seeds.archives, archive, _PACKED, 300),
    "tables": Door(_tables, table, (mutate.footer, *_TEXT), 500),
    "looks": Door(_looked_at, look, (mutate.footer, *_TEXT), 200),
    "captions": Door(seeds.captions, caption, _TEXT, 500),
    "sidecars": Door(seeds.sidecars, sidecar, _TEXT, 200),
    "conversations": Door(seeds.conversations, conversation, _TEXT, 500),
    "documents": Door(seeds.documents, document, _PDF, 20, cpu_s=30.0),
    "structures": Door(seeds.documents, structure, _PDF, 150),
    "catalogues": Door(seeds.catalogues, catalogue, _TEXT, 60),
    "records": Door(_read_again, record, (mutate.footer, *_TEXT), 300),
    "saved": Door(lambda: seeds.SAVED, saved, _TEXT, 300),
    "readmes": Door(lambda: seeds.READMES, readme, (*_TEXT, mutate.digits), 300),
    "robots": Door(lambda: {"robots": seeds.ROBOTS}, robots, (mutate.line,), 300),
    "opt_outs": Door(lambda: seeds.OPT_OUTS, opt_outs, (mutate.line,), 200),
    "xmp": Door(lambda: {"xmp": seeds.XMP}, xmp, (mutate.line,), 200),
    "answers": Door(lambda: {"answer": seeds.ANSWER}, answer, (mutate.line,), 200),
}
"""Cases in the default run; together they take some 20 s of processor time."""


def enter(door: Door, folder: Path, name: str, data: bytes) -> str:
    """One case; what is no fault is a word.

    Raises:
        Exception: a fault of the door.
    """
    try:
        return door.enter(folder, name, data)
    except VlmAssetsError as error:
        names_it = door.enter not in {archive, table, look, caption, sidecar, saved} or NAME in str(error)
        return _told(error, bool(str(error)) and names_it)
