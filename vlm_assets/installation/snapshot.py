"""Parsed catalogues kept by hash under the data root: a run keeps its snapshot whatever is edited meanwhile."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from vlm_assets.catalog.spec import Catalog, CorpusSpec, SourceSpec
from vlm_assets.sources.registry import source_of
from vlm_assets.words.disk import naming
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot, temporary_beside


def snapshot_path(root: DataRoot, catalog_hash: str) -> Path:
    """Where the snapshot of that hash lies."""
    return root.path / ".catalogs" / f"{catalog_hash}.json"


def write_snapshot(root: DataRoot, catalog: Catalog) -> Path:
    """Keeps a parsed catalogue; a snapshot that is there already is left alone."""
    path = snapshot_path(root, catalog.hash)
    if path.is_file():
        return path
    path.parent.mkdir(exist_ok=True)
    temporary = temporary_beside(path)
    # Not through `store.arrow_files`, which loads pyarrow: the code location writes this while it loads.
    with temporary.open("wb") as stream, naming(temporary):
        stream.write(_dump(catalog))
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    return path


def read_snapshot(root: DataRoot, catalog_hash: str) -> Catalog:
    """The catalogue of that hash as it was parsed; the YAML files are not looked at.

    Raises:
        StoreError: there is none, or it was written by an incompatible version.
    """
    path = snapshot_path(root, catalog_hash)
    try:
        content = orjson.loads(path.read_bytes())
        return Catalog(
            corpus=CorpusSpec.model_validate(content["corpus"]),
            sources=_specs(content["sources"]),
            benchmarks=_specs(content.get("benchmarks", ())),
            hash=catalog_hash,
        )
    except FileNotFoundError:
        raise StoreError(
            f"{path}: missing; reload the code location to work with the catalogue as it is now"
        ) from None
    except (ValidationError, KeyError, orjson.JSONDecodeError) as error:
        raise StoreError(
            f"{path}: not a catalogue of this version ({error}); reload the code location"
        ) from error


def _specs(content: Iterable[dict[str, Any]]) -> tuple[SourceSpec, ...]:
    return tuple(source_of(one["kind"]).spec_type.model_validate(one) for one in content)


def _dump(catalog: Catalog) -> bytes:
    content = {
        "corpus": catalog.corpus.model_dump(mode="json"),
        "sources": [spec.model_dump(mode="json") for spec in catalog.sources],
        "benchmarks": [spec.model_dump(mode="json") for spec in catalog.benchmarks],
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
