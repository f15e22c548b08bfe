"""An export of a corpus to a place: only what is not there yet, each file proven, the manifest last."""

from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.exports.destinations import CARD, DATA, Destination, destination_of, refuse_other_content
from vlm_assets.exports.files import ShardFile, Writer, write_shard_file, writing_processes
from vlm_assets.exports.formats import Format
from vlm_assets.exports.manifest import MANIFEST, ExportedShard, ExportManifest
from vlm_assets.exports.places import ExportPlace, remember_place
from vlm_assets.exports.rows import Bool, wanted_rows
from vlm_assets.exports.where import Where
from vlm_assets.installation.opening import Installation
from vlm_assets.papers.croissant import croissant_of_parquet
from vlm_assets.store.papers import CROISSANT_FILE
from vlm_assets.store.taken_down import refuse_taken_down
from vlm_assets.store.tombstones import StoredTombstones, read_tombstones
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.counts import so_many
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import CorpusError, StoreError

FORMAT_VERSION: Final = 2
"""Raised where equal rows would give other bytes; all files are then written anew."""

Progress = Callable[[int, int], None]
"""Told bytes of the corpus done and in all, after each file."""


def no_progress(done: int, total: int) -> None:
    """Tells nobody."""
    del done, total


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of an export."""

    out: str
    manifest: ExportManifest
    written: int
    kept: int
    removed: int


@named_disk_errors
def export_corpus(
    installation: Installation,
    target: str,
    form: Format,
    out: Path | str,
    *,
    where: Where | None = None,
    workers: int = 1,
    progress: Progress = no_progress,
) -> Exported:
    """Makes `out`, a folder or `s3://bucket/prefix`, hold the sealed corpus in that format: a file a shard.

    All rows, or those for which `where` is true. Files that an earlier export of the same shards left, be it a killed
    one, are kept; what belongs to no shard any more is removed. The data root remembers where exports were made, so
    that a takedown can name them.

    Raises:
        ConfigError: `out` is no place.
        CorpusError: nothing is sealed, or no row of it is wanted.
        TakenDownError: the corpus still holds a row that was taken down.
        StoreError: `out` holds something else, or a shard is not what the corpus says.
        DiskFullError, RemoteError: no room, no answer; what is finished stays and is kept the next time.
    """
    takedowns = read_tombstones(installation.root)
    destination = destination_of(installation.root, installation.settings, str(out))
    version, corpus = sealed_corpus(installation, target, takedowns)
    wanted = None if where is None else wanted_rows(version, corpus, where)
    with destination.alone():
        place = ExportPlace(
            out=destination.name,
            format=form,
            corpus=corpus.corpus,
            target=corpus.target,
            where=where.text if where else None,
            takedowns=takedowns.names,
        )
        export = _Export(version, corpus, place, destination, wanted, found_export(destination))
        remember_place(installation.root, place.model_copy(update={"takedowns": ()}))
        done = export.run(workers, progress)
        remember_place(installation.root, place)
    return done


def sealed_corpus(
    installation: Installation, target: str, takedowns: StoredTombstones
) -> tuple[Path, CorpusManifest]:
    """Folder and manifest of what is sealed, without what was taken down.

    Raises:
        CorpusError: nothing is sealed, or the corpus is empty.
        TakenDownError: a row that was taken down is still in it.
    """
    name = installation.catalog.corpus.name
    version = current_version(installation.root.corpus(name, target))
    if version is None:
        raise CorpusError(f"{target}: there is no corpus; vlm-assets build --target {target}")
    refuse_taken_down(f"corpus {name}/{target}", version, takedowns)
    manifest = read_manifest(version, CorpusManifest)
    if not manifest.rows:
        raise CorpusError(f"{target}: the corpus is empty; vlm-assets status says why")
    return version, manifest


def found_export(destination: Destination) -> ExportManifest | None:
    """What an earlier export says of the place; None where it is empty.

    Raises:
        StoreError: the place holds something else.
    """
    data = destination.read(MANIFEST)
    if data is None:
        refuse_other_content(destination)
        return None
    try:
        return ExportManifest.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(
            f"{destination.name}/{MANIFEST} is no manifest of an export; name another place"
        ) from error


@dataclass(slots=True)
class _Export:
    """One export under way."""

    version: Path
    corpus: CorpusManifest
    place: ExportPlace
    destination: Destination
    wanted: Mapping[str, Bool] | None
    before: ExportManifest | None
    done: dict[str, ExportedShard] = field(default_factory=dict)

    def run(self, workers: int, progress: Progress) -> Exported:
        bits_of = self.corpus.shards if self.wanted is None else self.wanted
        names = {f"{DATA}r{bits}.{self.place.format.suffix}": bits for bits in sorted(bits_of)}
        removed = self.destination.cleared(frozenset(names))
        self.done = dict(self._kept(names))
        kept = len(self.done)
        total = sum(self._size(bits) for bits in names.values())
        read = sum(self._size(names[name]) for name in self.done)
        progress(read, total)
        self._tell(complete=False)
        missing = {name: bits for name, bits in names.items() if name not in self.done}
        with closing(self._written(missing, workers)) as files:
            for name, written in files:
                self.done[name] = written
                self._tell(complete=False)
                read += self._size(names[name])
                progress(read, total)
        self.destination.write(CARD, self._card().encode())
        if self.place.format is Format.PARQUET:
            rows = sum(one.rows for one in self.done.values())
            self.destination.write(CROISSANT_FILE, croissant_of_parquet(self.corpus, rows))
        return Exported(self.destination.name, self._tell(complete=True), len(missing), kept, removed)

    def _written(self, missing: Mapping[str, str], workers: int) -> Generator[tuple[str, ExportedShard]]:
        """Writes the files, the largest first, by threads, or by processes where the work holds Python up."""
        rows = [self._rows(bits) for bits in missing.values()]
        with ExitStack() as stack:
            threads = stack.enter_context(ThreadPoolExecutor(workers, thread_name_prefix="export"))
            stack.callback(threads.shutdown, wait=False, cancel_futures=True)
            processes = writing_processes(self.place.format, rows, workers)
            write = write_shard_file if processes is None else stack.enter_context(processes).write
            largest_first = sorted(missing, key=lambda name: -self._size(missing[name]))
            futures = {
                threads.submit(self._write, name, missing[name], write): name for name in largest_first
            }
            for future in as_completed(futures):
                yield futures[future], future.result()

    def _rows(self, bits: str) -> int:
        return self.corpus.shards[bits].rows if self.wanted is None else int(self.wanted[bits].sum())

    def _size(self, bits: str) -> int:
        return self.corpus.shards[bits].data.size_bytes

    def _kept(self, names: Mapping[str, str]) -> Iterator[tuple[str, ExportedShard]]:
        """Files that are there, of the same shards and rows, and are what was written."""
        before = self.before
        if before is None or (before.format, before.format_version, before.where) != (
            self.place.format,
            FORMAT_VERSION,
            self.place.where,
        ):
            return
        for name, bits in names.items():
            told = before.files.get(name)
            made_of = (told.shard_blake3, told.index_blake3) if told else None
            if told and made_of == self._made_of(bits) and self.destination.holds(name, told.file):
                yield name, told

    def _made_of(self, bits: str) -> tuple[str, str]:
        shard = self.corpus.shards[bits]
        return shard.data.blake3, "" if self.wanted is None else shard.index.blake3

    def _write(self, name: str, bits: str, write: Writer) -> ExportedShard:
        """One file, complete or not there."""
        path = self.destination.temporary(name)
        mask = None if self.wanted is None else self.wanted[bits]
        form, stays = self.place.format, self.destination.stays
        rows, entry = write(ShardFile(self.version, bits, self.corpus.shards[bits], mask, form, path, stays))
        self.destination.put(name, entry)
        data, index = self._made_of(bits)
        return ExportedShard(shard_blake3=data, index_blake3=index, rows=rows, file=entry)

    def _tell(self, *, complete: bool) -> ExportManifest:
        told = ExportManifest(
            format=self.place.format,
            format_version=FORMAT_VERSION,
            corpus=self.corpus.corpus,
            target=self.corpus.target,
            where=self.place.where,
            root_hash=self.corpus.root_hash,
            complete=complete,
            rows=sum(one.rows for one in self.done.values()),
            files=dict(sorted(self.done.items())),
        )
        self.destination.write(MANIFEST, told.model_dump_json(indent=1).encode())
        return told

    def _card(self) -> str:
        """Says to `datasets` which files are rows, and to people what this is."""
        files = f"- config_name: default\n  data_files:\n  - split: train\n    path: {DATA}*.parquet\n"
        head = f"---\nconfigs:\n{files}---\n\n" if self.place.format is Format.PARQUET else ""
        rows = sum(one.rows for one in self.done.values())
        where = f", those where `{self.place.where}`" if self.place.where else ""
        told = (
            f"{so_many(rows, 'row')} of the corpus with root hash `{self.corpus.root_hash}`{where}, as "
            f"{self.place.format}. "
            f"`{MANIFEST}` lists the files with their hashes."
        )
        return f"{head}# {self.corpus.corpus} {self.corpus.target}\n\n{told}\n"
