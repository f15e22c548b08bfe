"""An export of a corpus into a folder: only what is not there yet, each file proven, the manifest last."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, cast

import pyarrow as pa
from pydantic import ValidationError

from vlm_assets.corpus.manifest import CorpusManifest, data_name
from vlm_assets.exports.formats import Format
from vlm_assets.exports.manifest import MANIFEST, ExportedShard, ExportManifest
from vlm_assets.exports.parquet import write_parquet
from vlm_assets.exports.places import ExportPlace, remember_place
from vlm_assets.exports.webdataset import write_tar
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.store.arrow_files import HashingFile, replace_file, sync_directory
from vlm_assets.store.slices import file_hash
from vlm_assets.store.sound_files import stream_batches
from vlm_assets.store.taken_down import refuse_taken_down
from vlm_assets.store.tombstones import StoredTombstones, read_tombstones
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import CorpusError, StoreError
from vlm_assets.words.schema import SAMPLE_SCHEMA

FORMAT_VERSION: Final = 1
"""Raised where equal rows would give other bytes; all files are then written anew."""

Progress = Callable[[int, int], None]
"""Told bytes of the corpus done and in all, after each file."""


def no_progress(done: int, total: int) -> None:
    """Tells nobody."""
    del done, total


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of an export. Sizes in bytes."""

    folder: Path
    manifest: ExportManifest
    written: int
    kept: int
    removed: int

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(one.file.size_bytes for one in self.manifest.files.values())


@named_disk_errors
def export_corpus(
    installation: Installation,
    target: str,
    form: Format,
    out: Path,
    *,
    workers: int = 1,
    progress: Progress = no_progress,
) -> Exported:
    """Makes `out` hold the target's sealed corpus in that format: a file a shard below `data/`.

    Files that an earlier export of the same shards left, be it a killed one, are hashed and kept; what belongs to no
    shard any more is removed. The data root remembers where exports were made, so that a takedown can name them.

    Raises:
        CorpusError: nothing is sealed, or the corpus is empty.
        TakenDownError: the corpus still holds a row that was taken down.
        StoreError: `out` holds something else, or a shard is not what the corpus says.
        DiskFullError: no room; what is finished stays and is kept the next time.
    """
    takedowns = read_tombstones(installation.root)
    version, corpus = sealed_corpus(installation, target, takedowns)
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    with hold_lock(out / ".lock", f"exporting into {out}"):
        place = ExportPlace(
            out=str(out), format=form, corpus=corpus.corpus, target=corpus.target, takedowns=takedowns.names
        )
        export = _Export(version, corpus, form, out, _found(out))
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


def _found(out: Path) -> ExportManifest | None:
    """What an earlier export says of the folder; None where it is empty.

    Raises:
        StoreError: the folder holds something else.
    """
    try:
        return ExportManifest.model_validate_json((out / MANIFEST).read_bytes())
    except FileNotFoundError:
        others = sorted(path.name for path in out.iterdir() if path.name != ".lock")
        if others:
            raise StoreError(
                f"{out} is not empty and holds no export ({others[0]}); name another folder"
            ) from None
        return None
    except ValidationError as error:
        raise StoreError(f"{out / MANIFEST} is no manifest of an export; name another folder") from error


