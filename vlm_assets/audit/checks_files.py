"""Checks of the files of a corpus: manifests, names, sizes, hashes, schemas, counts, and rows with their bytes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import orjson
import pyarrow as pa

from vlm_assets.audit.content import ContentResult
from vlm_assets.audit.evidence import INPUTS_FILE, Evidence, UnjudgedError, version_name
from vlm_assets.audit.findings import MAX_EXAMPLES, Verdict
from vlm_assets.audit.once_read import read_hash
from vlm_assets.audit.recount import Recount
from vlm_assets.store.away import away_in, readable
from vlm_assets.store.papers import DERIVED_FILES
from vlm_assets.store.slices import file_hash
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import OperationError, of_the_machine, of_the_medium
from vlm_assets.words.layout import MANIFEST
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA

_DERIVED: Final = frozenset({MANIFEST, *DERIVED_FILES})
_STATE: Final = ("state.json", "dataset_info.json")
_ALWAYS_HASHED_BYTES: Final = 16 * 2**20
_CONFIDENCE: Final = 0.95
_SCHEMA_BYTES: Final = 2**16
"""Beginning of a data file, with its schema: read of one that lies at the remote alone."""


def check_manifests(recount: Recount) -> Verdict:
    """Folder names, agreement between corpus and plan, files of the plan, manifests of the slices."""
    evidence = recount.evidence
    faults = list(_manifest_faults(evidence))
    return Verdict(
        "every manifest is readable, hashes to its folder's name, and agrees with the others",
        f"{so_many(len(faults), 'fault')}; corpus version {evidence.directory.name}",
        faults,
        figures={"version": evidence.directory.name},
    )


def _manifest_faults(evidence: Evidence) -> Iterator[str]:
    name = version_name(evidence.manifest_bytes)
    if name != evidence.directory.name:
        yield f"{evidence.directory.name}/{MANIFEST} hashes to {name}: it was changed after the seal"
    try:
        corpus = evidence.corpus
        plan, folder = evidence.plan, evidence.plan_dir
    except UnjudgedError as error:
        yield str(error)
        return
    if corpus.target != evidence.target:
        yield f"the corpus says it is target {corpus.target}, it stands under {evidence.target}"
    found = version_name((folder / MANIFEST).read_bytes())
    if found != folder.name:
        yield f"plan {folder.name}: its {MANIFEST} hashes to {found}: it was changed"
    for key in ("corpus", "target", "target_rows", "seed", "inputs_hash"):
        said, planned = getattr(corpus, key), getattr(plan, key)
        if said != planned:
            yield f"{key}: the corpus says {said}, its plan {planned}"
    for file, entry in plan.files.items():
        path = folder / file
        if not path.is_file() or file_hash(path) != entry.blake3:
            yield f"plan {folder.name}: {file} is missing or not the file of its manifest"
    inputs = folder / INPUTS_FILE
    if inputs.is_file() and sha256(inputs.read_bytes()).hexdigest() != plan.inputs_hash:
        yield f"plan {folder.name}: {INPUTS_FILE} does not hash to the inputs hash"
    for one in evidence.slices:
        if one.directory is None or one.manifest is None:
            continue
        if version_name((one.directory / MANIFEST).read_bytes()) != one.directory.name:
            yield f"slice {one.claim.name}: {MANIFEST} of {one.directory.name} was changed after the commit"
        if (one.manifest.source, one.manifest.slice) != (one.claim.source, one.claim.slice):
            yield f"slice {one.claim.name}: its manifest is of {one.manifest.source}/{one.manifest.slice}"


def check_shard_files(recount: Recount) -> Verdict:
    """Names, sizes, caps and hashes. Data files beyond 16 MB are hashed with `full` only."""
    evidence = recount.evidence
    corpus, folder = evidence.corpus, evidence.directory
    listed = {}
    for bits, shard in corpus.shards.items():
        listed[f"data-r{bits}.arrow"], listed[f"index-r{bits}.arrow"] = shard.data, shard.index
    faults = [
        f"{name}: not in the manifest's files" for name in (*listed, *_STATE) if name not in corpus.files
    ]
    faults += [
        f"{n}: shard and files of the manifest disagree"
        for n, e in listed.items()
        if corpus.files.get(n, e) != e
    ]
    faults += [f"{name}: of no shard" for name in corpus.files if name not in listed and name not in _STATE]
    there = {path.name: path.stat().st_size for path in folder.iterdir() if not path.name.startswith(".")}
    there |= {name: one.entry.size_bytes for name, one in away_in(folder).items()}
    faults += [
        f"{name}: not in the manifest"
        for name in sorted(there.keys() - corpus.files.keys() - _DERIVED)
        if not (name.startswith("cache-") and name.endswith(".arrow"))
    ]
    whole = []
    for name, entry in sorted(corpus.files.items()):
        if name not in there:
            faults.append(f"{name}: missing")
        elif there[name] != entry.size_bytes:
            faults.append(f"{name}: {there[name]} bytes, the manifest says {entry.size_bytes}")
        else:
            whole.append(name)
        if name.startswith("data-") and entry.size_bytes > corpus.shard.max_bytes:
            faults.append(
                f"{name}: {entry.size_bytes} bytes, more than shard.max_bytes {corpus.shard.max_bytes}"
            )
    faults += _order_faults(evidence)
    hashed = [
        name
        for name in whole
        if evidence.full or not name.startswith("data-") or there[name] <= _ALWAYS_HASHED_BYTES
    ]
    known = _known_hashes(recount)
    with ThreadPoolExecutor(recount.threads) as pool:
        hashes = pool.map(lambda name: known.get(name) or _hash(folder / name), hashed)
        for name, found in zip(hashed, hashes, strict=True):
            if found != corpus.files[name].blake3:
                faults.append(f"{name}: its bytes are not those of the manifest (blake3 {found[:16]}…)")
    return Verdict(
        f"{so_many(len(corpus.files), 'file')} as in the manifest, data files of at most "
        f"{corpus.shard.max_bytes} bytes",
        f"{len(there.keys() & corpus.files.keys())} of them there, {len(hashed)} hashed, "
        f"{so_many(len(faults), 'fault')}",
        faults,
        figures={"files": len(corpus.files), "hashed": len(hashed), "shards": len(corpus.shards)},
    )


def _hash(path: Path) -> str:
    with readable(path) as here:
        return read_hash(here)


def _known_hashes(recount: Recount) -> Mapping[str, str]:
    """Of data files that were read from end to end for their rows anyway."""
    if not recount.evidence.full:
        return {}
    try:
        return recount.content.file_hashes
    except UnjudgedError:
        return {}


def _order_faults(evidence: Evidence) -> list[str]:
    try:
        state = orjson.loads((evidence.directory / "state.json").read_bytes())
        named = [one["filename"] for one in state["_data_files"]]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        return [f"state.json: {error}"]
    wanted = [f"data-r{bits}.arrow" for bits in evidence.shard_bits]
    return (
        []
        if named == wanted
        else [
            f"state.json names {so_many(len(named), 'file')}, not the {so_many(len(wanted), 'shard')} in order"
        ]
    )


def check_root_hash(recount: Recount) -> Verdict:
    """Root hash over the manifest's file hashes; rows hashes over the digests in the index files."""
    corpus = recount.evidence.corpus
    files = {}
    for bits, shard in corpus.shards.items():
        files[f"data-r{bits}.arrow"], files[f"index-r{bits}.arrow"] = shard.data.blake3, shard.index.blake3
    root = sha256("".join(f"{name}\0{files[name]}\n" for name in sorted(files)).encode()).hexdigest()
    rows = recount.rows.rows_hash
    whole = sha256("".join(f"{bits}\0{rows[bits]}\n" for bits in sorted(rows)).encode()).hexdigest()
    faults = (
        [] if root == corpus.root_hash else [f"root_hash is {root}, the manifest says {corpus.root_hash}"]
    )
    faults += [
        f"shard r{bits}: rows_hash is {found}, the manifest says {corpus.shards[bits].rows_hash}"
        for bits, found in rows.items()
        if found != corpus.shards[bits].rows_hash
    ]
    if whole != corpus.rows_hash:
        faults.append(f"rows_hash is {whole}, the manifest says {corpus.rows_hash}")
    return Verdict(
        f"root_hash {corpus.root_hash[:16]}…, rows_hash {corpus.rows_hash[:16]}…",
        f"{root[:16]}…, {whole[:16]}…",
        faults,
        figures={"root_hash": root, "rows_hash": whole},
    )


