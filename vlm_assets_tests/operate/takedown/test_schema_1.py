"""Takedowns on a data root of schema 1, as it is and as a migration leaves it."""

import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from vlm_assets.allocation.step import allocate
from vlm_assets.corpus.build import build_corpus
from vlm_assets.corpus.seal import PINS
from vlm_assets.ingest.due import Due
from vlm_assets.ingest.taken_words import TakenWords, without_words
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.migration import migrate
from vlm_assets.operate.prune import prune_data_root
from vlm_assets.operate.takedown import TakedownOrder, finish_takedowns, take_down, unfinished_takedowns
from vlm_assets.operate.verify import verify
from vlm_assets.store.schema_1 import identity_without_words
from vlm_assets.store.slices import read_items_ledger
from vlm_assets.words.item_columns import ItemColumns
from vlm_assets.words.layout import MANIFEST
from vlm_assets.words.records import Item
from vlm_assets_tests.operate.schema_1_root import make_old
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture

STREET_ROW, WEB_ROW = 1, 31
"""Numbers of the pictures of the rows that are taken down."""


def said(number: int) -> str:
    """The words of a picture."""
    return f"the name was Ayse Yilmaz {number:03d}"


class Old:
    """A data root of schema 1 that is made once, and copies of it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        folder = fill(base / "street", 3)
        lines = [f"{n:04d}.jpeg,{said(n)}" for n in range(3)]
        (folder / "metadata.csv").write_text("\n".join(["file_name,text", *lines]), "utf-8")
        with FaultServer({f"/{n}.jpg": [Reply(body=picture(n))] for n in (30, 31, 32)}) as server:
            self.url = server.url(f"/{WEB_ROW}.jpg")
            lines = [f"{server.url(f'/{n}.jpg')},{said(n)}" for n in (30, 31, 32)]
            (base / "urls.csv").write_text("\n".join(["url,caption", *lines]), "utf-8")
            installation = self.opened(base)
            ingest(installation, "street")
            ingest(installation, "web")
        build_corpus(allocate(installation, "6").path, installation.root)
        make_old(installation)

    def opened(self, base: Path) -> Installation:
        street = {**STREET, "path": self.base / "street", "text": "metadata.csv"}
        web = {**STREET, "name": "web", "kind": "image_urls", "urls": self.base / "urls.csv",
               "text_column": "caption"}  # fmt: skip
        corpus = {"targets": {"6": 6}, "shortfall": "report"}
        settings: dict[str, Any] = {"allow_private_hosts": ("127.0.0.1",), "contact": "a@b.example"}
        return install(base, street, web, corpus=corpus, **settings)

    def copy(self, base: Path) -> Installation:
        shutil.copytree(self.base / "data", base / "data", symlinks=True)
        return self.opened(base)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Old:
    return Old(tmp_path_factory.mktemp("schema_1"))


def by_id(made: Old) -> tuple[TakedownOrder, int]:
    del made
    return TakedownOrder(id=f"street/root/{STREET_ROW:04d}.jpeg"), STREET_ROW


def by_url(made: Old) -> tuple[TakedownOrder, int]:
    return TakedownOrder(url=made.url), WEB_ROW


def by_sha256(made: Old) -> tuple[TakedownOrder, int]:
    del made
    return TakedownOrder(sha256=sha256(picture(STREET_ROW)).hexdigest()), STREET_ROW


def left(installation: Installation, number: int) -> list[str]:
    """Files under the data root with this picture or its words, packed ones included."""
    root = installation.root.path
    found = []
    for path in sorted(one for one in root.rglob("*") if one.is_file() and not one.is_symlink()):
        packed = path.suffix == ".parquet"
        data = str(pq.read_table(path).to_pylist()).encode() if packed else path.read_bytes()
        if picture(number) in data or said(number).encode() in data:
            found.append(path.relative_to(root).as_posix())
    return found


def versions_1(installation: Installation) -> list[str]:
    manifests = installation.root.path.glob(f"[dc]*/*/.versions/*/{MANIFEST}")
    return [str(one) for one in manifests if orjson.loads(one.read_bytes())["schema_version"] == 1]


@pytest.mark.parametrize("migrated", [False, True], ids=["as-it-is", "migrated"])
@pytest.mark.parametrize("order_of", [by_id, by_url, by_sha256])
def test_no_byte_is_left(
    made: Old, tmp_path: Path, order_of: Callable[[Old], tuple[TakedownOrder, int]], *, migrated: bool
) -> None:
    installation = made.copy(tmp_path)
    order, number = order_of(made)
    if migrated:
        assert migrate(installation, apply=True).exit_code == 0
    areas = {name.split("/")[0] for name in left(installation, number)}
    assert areas >= {"datasets", "corpora", "listings"}
    receipt = take_down(installation, order)
    assert (receipt.complete, receipt.found, len(receipt.ids)) == (True, True, 1)
    assert left(installation, number) == []
    assert verify(installation).problems == []
    prune_data_root(installation)
    assert left(installation, number) == []
    assert migrate(installation, apply=True).exit_code == 0
    prune_data_root(installation)
    assert versions_1(installation) == []
    assert left(installation, number) == []
    report = verify(installation)
    assert (report.problems, report.unfinished) == ([], [])


def test_prune_leaves_what_waits_for_its_migration(made: Old, tmp_path: Path) -> None:
    installation = made.copy(tmp_path)
    before = versions_1(installation)
    prune_data_root(installation)
    assert versions_1(installation) == before
    assert len(before) == 3
    migrate(installation, apply=True)
    told = prune_data_root(installation, dry_run=True).removed
    assert prune_data_root(installation).removed == told
    assert versions_1(installation) == []


def test_what_a_fetch_may_give_otherwise_is_told_to_be_due(made: Old, tmp_path: Path) -> None:
    """Captions are read otherwise now; what is at an address is what it was."""
    installation = made.copy(tmp_path)
    told = {one.name: one for one in migrate(installation).found if one.kind == "slice"}
    street, web = told["street/root"], next(one for name, one in told.items() if name.startswith("web/"))
    assert (street.action, street.requests, web.action, web.requests) == ("migrate", 3, "migrate", 0)
    assert street.size_bytes == sum(len(picture(n)) for n in range(3))
    assert "until the next build fetches it again" in street.told
    assert migrate(installation, apply=True).exit_code == 0
    ledger = read_items_ledger(installation.root.slice("street", "root"))
    assert not any("Ayse" in entry.identity for entry in ledger)
    [again] = ingest(installation, "street").values()
    assert (again.due, again.run.taken_over) == (Due.CHANGED, 0)
    assert {one.due for one in ingest(installation, "web").values()} == {Due.COMMITTED}


def test_a_pinned_corpus_is_outstanding(made: Old, tmp_path: Path) -> None:
    installation = made.copy(tmp_path)
    link = installation.root.corpus("small", "6")
    version = link.resolve()
    pin = link.parent / PINS / version.name
    pin.parent.mkdir()
    pin.touch()
    order, number = by_id(made)
    receipt = take_down(installation, order)
    assert (receipt.exit_code, [one.version for one in receipt.pinned]) == (1, [version.name])
    assert unfinished_takedowns(installation.root) == [receipt.tombstone]
    prune_data_root(installation)
    assert {name.split("/")[0] for name in left(installation, number)} == {"corpora"}
    pin.unlink()
    [again] = finish_takedowns(installation)
    assert again.complete
    assert left(installation, number) == []


@pytest.mark.parametrize(
    ("identity", "told"),
    [
        ("5:ab", "5:ab"),
        ("5:ab:[x]", "5:ab:[x]"),
        ('5:ab:[["hi",{}]]', "5:ab:" + sha256(b'[["hi",{}]]').hexdigest()),
        ("a[[1]]b", "a[[1]]b"),
    ],
)
def test_words_in_an_identity_are_a_hash(identity: str, told: str) -> None:
    assert identity_without_words(identity) == told


def test_captions_of_a_listing_of_schema_1_are_emptied() -> None:
    items = ItemColumns.of(
        [
            Item(key, f'5:ab:[["{key} said",{{}}]]', {"captions": [[f"{key} said", {"by": key}]]})
            for key in "ab"
        ]
    )
    after = without_words(items, TakenWords(frozenset({"a"})))
    assert after[0].payload == {"captions": [[None, {}]]}
    assert "said" not in after.identities[0]
    assert after[1] == items[1]
