"""What a person reads on the pages of the UI: an installation to look at, and a page a line with what it must say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vlm_assets.installation.opening import Installation
from vlm_assets_tests.workplace import STREET, fill, install, picture

TARGET: Final = "3"
LONGEST_WORD: Final = 50
"""Characters without a break: a longer one widens the page where 1280 pixels have room for values."""
EXAM: Final = "exam"
"""A benchmark: one picture of `day`."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page by its address in the UI, by what it is about, and by the words that stand on it."""

    path: str
    asset: tuple[str, ...]
    partition: str | None
    texts: tuple[str, ...]


PAGES: Final[dict[str, Page]] = {
    "slice": Page(
        "/assets/dataset/street?view=partitions&partition=day",
        ("dataset", "street"),
        "day",
        ("4 rows of 4 items.", "Everything came out."),
    ),
    "slice with rejects": Page(
        "/assets/dataset/street?view=partitions&partition=dusk",
        ("dataset", "street"),
        "dusk",
        ("20 rows of 21 items.", "1 did not come out: 1 truncated.", "rejected images"),
    ),
    "failed slice": Page(
        "/assets/dataset/street?view=checks",
        ("dataset", "street"),
        None,
        ("1 slice of street is due, because it FAILED: night: 1 of 5 records are rejects", "not_an_image 1"),
    ),
    "listing": Page(
        "/assets/listing/street?view=events", ("listing", "street"), None, ("items before", "slices")
    ),
    "allocation": Page(
        f"/assets/allocation?view=partitions&partition={TARGET}",
        ("allocation",),
        TARGET,
        ("3 of 3 rows are granted.", "photos/street", "contamination", EXAM),
    ),
    "corpus": Page(
        f"/assets/corpus?view=partitions&partition={TARGET}",
        ("corpus",),
        TARGET,
        ("3 rows of 3 asked for", "rows by subcategory", "first images"),
    ),
    "stale corpus": Page(
        "/assets/corpus?view=checks&checkDetail=due",
        ("corpus",),
        TARGET,
        (f"{TARGET} stands on stale data: 1 slice is due (street 1)",),
    ),
    "report": Page(
        f"/assets/report?view=partitions&partition={TARGET}",
        ("report",),
        TARGET,
        ("composition", "granted"),
    ),
    "catalog": Page(
        "/assets/catalog", ("catalog",), None, ("Says what is built: 1 source, 1 benchmark, targets 3.",)
    ),
}


def street(base: Path) -> Installation:
    """Three slices: one whole, one with a picture that is cut short, one of too many rejects; and a benchmark."""
    fill(base / "in" / "day", 4)
    fill(base / "in" / "dusk", 20, start=20)
    fill(base / "in" / "night", 4, start=10)
    cut = picture(99, size=(640, 480))
    (base / "in" / "dusk" / "cut.jpeg").write_bytes(cut[: len(cut) // 2])
    (base / "in" / "night" / "bad.jpeg").write_bytes(b"rubbish")
    corpus = {"targets": {TARGET: int(TARGET)}, "require_complete": False}
    exam = {"name": EXAM, "kind": "client_folder", "path": fill(base / "exam", 1, start=2)}
    return install(
        base, {**STREET, "path": base / "in", "reject_tolerance": 0.05}, corpus=corpus, benchmarks=[exam]
    )


_METADATA: Final = """fragment M on MetadataEntry { label description
    ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr } ... on JsonMetadataEntry { jsonString }
    ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue } ... on PathMetadataEntry { path }
    ... on TableMetadataEntry { table { records } } }"""
_SAID: Final = (
    _METADATA
    + """query($k: AssetKeyInput!, $p: [String!]) { assetNodeOrError(assetKey: $k) { ... on AssetNode {
    description metadataEntries { ...M }
    partitionStats { numMaterialized numPartitions numFailed }
    assetMaterializations(partitions: $p, limit: 1) { metadataEntries { ...M } }
    assetObservations(partitions: $p, limit: 1) { metadataEntries { ...M } }
    assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status
        evaluation { description severity metadataEntries { ...M } } } } } } } } }"""
)


def asked(page: Page) -> tuple[str, dict[str, Any]]:
    """The query, with its variables, for all that a page says."""
    partitions = None if page.partition is None else [page.partition]
    return _SAID, {"k": {"path": list(page.asset)}, "p": partitions}


def texts_of(answer: Any) -> list[str]:
    """Every text in an answer, tables cell by cell."""
    if isinstance(answer, dict):
        return [text for one in answer.values() for text in texts_of(one)]
    if isinstance(answer, list):
        return [text for one in answer for text in texts_of(one)]
    return [] if answer is None else [str(answer)]
