"""A good small corpus, copies of it, and the tools to break a copy the way a bug or a hand would."""

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3
from PIL import Image

from vlm_assets.allocation.step import allocate
from vlm_assets.audit.run import audit_corpus
from vlm_assets.corpus.build import build_corpus
from vlm_assets.images.dhash import dhash
from vlm_assets.installation.opening import Installation, open_installation
from vlm_assets.operate.takedown import finish_takedowns
from vlm_assets.papers.write import write_papers
from vlm_assets.settings import load_settings
from vlm_assets.store.tombstones import Tombstone, read_tombstones, write_tombstone
from vlm_assets.store.versions import swap_link
from vlm_assets.words.layout import MANIFEST, VERSIONS
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.sharing import made_once
from vlm_assets_tests.workplace import fill, ingest, install, picture

TARGET = "t30"
CORPUS: dict[str, Any] = {
    "name": "good",
    "seed": 7,
    "targets": {TARGET: 30, "t12": 12},
    "quotas": {
        "photos": {
            "share": "0.6",
            "subcategories": {
                "street": {"share": "0.5"},
                "nature/day": {"share": 0},
                "nature": {"share": "0.5"},
            },
        },
        "pages": {"share": "0.4", "subcategories": {"scans": {"share": 1, "min": 2}}},
    },
    "licences": {"deny": ["unknown"]},
    "min_side_px": 32,
    "shard": {"max_bytes": 105_000, "block_rows": 4, "window_bytes": 6_000},
    "dedup": {"exact": "image", "precedence": ["scans"]},
}
CORPUS["quotas"]["photos"]["subcategories"].pop("nature/day")
CORPUS["quotas"]["photos"]["subcategories"]["nature"] = {
    "share": "0.5",
    "subcategories": {"day": {"share": "0.7"}, "night": {"share": "0.3"}},
}


def sources(base: Path) -> list[dict[str, Any]]:
    common = {"kind": "client_folder", "category": "photos", "licence": "CC0-1.0"}
    return [
        {**common, "name": "street", "path": base / "street", "subcategory": "street", "max_samples": 20,
         "reject_tolerance": 0.5, "text": "sidecar"},
        {**common, "name": "wild", "path": base / "wild", "licence": "CC-BY-4.0",
         "subcategory_from": {"folder": 1, "map": {"sun": "nature/day", "moon": "nature/night"}}},
        {**common, "name": "scans", "path": base / "scans", "category": "pages", "subcategory": "scans",
         "files_per_slice": 10},
        {**common, "name": "murky", "path": base / "murky", "category": "pages", "subcategory": "scans",
         "licence": "unknown"},
    ]  # fmt: skip


def pictures(base: Path) -> None:
    fill(base / "street", 24)
    for page in sorted((base / "street").glob("*.jpeg"))[::2]:  # as a page says of itself that was drawn
        page.with_suffix(".json").write_text('{"flags": ["substituted", "no_glyph"]}')
    (base / "street" / "broken.jpg").write_bytes(picture(999)[:400])
    (base / "street" / "Thumbs.db").write_bytes(b"left by an operating system")
    for name, start, count in (("sun", 100, 12), ("moon", 200, 9), ("fog", 300, 2)):
        fill(base / "wild" / name, count, start=start)
    (base / "wild" / "sun" / "tiny.jpg").write_bytes(picture(400, size=(24, 24)))
    fill(base / "scans", 19, start=500)
    for number in (3, 4):  # in two sources: scans have precedence
        (base / "scans" / f"copy{number}.jpg").write_bytes(picture(number))
    fill(base / "murky", 3, start=600)
    benchmark = sha256(picture(505)).hexdigest()
    with Image.open(BytesIO(picture(505))) as image:
        likeness = pa.array([dhash(image)], pa.uint64())
    pq.write_table(pa.table({"image_sha256": [benchmark], "dhash": likeness}), base / "benchmark.parquet")


def good_corpus(base: Path, **corpus: Any) -> Installation:
    """An installation with a corpus that has a bit of everything, one takedown before its plan included."""
    pictures(base)
    changes = {"decontaminate": [str(base / "benchmark.parquet")], **corpus}
    installation = install(base, *sources(base), corpus={**CORPUS, **changes})
    for source in installation.catalog.sources:
        ingest(installation, source.name)
    take_down(installation, picture(102))
    build(installation)
    return installation