def check_counts(recount: Recount) -> Verdict:
    """Rows per shard, source and subcategory, and bytes, counted from the index files."""
    corpus, rows = recount.evidence.corpus, recount.rows
    found = dict(zip(recount.evidence.shard_bits, np.diff(rows.starts).tolist(), strict=True))
    faults = [
        f"shard r{bits}: {so_many(found[bits], 'row')}, the manifest says {shard.rows}"
        for bits, shard in corpus.shards.items()
        if found[bits] != shard.rows
    ]
    total = int(rows.starts[-1])
    if total != corpus.rows:
        faults.append(f"{so_many(total, 'row')} in all, the manifest says {corpus.rows}")
    sources: Counter[str] = Counter()
    for (source, _), count in zip(rows.homes, np.bincount(rows.home, minlength=len(rows.homes)), strict=True):
        sources[str(source)] += int(count)
    categories: dict[str, Counter[str]] = {}
    counts = np.bincount(rows.assigned, minlength=len(rows.assignments)).tolist()
    for (category, subcategory, _), count in zip(rows.assignments, counts, strict=True):
        categories.setdefault(str(category), Counter())[str(subcategory)] += count
    if dict(sources) != corpus.sources:
        faults.append(f"rows a source: {dict(sources)}, the manifest says {corpus.sources}")
    if {name: dict(one) for name, one in categories.items()} != corpus.categories:
        faults.append(f"rows a subcategory: {categories}, the manifest says {corpus.categories}")
    data_bytes = sum(shard.data.size_bytes for shard in corpus.shards.values())
    if data_bytes != corpus.data_bytes:
        faults.append(f"data_bytes: the shards have {data_bytes}, the manifest says {corpus.data_bytes}")
    return Verdict(
        f"{so_many(corpus.rows, 'row')}, {corpus.data_bytes} bytes",
        f"{so_many(total, 'row')}, {data_bytes} bytes",
        faults,
        figures={"rows": total, "sources": dict(sources), "data_bytes": data_bytes},
    )


