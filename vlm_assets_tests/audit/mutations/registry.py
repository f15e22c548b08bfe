"""Mutations by name, each with the findings that must tell of it; and what several of them do to a copy."""

import shutil
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from vlm_assets_tests.audit.breaking import Broken
from vlm_assets_tests.workplace import ingest, picture

Mutation = Callable[[Broken], None]
MUTATIONS: dict[str, tuple[Mutation, str, str]] = {}


def mutation(*findings: str, why: str = "") -> Callable[[Mutation], Mutation]:
    """Registers a mutation with the findings that must fail; `why` more than one."""

    def register(function: Mutation) -> Mutation:
        MUTATIONS[function.__name__] = (function, " ".join(sorted(findings)), why)
        return function

    return register


def replace_table(path: Any, table: pa.Table) -> None:
    path.unlink()
    pq.write_table(table, path)


def edit_catalog(b: Broken, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = b.base / "catalog" / "sources" / "all.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    change(content["sources"])
    path.write_text(yaml.safe_dump(content), "utf-8")
    if not any(s["name"] == "wild" for s in content["sources"]):
        corpus = b.base / "catalog" / "corpus.yaml"
        quotas = yaml.safe_load(corpus.read_text("utf-8"))
        quotas["quotas"]["photos"]["subcategories"] = {"street": {"share": 1}}
        corpus.write_text(yaml.safe_dump(quotas), "utf-8")


def private_folder(b: Broken, source: str) -> Any:
    """A copy of a client's folder for this test alone, named in its catalogue."""
    folder = b.base / "pictures" / source
    edit_catalog(b, lambda sources: _move(next(s for s in sources if s["name"] == source), folder))
    return folder


def _move(entry: dict[str, Any], folder: Any) -> None:
    shutil.copytree(entry["path"], folder)
    entry["path"] = str(folder)


def add_picture(b: Broken, source: str, name: str, number: int) -> None:
    (private_folder(b, source) / name).write_bytes(picture(number))
    ingest(b.installation, source)
