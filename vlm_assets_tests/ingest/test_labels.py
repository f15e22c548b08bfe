"""Labels that cannot be: refused at the listing as far as it can tell, told of slices where only fetching can."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.demo.services.github import GitHubService
from vlm_assets.demo.services.kaggle import KaggleService
from vlm_assets.ingest.labels import LabelCheck
from vlm_assets.operate.forecast import forecast
from vlm_assets.operate.status import read_status
from vlm_assets.sources.newspapers import NewspapersSpec
from vlm_assets.sources.pdf_folder import PdfFolderSpec
from vlm_assets.words.errors import SourceError
from vlm_assets.words.item_columns import ItemColumns
from vlm_assets.words.records import Item, KeysTell
from vlm_assets_tests.archives.made import zip_bytes
from vlm_assets_tests.pdf.builders import drawing
from vlm_assets_tests.workplace import STREET, expect_error, ingest, install, picture, relist

WRONG = {"at": "street"}
TABLE = b"file_name,text,tur\nkedi/a.jpg,bir,tekir\n"
SETTINGS: dict[str, Any] = {"allow_private_hosts": "127.0.0.1", "contact": "tests@localhost", "workers": 1}


def keys_of(rule: dict[str, Any], **keys: Any) -> dict[str, Any]:
    source = {**STREET, "subcategory_from": rule, **keys}
    del source["subcategory"]
    return source


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """Keys by kind: one picture, or document, in the folder `kedi`, and a table that speaks of it."""
    base = tmp_path_factory.mktemp("upstream")
    for name, content in (("kedi/a.jpg", picture(1)), ("metadata.csv", TABLE)):
        (base / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (base / "images" / name).write_bytes(content)
    (base / "pdfs" / "kedi").mkdir(parents=True)
    drawing(base / "pdfs" / "kedi" / "a.pdf")
    with pytest.MonkeyPatch.context() as patch, KaggleService() as kaggle, GitHubService() as github:
        for name, value in kaggle.environment().items():
            patch.setenv(name, value)
        patch.setenv("GITHUB_API_URL", github.api_url)
        kaggle.add("org/pets", zip_bytes([("kedi/a.jpg", picture(1)), ("metadata.csv", TABLE)]))
        github.release("org/pets", "v1", {"a.jpg": picture(1), "metadata.csv": TABLE.replace(b"kedi/", b"")})
        yield {
            "client_folder": {"path": base / "images"},
            "pdf_folder": {"path": base / "pdfs"},
            "kaggle": {"handle": "org/pets"},
            "github_release": {"repo": "org/pets"},
        }


NOTHING_KNOWN = r"knows none of the labels in {}; there are: {}; the map has: at"
FOLDER = NOTHING_KNOWN.format("folder 1 of the name", "kedi")
COLUMN = NOTHING_KNOWN.format("column 'tur'", "tekir")
NO_COLUMN = "no column 'sinif' (subcategory_from.column); there are: tur"
NO_TABLE = "no column 'tur' (subcategory_from.column); there are: none; `text` says where"
NO_FOLDER = "no item has 3 folders in its name (subcategory_from.folder); the first is {}"


@pytest.mark.parametrize(
    ("kind", "rule", "text", "message"),
    [
        pytest.param("client_folder", {"folder": 1, "map": WRONG}, "", FOLDER, id="folder-map"),
        pytest.param("client_folder", {"folder": 3}, "", NO_FOLDER.format("kedi/a.jpg"), id="folder-depth"),
        pytest.param("client_folder", {"column": "tur", "map": WRONG}, "metadata", COLUMN, id="folder-column-map"),
        pytest.param("client_folder", {"column": "sinif"}, "metadata", NO_COLUMN, id="folder-column"),
        pytest.param("client_folder", {"column": "tur"}, "", NO_TABLE, id="folder-no-table"),
        pytest.param("pdf_folder", {"folder": 1, "map": WRONG}, "", FOLDER, id="pdf-map"),
        pytest.param("pdf_folder", {"folder": 3}, "", NO_FOLDER.format("kedi/a.pdf"), id="pdf-depth"),
        pytest.param("kaggle", {"folder": 1, "map": WRONG}, "", FOLDER, id="kaggle-map"),
        pytest.param("kaggle", {"column": "tur", "map": WRONG}, "metadata", COLUMN, id="kaggle-column-map"),
        pytest.param("kaggle", {"column": "sinif"}, "metadata", NO_COLUMN, id="kaggle-column"),
        pytest.param("kaggle", {"column": "tur"}, "", NO_TABLE, id="kaggle-no-table"),
        pytest.param("github_release", {"folder": 3}, "", NO_FOLDER.format("a.jpg"), id="github-depth"),
        pytest.param("github_release", {"column": "tur", "map": WRONG}, "metadata", COLUMN, id="github-column-map"),
        pytest.param("github_release", {"column": "sinif"}, "metadata", NO_COLUMN, id="github-column"),
        pytest.param("github_release", {"column": "tur"}, "", NO_TABLE, id="github-no-table"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_are_told_at_the_listing(
    upstream: dict[str, dict[str, Any]],
    tmp_path: Path,
    kind: str,
    rule: dict[str, Any],
    text: str,
    message: str,
) -> None:
    keys = {"kind": kind, **upstream[kind], **({"text": text} if text else {})}
    installation = install(tmp_path, keys_of(rule, **keys), **SETTINGS)
    assert message in expect_error(lambda: relist(installation))
    assert message in forecast(installation, "10").sources[0].problem


def of_issues(rule: dict[str, Any]) -> SourceSpec:
    return NewspapersSpec(**keys_of(rule, kind="newspapers"))


def of_papers(rule: dict[str, Any]) -> SourceSpec:
    return PdfFolderSpec(**keys_of(rule, kind="pdf_folder", path="in"))


ISSUES = [Item("tan/1.pdf", payload={"url": "x", "title_slug": "tan", "year": "1935"})]
ARCHIVE = [Item("eski/b.zip", payload={"parts": []})]


@pytest.mark.parametrize(
    ("spec", "tells", "items", "message"),
    [
        pytest.param(of_issues({"column": "year", "map": WRONG}), KeysTell.WHOLE, ISSUES, "are: 1935", id="year"),
        pytest.param(of_issues({"folder": 1, "map": WRONG}), KeysTell.WHOLE, ISSUES, "are: tan", id="issue"),
        pytest.param(of_issues({"column": "title_slug"}), KeysTell.WHOLE, ISSUES, "", id="any"),
        pytest.param(of_issues({"column": "page", "map": WRONG}), KeysTell.WHOLE, ISSUES, "", id="page"),
        pytest.param(of_papers({"folder": 1, "map": WRONG}), KeysTell.ABOVE, ARCHIVE, "are: eski", id="above"),
        pytest.param(of_papers({"folder": 3, "map": WRONG}), KeysTell.ABOVE, ARCHIVE, "", id="inside"),
        pytest.param(of_papers({"folder": 1, "map": WRONG}), KeysTell.NOTHING, ARCHIVE, "", id="nothing"),
    ],
)  # fmt: skip
def test_what_a_listing_knows_of_containers(
    spec: SourceSpec, tells: KeysTell, items: Sequence[Item], message: str
) -> None:
    check = LabelCheck(spec)
    check.see(tells, ItemColumns.of(items), container=True)
    if message:
        with pytest.raises(SourceError, match=message):
            check.check()
    else:
        check.check()


@pytest.mark.parametrize(
    ("make", "column"), [(of_papers, "tur"), (of_papers, "year"), (of_issues, "tur"), (of_issues, "url")]
)
def test_kinds_without_tables_refuse_columns(make: Any, column: str) -> None:
    with pytest.raises(
        ValueError, match=f"no column {column!r} .*its records have: .*page_image.*`folder: 1`"
    ):
        make({"column": column})


def test_labels_that_only_fetching_brings_are_told_of_the_slice(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.zip").write_bytes(zip_bytes([("kedi/a.jpg", picture(1))]))
    rule = {"folder": 2, "map": WRONG}
    installation = install(tmp_path, keys_of(rule, path=tmp_path / "in"))
    assert not relist(installation).hints
    ingest(installation)
    message = "none of 1 row has a subcategory: subcategory_from.map knows none of the labels in folder 2 of the name"
    for told in (forecast(installation, "10").sources, read_status(installation).sources):
        [hint] = told[0].hints
        assert hint == f"{message}; there are: kedi; the map has: at"
    mended = install(tmp_path, keys_of({"folder": 2, "map": {"kedi": "street"}}, path=tmp_path / "in"))
    assert not read_status(mended).sources[0].hints
