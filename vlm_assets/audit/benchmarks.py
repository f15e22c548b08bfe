"""Benchmarks and lists read again: what the plan was to keep out, and which rows of a batch are like it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.audit.corpus_rows import images_of, index_batches
from vlm_assets.audit.evidence import Evidence, UnjudgedError
from vlm_assets.audit.grams import grams_in, grams_said
from vlm_assets.audit.near import near_pairs, telling
from vlm_assets.audit.rules import Rules
from vlm_assets.audit.words import I64, U64, Bool, fixed_words, numbers, words_of
from vlm_assets.store.away import files_like
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.sound_files import stream_batches
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import RemoteError, StoreError
from vlm_assets.words.manifest import SliceManifest
from vlm_assets.words.plain_files import sha256_of
from vlm_assets.words.schema import SAMPLE_SCHEMA

LISTS: Final = "decontaminate (lists)"
WAYS: Final = ("exact", "near", "text")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What must not be in the corpus: first words of images' sha256, their telling dhashes, their grams."""

    name: str
    sha: U64
    dhash: U64
    grams: U64


def planned_benchmarks(evidence: Evidence) -> list[Benchmark]:
    """The lists and benchmarks that the rules of a plan name by their content.

    Raises:
        UnjudgedError: one of them is not there any more, or is damaged.
    """
    rules = evidence.rules
    found = []
    if rules.content["decontaminate"]:
        found.append(read_lists(benchmark_files(evidence, rules)))
    for name, slices in sorted(rules.content.get("benchmarks", {}).items()):
        found.append(_read(evidence, name, slices))
    return found


