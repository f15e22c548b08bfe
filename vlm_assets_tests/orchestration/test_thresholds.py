"""Another threshold or other scores: no request, no slice rewritten, and the corpus that they ask for."""

from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_from_disk
from rich.console import Console

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.command.build import run_build
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.workplace import STREET, install, picture

URLS = 16
MANY = {"targets": {"4": 4, "1k": 1000}, "shortfall": "report"}


def web_street(base: Path, web: FaultServer, **filters: Any) -> Installation:
    source = {**STREET, "kind": "image_urls", "urls": base / "urls.txt", "buckets": 2}
    (base / "urls.txt").write_text("".join(f"{web.url(f'/{number}.jpg')}\n" for number in range(URLS)))
    annotations = [
        {"name": "blur"},
        {"name": "nsfw", "path": str(base / "scores.parquet"), "key": "image_sha256"},
    ]
    corpus = {**MANY, "annotations": annotations, "filters": filters}
    return install(base, source, corpus=corpus, allow_private_hosts=("127.0.0.1",))


def score(base: Path, values: dict[str, float]) -> None:
    pq.write_table(
        pa.table(
            {"image_sha256": pa.array(values, pa.string()), "p": pa.array(values.values(), pa.float64())}
        ),
        base / "scores.parquet",
    )


def built(installation: Installation) -> dict[str, list[str]]:
    """The images of each target, after a build that must do well."""
    out = StringIO()
    code = run_build(installation, console=Console(file=out, width=200), targets=[], sources=[])
    assert code == 0, out.getvalue()
    found = {}
    for target in MANY["targets"]:
        rows = load_from_disk(str(installation.root.corpus("small", target).resolve()))
        facts = rows.select_columns("image_facts")["image_facts"]
        found[target] = [one["sha256"] for row in facts for one in row]
    return found


@pytest.mark.slow  # short: allocation/test_filters.py and annotate/test_annotate.py, each a part of it
def test_another_threshold_or_other_scores_ask_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    score(tmp_path, {"ab" * 32: 1.0})
    with FaultServer({f"/{one}.jpg": Reply(body=picture(one)) for one in range(URLS)}) as web:
        installation = web_street(tmp_path, web)
        everything = built(installation)["1k"]
        assert len(everything) == URLS
        asked, slices = len(web.log), sorted((installation.root.path / "datasets").rglob("*"))
        before = {path: (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in slices}
        values = pa.concat_tables(
            pq.read_table(path)
            for path in sorted((installation.root.annotations / "blur").rglob("*.parquet"))
        )
        sharp = sorted(value for [value] in values["laplacian"].to_pylist())

        for passing in (12, 6):
            rule = {"keep": f"min(blur.laplacian) >= {sharp[-passing]!r}", "missing": "drop"}
            found = built(web_street(tmp_path, web, sharp=rule))
            assert len(found["1k"]) == passing
            assert set(found["4"]) < set(found["1k"]) < set(everything)

        safe = {"keep": "max(nsfw.p) < 0.5", "missing": "keep"}
        for bad in (3, 5):
            score(tmp_path, dict.fromkeys(everything[:bad], 0.9))
            assert set(built(web_street(tmp_path, web, safe=safe))["1k"]) == set(everything[bad:])

        assert len(web.log) == asked
        after = sorted((installation.root.path / "datasets").rglob("*"))
        assert {path: (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in after} == before
