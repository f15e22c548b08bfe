"""Figures of a corpus of ten million rows and sources of long names: what a page must hold without cutting it."""

from typing import Any

import dagster as dg

from vlm_assets.allocation.certificate import (
    BenchmarkFacts,
    Certificate,
    Contamination,
    NodeGrant,
    SourceTotal,
)
from vlm_assets.orchestration.assets.metadata_line import (
    benchmark_tables,
    card_tables,
    grants_table,
    rights_table,
    terms_table,
    totals_table,
)
from vlm_assets.orchestration.assets.tables import counted

SOURCE = "cumhuriyet_gazetesi_butun_sayilari_arsivi_1930_1960"
ROWS = 10_000_000
PATH = ("documents", "newspapers", SOURCE)


def node(path: tuple[str, ...], level: Any, *, granted: int = ROWS) -> NodeGrant:
    return NodeGrant(
        path=path, level=level, share="123456/1234567", quota="10", asked=ROWS, min=0, max=None, effective_min=0,
        capacity=ROWS, rows=ROWS, excluded={}, supply=12 * ROWS, granted=granted, shortfall=ROWS - granted,
        cause="" if granted == ROWS else "supply and max below",
    )  # fmt: skip


EXCLUDED = {"duplicate_other_words": ROWS, "filter:sharp_enough_to_be_read": 123_456, "decontaminate": 9}
CERTIFICATE = Certificate(
    corpus="c", target="10m", target_rows=ROWS, granted_rows=ROWS - 9, capacity=ROWS, shortfall_mode=None,
    inputs_hash="0" * 64,
    nodes=(
        node(PATH[:1], "category", granted=ROWS - 9), node(PATH[:2], "subcategory", granted=ROWS - 9),
        node(PATH, "source", granted=ROWS - 9),
    ),
    sources=(
        SourceTotal(source=SOURCE, admitted=3 * ROWS, selected=ROWS, excluded=EXCLUDED, not_selected=ROWS, cause=""),
    ),
    benchmarks=(BenchmarkFacts(name="yuksek_ogretim_sinavi_2019", images=ROWS, pictures=ROWS, grams=12 * ROWS),),
    contamination=(
        Contamination(source=SOURCE, benchmark="yuksek_ogretim_sinavi_2019", exact=ROWS, near=ROWS, text=ROWS,
                      rows=ROWS, examples=(f"{SOURCE}/1934-05/{'0123456789abcdef' * 4}.jpg",)),
    ),
)  # fmt: skip
FIGURES: dict[str, Any] = {
    "composition": [
        {"category": "documents", "subcategory": f"newspapers/{SOURCE}", "share": "123456/1234567", "asked": ROWS,
         "supply": 12 * ROWS, "granted": ROWS, "present": ROWS, "cause": "supply and max below"},
    ],
    "sources": [{"source": SOURCE, "slices": 123_456, "admitted": ROWS, "selected": ROWS, "present": ROWS,
                 "image_bytes": ROWS * ROWS}],
    "excluded": EXCLUDED,
    "upstream": [
        {"source": SOURCE, "upstream": 12 * ROWS, "items": ROWS, "companions": ROWS,
         "left out": f"split_archive_incomplete {ROWS:,}, unused_companion {ROWS:,}",
         "left out inside": f"nested_too_deep {ROWS:,}", "such as": f"{'tarama' * 12}/Thumbs.db: os_junk"},
    ],
    "captions": {SOURCE: [f"of {ROWS:,} rows with text {ROWS:,}, with messages 0, with neither 0"]},
    "rejects": {"split_archive_incomplete": ROWS},
    "licences": {
        "LicenseRef-scancode-proprietary-license-of-the-publisher": {"rows": ROWS, "image_bytes": ROWS * ROWS}
    },
    "terms": [{"source": SOURCE,
               "url": "https://huggingface.co/datasets/an-organisation/a-dataset/blob/main/LICENSE.md",
               "accepted": "Ayşe, 2026-01-15, in the account of the library"}],
}  # fmt: skip
TABLES: dict[str, dg.MetadataValue[Any]] = {
    "grants": grants_table(CERTIFICATE.nodes),
    "totals": totals_table(CERTIFICATE.sources),
    **{f"allocation's {name}": one for name, one in benchmark_tables(CERTIFICATE).items()},
    "rows by subcategory": counted("subcategory", {"/".join(PATH): ROWS}),
    "rows by source": counted("source", {SOURCE: ROWS, "street": 1}),
    **{f"card's {name}": one for name, one in card_tables(FIGURES).items()},
    "licences": rights_table(FIGURES),
    "terms": terms_table(FIGURES),
}
