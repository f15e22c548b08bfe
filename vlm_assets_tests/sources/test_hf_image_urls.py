import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.demo.services.base import Fault
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.pictures import picture
from vlm_assets.demo.services.static import StaticService
from vlm_assets.sources.hf_image_urls import SOURCE, HfImageUrlsSpec
from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets.words.records import Listed
from vlm_assets_tests.sources.kit import COMMON, fetch_slice, identities, list_context, slices_of


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubService]:
    with HubService() as service:
        monkeypatch.setenv("HF_ENDPOINT", service.url)
        yield service


@pytest.fixture
def web() -> Iterator[StaticService]:
    with StaticService() as service:
        for name in "abcdef":
            service.add(f"/img/{name}.jpg", picture(name).data)
        yield service


def parquet(web: StaticService, names: str, **columns: Any) -> bytes:
    table = pa.table({
        "URL": [f"{web.url}/img/{n}.jpg" for n in names], "TEXT": [f"resim {n}" for n in names],
        "label": [i % 2 for i in range(len(names))], **columns,
    })  # fmt: skip
    features = {"label": {"names": ["kedi", "kuş"], "_type": "ClassLabel"}}
    buffer = io.BytesIO()
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(meta), buffer)
    return buffer.getvalue()


def spec_of(**keys: Any) -> HfImageUrlsSpec:
    return HfImageUrlsSpec(**{**COMMON, "kind": "hf_image_urls", "repo": "org/urls", **keys})


def listed_of(folder: Path, spec: HfImageUrlsSpec | None = None, **options: Any) -> Listed:
    listed = SOURCE.list(spec or spec_of(), list_context(folder, **options))
    return Listed(listed.revision, list(listed.slices), listed.buckets, listed.attributes)


def test_rows_become_images_with_captions(hub: HubService, web: StaticService, tmp_path: Path) -> None:
    hub.add("org/urls", {"train.parquet": parquet(web, "abc"), "test.parquet": parquet(web, "z")})
    listed = listed_of(tmp_path)
    assert len(slices_of(listed)) == 1
    fetched = fetch_slice(SOURCE, spec_of(), tmp_path, listed, next(iter(slices_of(listed))))
    by_key = {record.key: record for record in fetched.records}
    record = by_key[f"{web.url}/img/b.jpg"]
    assert (record.text, record.extra) == ("resim b", {"label": "kuş"})
    assert sorted(fetched.images) == sorted(picture(n).data for n in "abc")
    assert [r.reason for r in fetched.rejects] == [RejectReason.NOT_FOUND]


def test_one_row_more_changes_one_item(hub: HubService, web: StaticService, tmp_path: Path) -> None:
    repo = hub.add("org/urls", {"train.parquet": parquet(web, "abc")})
    before = listed_of(tmp_path, spec_of(buckets=2))
    repo.commit({"train.parquet": parquet(web, "dabc", label=[1, 0, 1, 0])})
    after = listed_of(tmp_path, spec_of(buckets=2))
    flat = [{k: v for items in identities(one).values() for k, v in items.items()} for one in (before, after)]
    assert flat[0].items() < flat[1].items()
    assert set(flat[1]) - set(flat[0]) == {f"{web.url}/img/d.jpg"}


def test_faults_of_the_images_host_are_recovered(hub: HubService, web: StaticService, tmp_path: Path) -> None:
    hub.add("org/urls", {"train.parquet": parquet(web, "abcdef")})
    web.faults += [Fault("/img/a.jpg", "429", 1, retry_after_s=1), Fault("/img/b.jpg", "cut", 1)]
    listed = listed_of(tmp_path)
    fetched = fetch_slice(SOURCE, spec_of(), tmp_path, listed, next(iter(slices_of(listed))))
    assert len(fetched.images) == 6
    first, second = web.requests("/img/a.jpg")
    assert second.at - first.at >= 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train/a.jpg": picture("a").data}, "holds images, not URLs; use kind hf_dataset"),
        ({"train.csv": b"x,y\n1,2\n"}, "no column is named like a URL.*There are: x, y"),
    ],
)
def test_datasets_of_another_kind_say_so(
    hub: HubService, tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    hub.add("org/urls", files)
    with pytest.raises(SourceError, match=message):
        listed_of(tmp_path)
