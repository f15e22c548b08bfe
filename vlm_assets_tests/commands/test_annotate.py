"""`annotate`, and what `check`, `status` and `plan` say of annotations."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from vlm_assets import cli
from vlm_assets_tests.annotate.in_process import annotate_in_process
from vlm_assets_tests.workplace import STREET, fill, ingest, install, write_catalog

WANTED: list[dict[str, Any]] = [{"name": "aspect", "only": {"source": ["street"]}}, {"name": "jpeg"}]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("annotate")
    installation = install(base, {**STREET, "path": fill(base / "in", 3)}, corpus={"annotations": WANTED})
    ingest(installation)
    with pytest.MonkeyPatch.context() as patch:
        annotate_in_process(patch)
        patch.setenv("VLM_CATALOG", str(installation.catalog_dir))
        patch.setenv("VLM_DATA_ROOT", str(installation.root.path))
        patch.setenv("VLM_WORKERS", "1")
        yield base


def asked(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.app, list(words))
    assert result.exit_code == code, (result.output, result.exception)
    return result


def told(*words: str) -> Any:
    return json.loads(asked(*words, "--json").stdout)


@pytest.mark.usefixtures("base")
def test_annotations_from_none_to_fresh():
    forecast = {one["name"]: (one["slices"], one["seen"]) for one in told("plan")["annotations"]}
    assert forecast == {"aspect": (1, 3), "jpeg": (1, 3), "decoding": (1, 3)}
    assert [one["missing"] for one in told("status")["annotations"]] == [1, 1]
    report = told("annotate", "--name", "jpeg", "--source", "street")
    assert (report["slices"], report["files"], report["exit_code"]) == (1, {"jpeg": 1}, 0)
    assert [(one["name"], one["fresh"], one["missing"]) for one in told("status")["annotations"]] == [
        ("aspect", 0, 1), ("jpeg", 1, 0)
    ]  # fmt: skip
    assert "1 slice annotated" in asked("annotate").output
    assert "everything is fresh" in asked("annotate").output
    assert "Annotations, slices by state" in asked("status").output
    assert told("plan")["annotations"][0]["slices"] == 0


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    ("words", "message"),
    [(("--name", "jpg"), "no annotation 'jpg' in corpus.yaml"), (("--source", "stret"), "no source 'stret'")],
    ids=["name", "source"],
)
def test_names_that_there_are_not(words: tuple[str, ...], message: str):
    assert message in " ".join(asked("annotate", *words, code=2).output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"name": "blurr"}, "annotations.0: no built-in annotator 'blurr'; did you mean blur?"),
        ({"name": "nsfw", "path": "scores.parquet"}, "imported values need both path and key"),
        ({"name": "nsfw", "path": "none/*.parquet", "key": "id"}, "annotations[0].path: no file matches"),
        (
            {"name": "nsfw", "path": "scores.parquet", "key": "image_sha256"},
            "has no column image_sha256; it has id",
        ),
        (
            {"name": "blur", "only": {"category": ["photo"]}},
            "annotations[0].only.category: no category 'photo'",
        ),
        ({"name": "blur", "only": {"source": ["strete"]}}, "annotations[0].only.source: no source 'strete'"),
    ],
    ids=["no annotator", "no key", "no file", "no column", "no category", "no source"],
)
def test_check_tells_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, annotation: dict[str, Any], message: str
):
    street = {**STREET, "path": fill(tmp_path / "in", 1)}
    installation = install(tmp_path, street)
    catalog = write_catalog(installation.catalog_dir, street, corpus={"annotations": [annotation]})
    pq.write_table(pa.table({"id": ["x"], "p": [1]}), catalog / "scores.parquet")
    monkeypatch.setenv("VLM_CATALOG", str(catalog))
    monkeypatch.setenv("VLM_DATA_ROOT", str(installation.root.path))
    output = asked("check", code=2).output
    assert message in output
    assert output.startswith("corpus.yaml:")


def test_the_same_name_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    street = {**STREET, "path": fill(tmp_path / "in", 1)}
    installation = install(tmp_path, street)
    catalog = write_catalog(
        installation.catalog_dir, street, corpus={"annotations": [{"name": "blur"}, {"name": "blur"}]}
    )
    monkeypatch.setenv("VLM_CATALOG", str(catalog))
    monkeypatch.setenv("VLM_DATA_ROOT", str(installation.root.path))
    assert "annotations[1].name: 'blur' is there already" in asked("check", code=2).output
