"""Whatever a kind cuts off a record while it opens its images, the audit's `records_whole` sees it."""

import inspect
import io
import json
import tarfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.allocation.step import allocate
from vlm_assets.audit.run import audit_corpus
from vlm_assets.captions import samples
from vlm_assets.corpus.build import build_corpus
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.static import StaticService
from vlm_assets.hub import tables, webdataset
from vlm_assets.sources import _url_fetch
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture


@dataclass(frozen=True)
class Cut:
    """What of a function's text becomes what."""

    module: ModuleType
    function: str
    whole: str
    cut: str
    user: str = ""
    """The module, if another one, that has the function's name."""

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        """The function as if somebody had written it so."""
        source = textwrap.dedent(inspect.getsource(getattr(self.module, self.function)))
        assert source.count(self.whole) == 1, f"{self.function} has no {self.whole!r} any more"
        scope = dict(vars(self.module))
        exec(source.replace(self.whole, self.cut), scope)  # noqa: S102 - this project's own text
        patch.setattr(f"{self.user or self.module.__name__}.{self.function}", scope[self.function])


Keys = dict[str, Any]


def hub_rows(folder: Path, hub: HubService, web: StaticService) -> Keys:
    del folder, web
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [[{"bytes": picture(2 * row + n), "path": None} for n in (0, 1)] for row in (0, 1)]
    out = io.BytesIO()
    pq.write_table(pa.table({"images": pa.array(cells, pa.list_(image))}), out)
    hub.add("org/set", {"train.parquet": out.getvalue()})
    return {"kind": "hf_dataset", "repo": "org/set"}


def hub_tar(folder: Path, hub: HubService, web: StaticService) -> Keys:
    del folder, web
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(4):
            data = picture(number)
            member = tarfile.TarInfo(f"{number // 2:04d}.{number % 2 + 1}.jpg")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    hub.add("org/set", {"train-0000.tar": out.getvalue()})
    return {"kind": "hf_dataset", "repo": "org/set"}


def captions(folder: Path, hub: HubService, web: StaticService) -> Keys:
    del hub, web
    rows = [f"000{2 * row}.jpeg,000{2 * row + 1}.jpeg,fark {row}" for row in (0, 1)]
    fill(folder / "in", 4)
    (folder / "in/metadata.csv").write_text(
        "\n".join(["left_file_name,right_file_name,text", *rows, ""]), "utf-8"
    )
    return {"kind": "client_folder", "path": folder / "in", "text": "metadata"}


def url_cells(folder: Path, hub: HubService, web: StaticService) -> Keys:
    del hub
    rows = [[web.add(f"/{2 * row + n}.jpg", picture(2 * row + n)) for n in (0, 1)] for row in (0, 1)]
    (folder / "urls.jsonl").write_text("\n".join(json.dumps({"url": one}) for one in rows))
    return {"kind": "image_urls", "urls": folder / "urls.jsonl"}


@pytest.fixture(scope="module")
def services() -> Iterator[tuple[HubService, StaticService]]:
    with pytest.MonkeyPatch.context() as patch, HubService() as hub, StaticService() as web:
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.delenv("HF_TOKEN", raising=False)
        yield hub, web


def findings(base: Path, keys: Keys) -> tuple[list[int], set[str]]:
    """How many images the rows have, and which findings fail."""
    installation = install(base, {**STREET, **keys}, allow_private_hosts="127.0.0.1", workers=1)
    counts: list[int] = []
    for outcome in ingest(installation).values():
        with pa.OSFile(str(outcome.path / "index.arrow")) as file:
            counts += pa.ipc.open_file(file).read_all().column("image_count").to_pylist()
    build_corpus(allocate(installation, "10").path, installation.root)
    audited = audit_corpus(installation, "10", full=True)
    return counts, {str(one.name) for one in audited if one.failed}


@pytest.mark.parametrize(
    ("upstream", "cut"),
    [
        pytest.param(
            hub_rows,
            Cut(
                tables, "records_of", "followed_cells(found, follow)", "[one[:1] for one in found]",
                "vlm_assets.hub.readers",
            ),
            id="hub",
        ),
        pytest.param(
            captions,
            Cut(
                samples, "caption_events", "found in targets]\n", "found in targets[:1]]\n",
                "vlm_assets.sources.client_folder",
            ),
            id="captions",
        ),
        pytest.param(
            url_cells, Cut(_url_fetch, "_addresses", 'item.payload["urls"]', 'item.payload["urls"][:1]'),
            id="urls",
        ),
        pytest.param(hub_tar, Cut(webdataset, "_record", "for name in chosen]", "for name in chosen[:1]]"), id="tar"),
    ],
)  # fmt: skip
def test_a_kind_that_cuts_records_is_found_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    services: tuple[HubService, StaticService],
    upstream: Callable[[Path, HubService, StaticService], Keys],
    cut: Cut,
) -> None:
    keys = upstream(tmp_path, *services)
    cut.apply(monkeypatch)
    counts, failed = findings(tmp_path, keys)
    assert counts == [1, 1]
    assert failed - {"rights"} == {"records_whole"}
