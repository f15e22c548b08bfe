"""What a benchmark has in common with the sources, counted again; what a wrong plan or papers say is found."""

import shutil
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from vlm_assets.allocation import contamination as contamination_module
from vlm_assets.allocation import plan as plan_module
from vlm_assets.audit.findings import Finding
from vlm_assets.audit.run import audit_corpus
from vlm_assets.images.png import encode_image
from vlm_assets.installation.opening import Installation
from vlm_assets.papers.write import write_papers
from vlm_assets.store.tombstones import Tombstone, write_tombstone
from vlm_assets_tests.audit.breaking import TARGET, Broken, build, copy_of, failed, take_down
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture

SAID = "Soru 7: Aşağıdaki görselde görülen tarihî yapının adı nedir ve hangi şehirde, kim tarafından yaptırılmıştır?"
MATRIX = [{"source": "street", "benchmark": "exam", "exact": 1, "near": 1, "text": 1, "rows": 3}]


def exam(folder: Path) -> Path:
    """An image of the street as it is, one encoded again, and a question that is asked there too."""
    fill(folder, 1, start=5)
    with Image.open(BytesIO(picture(7))) as image:
        (folder / "again.png").write_bytes(encode_image(image.convert("RGB")))
    (folder / "asked.jpg").write_bytes(picture(900))
    (folder / "asked.txt").write_text(SAID.upper(), "utf-8")
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Installation:
    base = tmp_path_factory.mktemp("held")
    street = fill(base / "street", 20)
    (street / "0003.txt").write_text(f"{SAID} A) Sinan", "utf-8")
    (street / "0004.txt").write_text("Soru 8: Aşağıdaki görselde görülen yapının adı nedir?", "utf-8")
    installation = install(
        base,
        {**STREET, "path": street, "text": "sidecar"},
        corpus={"name": "good", "targets": {TARGET: 1000, "t8": 8}},
        benchmarks=[
            {"name": "exam", "kind": "client_folder", "path": exam(base / "exam"), "text": "sidecar"}
        ],
    )
    for spec in installation.catalog.fetched:
        ingest(installation, spec.name)
    build(installation)
    write_papers(installation, TARGET)
    return installation


def findings_of(installation: Installation) -> dict[str, Finding]:
    return {str(one.name): one for one in audit_corpus(installation, TARGET)}


def test_a_right_plan_has_no_finding(good):
    findings = findings_of(good)
    assert [(f.name, f.observed, f.examples) for f in findings.values() if not (f.passed and f.judged)] == []
    assert findings["decontamination"].figures["contamination"] == MATRIX
    assert findings["allocation_sums"].figures["excluded"] == {"decontaminate": 3}


def test_the_papers_show_the_matrix(good):
    folder = good.root.corpus("good", TARGET).resolve()
    for name, told in {
        "report.html": "<td>street</td><td>exam</td>",
        "README.md": "| street | exam | 1 | 1 | 1 | 3 | street/root/",
        "summary.json": '"benchmark":"exam"',
    }.items():
        assert told in (folder / name).read_text("utf-8").replace('": "', '":"').replace(' class="n"', ""), (
            name
        )


def a_count_less(broken: Broken) -> None:
    broken.edit_plan_file("grants.json", lambda g: g["contamination"][0].update(text=0))


def a_line_less(broken: Broken) -> None:
    broken.edit_plan_file("grants.json", lambda g: g["contamination"].clear())


def a_benchmark_more(broken: Broken) -> None:
    more = {**MATRIX[0], "benchmark": "quiz", "examples": []}
    broken.edit_plan_file("grants.json", lambda g: g["contamination"].append(more))


@pytest.mark.parametrize("change", [a_count_less, a_line_less, a_benchmark_more])
def test_other_counts_are_found(good, tmp_path, change):
    broken = copy_of(good, tmp_path)
    change(broken)
    assert failed(broken.installation) - {"papers"} == {"decontamination"}  # these are of the plan before


def words_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contamination_module, "_sharing_grams", lambda *_: iter(()))


def pictures_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contamination_module, "like_benchmarks", lambda *_: iter(()))


def benchmarks_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan_module, "read_benchmarks", lambda *_, **__: ())


@pytest.mark.parametrize("bug", [words_forgotten, pictures_forgotten, benchmarks_forgotten])
def test_a_bug_of_the_allocator_is_caught(good, tmp_path, monkeypatch, bug):
    broken = copy_of(good, tmp_path)
    for folder in ("allocations", "corpora"):
        shutil.rmtree(tmp_path / "data" / folder)
    bug(monkeypatch)
    build(broken.installation)
    assert failed(broken.installation) == {"allocation_sums", "decontamination", "quotas"}


def test_rows_that_were_taken_down_since_raise_no_alarm(good, tmp_path):
    broken = copy_of(good, tmp_path)
    for number in (3, 5, 11):  # its words are gone, its image was the benchmark's, it is in the corpus
        take_down(broken.installation, picture(number))
    wrong = failed(broken.installation) - {"staleness", "tombstones", "papers"}
    assert wrong == set()


def test_a_benchmark_that_lost_words_since_cannot_be_held_against_anything(good, tmp_path):
    broken = copy_of(good, tmp_path)
    digest = sha256(picture(900)).hexdigest()
    write_tombstone(broken.installation.root, Tombstone(asked="x", image_sha256=(digest,)))
    finding = findings_of(broken.installation)["decontamination"]
    assert not finding.judged
    assert "benchmark exam/root: rows were taken down since the plan" in finding.observed


@pytest.mark.parametrize("target", ["slice", "content"])
def test_a_benchmark_that_is_gone_is_named(good, tmp_path, target):
    broken = copy_of(good, tmp_path)
    folder = broken.slice("exam")
    if target == "slice":
        shutil.rmtree(folder)
    else:
        next(folder.glob("data-*.arrow")).write_bytes(b"\0" * 20)
    finding = findings_of(broken.installation)["decontamination"]
    assert not finding.passed
    assert {"slice": "what the plan was made with is gone", "content": "is damaged"}[
        target
    ] in finding.observed


def test_papers_that_say_otherwise_are_found(good, tmp_path):
    broken = copy_of(good, tmp_path)
    path = broken.corpus / "summary.json"
    path.write_text(path.read_text("utf-8").replace('"near": 1', '"near": 0').replace('"near":1', '"near":0'))
    assert failed(broken.installation) == {"papers"}