def _read(evidence: Evidence, name: str, slices: Sequence[Sequence[str]]) -> Benchmark:
    sha, dhash, grams = [np.empty((0, 2), np.uint64)], [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for key, content_hash in slices:
        directory, manifest = evidence.content_of(name, key, content_hash)
        if directory is None or manifest is None:
            raise UnjudgedError(f"benchmark {name}/{key}: what the plan was made with is gone")
        for words, pictures in _images(directory / INDEX_FILE):
            sha.append(words)
            dhash.append(pictures)
        if has_words(manifest):
            _refuse_taken_down(evidence, f"{name}/{key}", np.concatenate(sha))
            grams += [one for one, _ in grams_of(directory, manifest.rows)]
    images = np.unique(np.concatenate(sha), axis=0)
    return Benchmark(name, images, np.unique(np.concatenate(dhash)), np.unique(np.concatenate(grams)))


def has_words(manifest: SliceManifest) -> bool:
    """Whether a row of the slice says something."""
    return manifest.rows_with_text + manifest.rows_with_messages > 0


def _refuse_taken_down(evidence: Evidence, name: str, sha: U64) -> None:
    """What a benchmark's row said goes with a takedown, and what it was like cannot be told again."""
    since = evidence.takedowns_since_plan
    by_id = any(one.startswith(f"{name}/") for one in since.ids)
    if by_id or (since.image_sha256 and _common(sha, words_of(since.image_sha256))):
        raise UnjudgedError(f"benchmark {name}: rows were taken down since the plan; build the target again")


def _common(one: U64, other: U64) -> bool:
    return not {tuple(words) for words in other.tolist()}.isdisjoint(map(tuple, one.tolist()))


def _images(path: Path) -> Iterator[tuple[U64, U64]]:
    """By batch: hashes of all images, and dhashes of those that are not flat."""
    columns = ("image_count", "images_sha256", "dhash", "image_facts")
    try:
        for batch in index_batches(path, columns):
            single = numbers(batch.column("image_count")) == 1
            yield fixed_words(batch.column("images_sha256"))[single], _pictures(batch.column("dhash"))
            _, words, facts = images_of(batch)
            yield words, _pictures(facts.field("dhash"))
    except ValueError as error:
        raise UnjudgedError(f"{path}: {error}") from error


def _pictures(column: pa.Array) -> U64:
    values: U64 = numbers(column).astype(np.uint64)[column.is_valid().to_numpy(zero_copy_only=False)]
    return values[telling(values)]


def grams_of(directory: Path, rows: int) -> Iterator[tuple[U64, I64]]:
    """Grams that the rows of a slice say, of which there are so many, and the row of each.

    Raises:
        UnjudgedError: a data file is missing or damaged.
    """
    first = 0
    try:
        for path in files_like(directory, "data-*.arrow"):
            for batch in stream_batches(path, SAMPLE_SCHEMA, ("text", "messages")):
                grams, said_by = grams_said(batch)
                yield grams, said_by + first
                first += batch.num_rows
    except (StoreError, RemoteError, FileNotFoundError) as error:
        raise UnjudgedError(str(error)) from error
    if first != rows:
        raise UnjudgedError(
            f"{directory}: its data files have {so_many(first, 'row')}, there should be {rows}"
        )


def benchmark_files(evidence: Evidence, rules: Rules) -> list[Path]:
    """The decontamination lists that the rules name by their content, found among those of the catalogue.

    Raises:
        UnjudgedError: one of them is not there any more.
    """
    base, corpus = evidence.installation.catalog_dir, evidence.installation.catalog.corpus
    try:
        found = {sha256_of(base / path): base / path for path in corpus.decontaminate}
        return [found[digest] for digest in rules.content["decontaminate"]]
    except OSError as error:
        raise UnjudgedError(f"decontaminate: {error}") from error
    except KeyError:
        raise UnjudgedError("a decontamination list of the plan is gone or changed; see staleness") from None


def read_lists(paths: Sequence[Path]) -> Benchmark:
    """Of parquet files: columns `image_sha256` (hex) and `dhash` of benchmark images, `text` of benchmark records."""
    hashes: set[str] = set()
    pictures: set[int] = set()
    grams = [np.empty(0, np.uint64)]
    for path in paths:
        try:
            columns: Mapping[str, Any] = pq.read_table(path).to_pydict()
        except (OSError, pa.ArrowInvalid) as error:
            raise UnjudgedError(f"decontaminate: {path}: {error}") from error
        hashes.update(value for value in columns.get("image_sha256", ()) if value is not None)
        pictures.update(int(value) % 2**64 for value in columns.get("dhash", ()) if value is not None)
        texts = [str(value) for value in columns.get("text", ()) if value is not None]
        grams.append(grams_in([text] for text in texts)[0])
    values = np.array(sorted(pictures), np.uint64)
    return Benchmark(LISTS, words_of(hashes), values[telling(values)], np.unique(np.concatenate(grams)))


def near_benchmark(dhash: U64, pictures: U64, bits: int) -> Bool:
    """Which of these telling hashes are within `bits` of a benchmark image's."""
    values, value_of = np.unique(dhash, return_inverse=True)
    hit = np.zeros(len(values), bool)
    hit[near_pairs(values, pictures, bits)[0]] = True
    return hit[value_of]


def with_picture_of(batch: pa.RecordBatch, pictures: U64, bits: int) -> Bool:
    """Records of several images one of which is near a benchmark image."""
    owners, _, facts = images_of(batch)
    column = facts.field("dhash")
    values = numbers(column).astype(np.uint64)
    known = column.is_valid().to_numpy(zero_copy_only=False) & telling(values)
    found = np.zeros(batch.num_rows, bool)
    found[owners[known][near_benchmark(values[known], pictures, bits)]] = True
    return found


class Matches:
    """Rows that match a benchmark, by its number and the way; counted by source at the end."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, str], list[I64]] = {}

    def add(self, number: int, way: str, places: I64) -> None:
        """Notes rows; several threads may."""
        if len(places):
            self._places.setdefault((number, way), []).append(places)

    def by_source(
        self, benchmarks: Sequence[Benchmark], spans: Sequence[tuple[str, int, int]]
    ) -> dict[tuple[str, str], dict[str, int]]:
        """By source and benchmark: rows in each way, and in any. `spans`: source, first row and end of each slice."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        for number, one in enumerate(benchmarks):
            rows = {way: self._all(number, way) for way in WAYS}
            rows["near"] = rows["near"][~np.isin(rows["near"], rows["exact"])]
            rows["rows"] = np.unique(np.concatenate(list(rows.values())))
            for source, begin, end in spans:
                counts = {
                    key: int(np.diff(np.searchsorted(some, (begin, end)))[0]) for key, some in rows.items()
                }
                if counts["rows"]:
                    line = found.setdefault((source, one.name), dict.fromkeys(counts, 0))
                    for key, count in counts.items():
                        line[key] += count
        return found

    def _all(self, number: int, way: str) -> I64:
        return np.unique(np.concatenate([np.empty(0, np.int64), *self._places.get((number, way), ())]))