_made: list[Installation] = []


def good_once(factory: pytest.TempPathFactory) -> Installation:
    """The good corpus, and a smaller one, with their papers: this process's copy of it. Only to be copied or read."""
    if not _made:
        base = copy_folder(made_once(factory, "good", _make_good), factory.mktemp("good"))
        settings = load_settings(None, catalog=base / "catalog", data_root=base / "data")
        _made.append(open_installation(settings))
    return _made[0]


def _make_good(base: Path) -> None:
    installation = good_corpus(base)
    build(installation, "t12")
    for target in (TARGET, "t12"):
        write_papers(installation, target)
    finish_takedowns(installation)


def take_down(installation: Installation, image: bytes) -> None:
    """Puts a takedown on record; slices keep their rows, emptied."""
    digest = sha256(image).hexdigest()
    write_tombstone(installation.root, Tombstone(asked=f"sha256:{digest}", image_sha256=(digest,)))
    for source in installation.catalog.sources:
        ingest(installation, source.name)
    _empty(installation, digest)


def _empty(installation: Installation, digest: str) -> None:
    from vlm_assets.operate.takedown.slices import empty_slices

    empty_slices(installation.root, frozenset({digest}))


def in_force(installation: Installation) -> Tombstones:
    stored = read_tombstones(installation.root)
    return Tombstones(stored.image_sha256, stored.ids, stored.names)


def build(installation: Installation, target: str = TARGET) -> None:
    """Allocates and builds."""
    plan = allocate(installation, target).path
    build_corpus(plan, installation.root, in_force(installation))


def sha_of(row: dict[str, Any]) -> str:
    """Of the image of a row that has one."""
    [fact] = row["image_facts"]
    return str(fact["sha256"])


def copy_of(installation: Installation, base: Path) -> "Broken":
    """A copy of data root and catalogue to break."""
    copy_folder(installation.root.path.parent, base)
    for path in (base / "data").rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o644)
    return Broken(base)


def copy_folder(made: Path, base: Path) -> Path:
    """Copies data root and catalogue, whose sources stay where they are; returns the folder they are in now."""
    for name in ("data", "catalog"):
        shutil.copytree(made / name, base / name, symlinks=True)
    return base


def failed(installation: Installation, target: str = TARGET, **options: Any) -> set[str]:
    """Names of the findings that failed."""
    return {str(f.name) for f in audit_corpus(installation, target, **options) if f.failed}


