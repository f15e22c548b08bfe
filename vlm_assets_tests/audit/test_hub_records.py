"""A repository of conversations over several images, captions and single images: no record is ever torn.

One story, told once: built under quotas and deduplication, a record taken down, the repository grown by a hundredth.
"""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.audit.run import audit_corpus
from vlm_assets.corpus.build import build_corpus
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.words.records import Record
from vlm_assets_tests.workplace import ingest, install, picture

ROWS, TARGET = 100, 120
QUOTAS = {"talks": 60, "captions": 36, "singles": 24}
_CONFIGS = "".join(f"- {{config_name: {name}, data_files: {name}/*.parquet}}\n" for name in QUOTAS)
CARD = f"---\nconfigs:\n{_CONFIGS}---\n"
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TURNS = pa.list_(pa.struct([("user", pa.string()), ("assistant", pa.string())]))
SCHEMAS = {
    "talks": pa.schema([("images", pa.list_(IMAGE)), ("texts", TURNS)]),
    "captions": pa.schema([("image", IMAGE), ("text", pa.string())]),
    "singles": pa.schema([("image", IMAGE)]),
}
Whole = tuple[tuple[bytes, ...], str]
"""A record as upstream has it: its images in their order, and all its words."""


def cell(number: int) -> dict[str, Any]:
    return {"bytes": picture(number, size=(16, 12)), "path": None}


def talk(number: int) -> dict[str, Any]:
    """One to three images with marks; some share a picture, and every twentieth repeats the row before it."""
    number -= number % 20 == 19
    shared = [cell(5000)] if number % 5 == 0 else []
    images = [
        cell(1000 + 3 * number + n) for n in range(1 + number % 3 - len(shared) * (number % 3 > 0))
    ] + shared
    return {
        "images": images,
        "texts": [{"user": f"{'<image>' * len(images)} {number}?", "assistant": f"{number}."}],
    }


def rows(name: str, numbers: range) -> list[dict[str, Any]]:
    if name == "talks":
        return [talk(n) for n in numbers]
    if name == "captions":
        return [{"image": cell(2000 + n), "text": f"resim {n}"} for n in numbers]
    return [{"image": cell(2050 + n)} for n in numbers]  # half of the pictures stand among the captions too


def files(numbers: range, file: str) -> dict[str, bytes]:
    found = {}
    for name, schema in SCHEMAS.items():
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows(name, numbers), schema), out)
        found[f"{name}/{file}.parquet"] = out.getvalue()
    return found


def upstream(count: int) -> set[Whole]:
    return {
        (
            tuple(one["bytes"] for one in row.get("images", [row.get("image")])),
            row.get("text")
            or "".join(f"{turn['user']}/{turn['assistant']}" for turn in row.get("texts", ())),
        )
        for name in QUOTAS
        for row in rows(name, range(count))
    }


def as_upstream(row: dict[str, Any]) -> Whole:
    turns = [
        "".join("<image>" if part["type"] == "image" else f" {part['text']}" for part in turn["content"])
        for turn in row["messages"] or ()
    ]
    return tuple(one["bytes"] for one in row["images"]), row["text"] or "/".join(turns).replace("/ ", "/")


@dataclass
class Stage:
    rows: dict[str, Whole]
    sources: Counter[str]
    excluded: dict[str, int]
    failed: set[str]


def stage(installation: Installation, *, rebuilt: bool = True) -> Stage:
    excluded: dict[str, int] = {}
    if rebuilt:
        for name in QUOTAS:
            ingest(installation, name)
        plan = allocate(installation, "t")
        excluded = {str(reason): count for reason, count in plan.manifest.excluded.items() if count}
        build_corpus(plan.path, installation.root, tombstones_in_force(installation.root))
    corpus = datasets.load_from_disk(str(installation.root.corpus("small", "t").resolve()))
    found = list(corpus.cast_column("images", datasets.List(datasets.Image(decode=False))))
    return Stage(
        {row["id"]: as_upstream(row) for row in found},
        Counter(row["source"] for row in found),
        excluded,
        {str(one.name) for one in audit_corpus(installation, "t", full=True) if one.failed},
    )


def made(base: Path) -> Installation:
    sources = [
        {
            "name": name, "kind": "hf_dataset", "repo": "org/set", "configs": [name], "category": "photos",
            "subcategory": name, "licence": "CC0-1.0",
        } for name in QUOTAS
    ]  # fmt: skip
    shares = {name: {"share": rows / TARGET} for name, rows in QUOTAS.items()}
    corpus = {"targets": {"t": TARGET}, "quotas": {"photos": {"share": 1, "subcategories": shares}}}
    return install(base, *sources, corpus=corpus, allow_private_hosts="127.0.0.1", workers=2)


@pytest.fixture(scope="module")
def hub() -> Iterator[HubService]:
    with pytest.MonkeyPatch.context() as patch, HubService() as service:
        patch.setenv("HF_ENDPOINT", service.url)
        patch.delenv("HF_TOKEN", raising=False)
        service.add("org/set", {"README.md": CARD.encode(), **files(range(ROWS), "a")})
        yield service


@pytest.fixture(scope="module")
def story(hub, tmp_path_factory) -> dict[str, Stage]:
    installation = made(tmp_path_factory.mktemp("story"))
    built = stage(installation)
    gone = next(name for name, (images, _) in built.rows.items() if len(images) == 3)
    take_down(installation, TakedownOrder(id=gone, image=1))
    taken = stage(installation, rebuilt=False)
    grown = files(range(ROWS, ROWS + ROWS // 100), "b")
    hub.repos["org/set"].commit({**hub.repos["org/set"].commits[-1].files, **grown})
    return {"built": built, "taken down": taken, "grown": stage(installation)}


@pytest.mark.parametrize("name", ["built", "taken down", "grown"])
def test_no_record_is_torn(story, name):
    known = upstream(ROWS + 1)
    torn = [row for row, whole in story[name].rows.items() if whole not in known]
    assert torn == []
    assert {len(images) for images, _ in story[name].rows.values()} == {1, 2, 3}
    assert story[name].failed <= ({"staleness"} if name == "taken down" else set())


def test_quotas_are_met_by_whole_records(story):
    assert story["built"].sources == QUOTAS
    assert story["built"].excluded == {"duplicate": 5}
    assert story["grown"].sources == QUOTAS


def test_a_takedown_takes_one_record_and_growth_moves_few(story):
    before, taken, grown = (set(story[name].rows) for name in ("built", "taken down", "grown"))
    assert len(before - taken) == 1
    assert taken < before
    assert len(taken - grown) <= 3
    assert not (before - taken) & grown


@pytest.mark.usefixtures("hub")
def test_splitting_records_at_ingest_fails_the_finding_alone(tmp_path, monkeypatch):
    from vlm_assets.hub import tables

    whole = tables.records_of

    def torn(*args: Any, **options: Any) -> Iterator[Any]:
        for event in whole(*args, **options):
            yield replace(event, images=event.images[:1]) if isinstance(event, Record) else event

    monkeypatch.setattr("vlm_assets.hub.readers.records_of", torn)
    assert stage(made(tmp_path)).failed == {"records_whole"}