@dataclass(slots=True)
class _Export:
    """One export under way."""

    version: Path
    corpus: CorpusManifest
    form: Format
    out: Path
    before: ExportManifest | None
    done: dict[str, ExportedShard] = field(default_factory=dict)

    def run(self, workers: int, progress: Progress) -> Exported:
        names = {f"data/r{bits}.{self.form.suffix}": bits for bits in sorted(self.corpus.shards)}
        (self.out / "data").mkdir(exist_ok=True)
        removed = self._remove_others(names)
        self.done = dict(self._kept(names))
        kept = len(self.done)
        read = sum(self._size(names[name]) for name in self.done)
        progress(read, self.corpus.data_bytes)
        self._tell(complete=False)
        with ThreadPoolExecutor(workers, thread_name_prefix="export") as pool:
            missing = {
                pool.submit(self._write, name, bits): name
                for name, bits in names.items()
                if name not in self.done
            }
            try:
                for future in as_completed(missing):
                    self.done[missing[future]] = future.result()
                    self._tell(complete=False)
                    read += self._size(names[missing[future]])
                    progress(read, self.corpus.data_bytes)
            finally:
                pool.shutdown(cancel_futures=True)
        replace_file(self.out / "README.md", _card(self.corpus, self.form).encode())
        return Exported(self.out, self._tell(complete=True), len(missing), kept, removed)

    def _size(self, bits: str) -> int:
        return self.corpus.shards[bits].data.size_bytes

    def _remove_others(self, names: Mapping[str, str]) -> int:
        """Removes files of shards that are no more, and what a killed export was writing."""
        others = [path for path in (self.out / "data").iterdir() if f"data/{path.name}" not in names]
        for path in others:
            path.unlink()
        return sum(not path.name.startswith(".") for path in others)

    def _kept(self, names: Mapping[str, str]) -> Iterator[tuple[str, ExportedShard]]:
        """Files that are there, of the same shards, and hash to what was written."""
        before = self.before
        if before is None or (before.format, before.format_version) != (self.form, FORMAT_VERSION):
            return
        for name, bits in names.items():
            told = before.files.get(name)
            path = self.out / name
            if (
                told is None
                or told.shard_blake3 != self.corpus.shards[bits].data.blake3
                or not path.is_file()
            ):
                continue
            if path.stat().st_size == told.file.size_bytes and file_hash(path) == told.file.blake3:
                yield name, told

    def _write(self, name: str, bits: str) -> ExportedShard:
        """One file, complete or not there."""
        path, shard = self.out / name, self.corpus.shards[bits]
        source = self.version / data_name(bits)
        if file_hash(source) != shard.data.blake3:
            raise StoreError(f"{source} is not what the corpus says; run `vlm-assets verify`")
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.unlink(missing_ok=True)
        file = HashingFile(temporary)
        try:
            rows = self._fill(file, stream_batches(source, SAMPLE_SCHEMA), bits)
            file.close()
        except BaseException:
            file.abandon()
            raise
        if rows != shard.rows or file.entry is None:
            raise StoreError(f"{source} holds {rows} rows, the corpus says {shard.rows}")
        temporary.replace(path)
        sync_directory(path.parent)
        return ExportedShard(shard_blake3=shard.data.blake3, rows=rows, file=file.entry)

    def _fill(self, file: HashingFile, batches: Iterator[pa.RecordBatch], bits: str) -> int:
        sink = cast("BinaryIO", file)
        return (
            write_parquet(batches, sink)
            if self.form is Format.PARQUET
            else write_tar(batches, sink, f"r{bits}-")
        )

    def _tell(self, *, complete: bool) -> ExportManifest:
        told = ExportManifest(
            format=self.form,
            format_version=FORMAT_VERSION,
            corpus=self.corpus.corpus,
            target=self.corpus.target,
            root_hash=self.corpus.root_hash,
            complete=complete,
            rows=sum(one.rows for one in self.done.values()),
            files=dict(sorted(self.done.items())),
        )
        replace_file(self.out / MANIFEST, told.model_dump_json(indent=1).encode())
        return told


def _card(corpus: CorpusManifest, form: Format) -> str:
    """Says to `datasets` which files are rows, and to people what this is."""
    files = "- config_name: default\n  data_files:\n  - split: train\n    path: data/*.parquet\n"
    configs = f"---\nconfigs:\n{files}---\n\n"
    told = f"{corpus.rows:,} rows of the corpus with root hash `{corpus.root_hash}`, as {form}"
    head = configs if form is Format.PARQUET else ""
    return f"{head}# {corpus.corpus} {corpus.target}\n\n{told}. `{MANIFEST}` lists the files with their hashes.\n"