def check_schema(recount: Recount) -> Verdict:
    """Schema of every file, with the metadata that carries the Hugging Face features."""
    evidence = recount.evidence
    faults = []
    for bits in evidence.shard_bits:
        for name, wanted, opener in (
            (f"data-r{bits}.arrow", SAMPLE_SCHEMA, pa.ipc.open_stream),
            (f"index-r{bits}.arrow", INDEX_SCHEMA, pa.ipc.open_file),
        ):
            path = evidence.directory / name
            try:
                with readable(path, size_bytes=_SCHEMA_BYTES) as here, pa.OSFile(str(here)) as file:
                    found = opener(file).schema
            except (OSError, pa.ArrowInvalid, OperationError) as error:
                raise UnjudgedError(f"{path}: {error}") from error
            if not found.equals(wanted, check_metadata=True):
                faults.append(f"{name}: {_schema_difference(found, wanted)}")
    return Verdict(
        f"{len(SAMPLE_SCHEMA)} data and {so_many(len(INDEX_SCHEMA), 'index column')} with the features, "
        "in every file",
        f"{len(faults)} of {so_many(2 * len(evidence.shard_bits), 'file')} differ",
        faults,
    )


def _schema_difference(found: pa.Schema, wanted: pa.Schema) -> str:
    for name in wanted.names:
        if name not in found.names:
            return f"column {name} is missing"
        if not found.field(name).equals(wanted.field(name)):
            return f"column {name} is {found.field(name).type}, not {wanted.field(name).type}"
    extra = [name for name in found.names if name not in wanted.names]
    return f"further columns {', '.join(extra)}" if extra else "order or features differ"


def check_loadable(recount: Recount) -> Verdict:
    """`datasets.load_from_disk` as a user would call it."""
    evidence = recount.evidence
    with _openable(evidence) as (folder, shards):
        return _loadable(folder, sum(evidence.corpus.shards[bits].rows for bits in shards))