@dataclass
class Broken:
    """A copied installation."""

    base: Path

    @property
    def installation(self) -> Installation:
        return open_installation(
            load_settings(None, catalog=self.base / "catalog", data_root=self.base / "data", workers=1)
        )

    @property
    def link(self) -> Path:
        return self.installation.root.corpus("good", TARGET)

    @property
    def corpus(self) -> Path:
        return self.link.resolve()

    @property
    def manifest(self) -> dict[str, Any]:
        content: dict[str, Any] = orjson.loads((self.corpus / MANIFEST).read_bytes())
        return content

    @property
    def plan(self) -> Path:
        return self.installation.root.allocation("good", TARGET).resolve()

    @property
    def bits(self) -> list[str]:
        return sorted(self.manifest["shards"])

    def slice(self, source: str, name: str = "root") -> Path:
        return self.installation.root.slice(source, name).resolve()

    def edit_manifest(self, change: Callable[[dict[str, Any]], None], *, rename: bool = True) -> None:
        """Changes `metadata.json` of the corpus; `rename` as a writer with that bug would have named the folder."""
        content = self.manifest
        change(content)
        self._put(self.corpus, content, self.link, rename=rename)

    @staticmethod
    def _put(folder: Path, content: dict[str, Any], link: Path, *, rename: bool = True) -> Path:
        data = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        (folder / MANIFEST).write_bytes(data)
        if not rename:
            return folder
        target = folder.parent / blake3(data).hexdigest()[:12]
        folder.rename(target)
        swap_link(link, Path(VERSIONS) / target.name)
        return target

    def rewrite(
        self,
        change: Callable[[list[dict[str, Any]], list[dict[str, Any]]], None],
        shard: int = 0,
        *,
        recount: bool = True,
    ) -> None:
        """Writes a shard anew from changed rows (data, index), with hashes that fit; a writer's bug."""
        bits = self.bits[shard]
        data, index = self.rows(bits)
        change(data, index)
        self.write(bits, pa.Table.from_pylist(data, SAMPLE_SCHEMA), pa.Table.from_pylist(index, INDEX_SCHEMA))
        self.reseal(recount=recount)

    def rows(self, bits: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        with pa.OSFile(str(self.corpus / f"data-r{bits}.arrow")) as file:
            data = pa.ipc.open_stream(file).read_all().to_pylist()
        with pa.OSFile(str(self.corpus / f"index-r{bits}.arrow")) as file:
            return data, pa.ipc.open_file(file).read_all().to_pylist()

    def write(self, bits: str, data: pa.Table, index: pa.Table) -> None:
        for name, table, form in (
            (f"data-r{bits}.arrow", data, pa.ipc.new_stream), (f"index-r{bits}.arrow", index, pa.ipc.new_file)
        ):  # fmt: skip
            with pa.OSFile(str(self.corpus / name), "w") as file, form(file, table.schema) as writer:
                writer.write_table(table)

    def reseal(self, *, recount: bool = True) -> None:
        """Hashes, and with `recount` counts, of the manifest as the files now are."""
        content = self.manifest
        sources: Counter[str] = Counter()
        categories: dict[str, Counter[str]] = {}
        for bits, shard in content["shards"].items():
            _, index = self.rows(bits)
            lines = [
                row["digest"]
                + sha256("\0".join((row["category"], row["subcategory"], row["licence"])).encode()).digest()
                for row in index
            ]
            for kind in ("data", "index"):
                entry = _entry(self.corpus / f"{kind}-r{bits}.arrow")
                shard[kind] = content["files"][f"{kind}-r{bits}.arrow"] = entry
            shard["rows_hash"] = sha256(b"".join(lines)).hexdigest()
            if recount:
                shard["rows"] = len(index)
            for row in index:
                sources[row["source"]] += 1
                categories.setdefault(row["category"], Counter())[row["subcategory"]] += 1
        named = {n: e for n, e in content["files"].items() if n.endswith(".arrow")}
        content["root_hash"] = sha256(
            "".join(f"{n}\0{named[n]['blake3']}\n" for n in sorted(named)).encode()
        ).hexdigest()
        content["rows_hash"] = sha256(
            "".join(f"{b}\0{s['rows_hash']}\n" for b, s in sorted(content["shards"].items())).encode()
        ).hexdigest()
        content["data_bytes"] = sum(s["data"]["size_bytes"] for s in content["shards"].values())
        if recount:
            content["rows"] = sum(s["rows"] for s in content["shards"].values())
            content["sources"] = dict(sources)
            content["categories"] = {name: dict(one) for name, one in categories.items()}
        self._put(self.corpus, content, self.link)

    def edit_plan_file(self, name: str, change: Callable[[Any], None]) -> None:
        """Changes a JSON file of the plan, with hashes that fit; the corpus names the new plan."""
        content = orjson.loads((self.plan / name).read_bytes())
        change(content)
        (self.plan / name).write_bytes(orjson.dumps(content))
        manifest = orjson.loads((self.plan / MANIFEST).read_bytes())
        manifest["files"][name] = _entry(self.plan / name)
        self._reseal_plan(manifest)

    def edit_plan(self, change: Callable[[Any], None]) -> None:
        """Changes the manifest of the plan; the corpus names the new plan."""
        manifest = orjson.loads((self.plan / MANIFEST).read_bytes())
        change(manifest)
        self._reseal_plan(manifest)

    def _reseal_plan(self, manifest: dict[str, Any]) -> None:
        target = self._put(self.plan, manifest, self.installation.root.allocation("good", TARGET))
        self.edit_manifest(lambda content: content.update(allocation_version=target.name))


def _entry(path: Path) -> dict[str, Any]:
    return {"size_bytes": path.stat().st_size, "blake3": blake3(path.read_bytes()).hexdigest()}