@contextmanager
def _openable(evidence: Evidence) -> Iterator[tuple[Path, Sequence[str]]]:
    """A folder that `datasets` is to open, and the shards in it: of a corpus that lies elsewhere its first one alone.

    Raises:
        UnjudgedError: that one cannot be had.
    """
    if not evidence.corpus.shards or not away_in(evidence.directory):
        yield evidence.directory, evidence.shard_bits
        return
    first = evidence.shard_bits[0]
    data = evidence.directory / f"data-r{first}.arrow"
    try:
        with TemporaryDirectory(prefix="vlm-audit-") as folder, readable(data) as here:
            state = orjson.loads((evidence.directory / "state.json").read_bytes())
            state["_data_files"] = [{"filename": data.name}]
            (Path(folder) / data.name).symlink_to(here)
            (Path(folder) / "state.json").write_bytes(orjson.dumps(state))
            info = (evidence.directory / "dataset_info.json").read_bytes()
            (Path(folder) / "dataset_info.json").write_bytes(info)
            yield Path(folder), [first]
    except (OSError, orjson.JSONDecodeError, OperationError) as error:
        raise UnjudgedError(f"{data}: {error}") from error


def _loadable(folder: Path, rows: int) -> Verdict:
    import datasets  # noqa: PLC0415 - seconds, for one check

    expected = f"{so_many(rows, 'row')} with the declared features"
    if not rows:
        return Verdict(expected, "an empty corpus; `datasets` has no form for it")
    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        opened = datasets.load_from_disk(str(folder))
        count, found = len(opened), set(opened.features)
        row = opened[0] if count else {}  # with its images decoded, as a user gets it
        first = row.get("id", "")
        picture = opened.features.get("images") == datasets.List(datasets.Image())
    except Exception as error:
        if of_the_machine(error) and not of_the_medium(error):
            raise UnjudgedError(f"load_from_disk: {type(error).__name__}: {error}") from error
        return Verdict(expected, f"{type(error).__name__}: {error}", [f"load_from_disk: {error}"])
    finally:
        if bars:
            datasets.enable_progress_bars()
    faults = [] if count == rows else [f"{so_many(count, 'row')}, the shards of the manifest have {rows}"]
    if found != set(SAMPLE_SCHEMA.names) or not picture:
        faults.append(f"features {sorted(found)}, images are{'' if picture else ' not'} lists of Image")
    return Verdict(expected, f"{so_many(count, 'row')}, the first is {first}", faults)


def _scope(recount: Recount, result: ContentResult) -> str:
    if recount.evidence.full:
        return f"all {so_many(result.rows, 'row')}"
    share = 1 - (1 - _CONFIDENCE) ** (1 / max(result.rows, 1))
    return (
        f"a seeded sample of {so_many(result.rows, 'row')}: without a fault in it, with {_CONFIDENCE:.0%} "
        f"confidence fewer than "
        f"{share:.2%} of the rows are bad"
    )


def check_row_values(recount: Recount) -> Verdict:
    """Columns of data files against the index, and digests over the values."""
    result = recount.content
    faults = [*result.unreadable, *result.value_examples]
    return Verdict(
        f"data and index agree, values have their digest, in {_scope(recount, result)}",
        f"{result.bad_values} of {so_many(result.rows, 'row')} differ, "
        f"{so_many(len(result.unreadable), 'file')} cut or damaged",
        faults[:MAX_EXAMPLES],
        result.bad_values + len(result.unreadable),
        {"rows": result.rows},
    )


def check_image_bytes(recount: Recount) -> Verdict:
    """sha256 of image bytes against the index."""
    result = recount.content
    if result.unreadable:
        raise UnjudgedError("; ".join(result.unreadable[:3]))
    return Verdict(
        f"image bytes hash to the sha256 beside them in {_scope(recount, result)}",
        f"{result.bad_images} of {so_many(result.rows, 'image')} differ",
        result.image_examples[:MAX_EXAMPLES],
        result.bad_images,
        {"rows": result.rows, "image_bytes": result.image_bytes},
    )


def check_decodes(recount: Recount) -> Verdict:
    """Full reads by `datasets`."""
    result = recount.content
    if result.unreadable:
        raise UnjudgedError("; ".join(result.unreadable[:3]))
    return Verdict(
        f"{so_many(result.decoded, 'sampled image')} decoded to their format and size",
        f"{result.bad_decodes} do not",
        result.decode_examples[:MAX_EXAMPLES],
        result.bad_decodes,
        {"decoded": result.decoded},
    )
