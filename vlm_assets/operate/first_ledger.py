"""The first ledger of a source, and what is said of its images: the same figures for `status` and for `plan`."""

from collections.abc import Callable, Container, Sequence

from pydantic import BaseModel

from vlm_assets.ingest.found import FoundSource
from vlm_assets.ingest.hints import source_hints
from vlm_assets.installation.opening import Installation
from vlm_assets.store.left_out import added_up, inside_examples, listed_examples
from vlm_assets.words.caption_counts import CaptionCounts, caption_facts
from vlm_assets.words.caption_rows import CaptionRows
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import VERSIONS, DataRoot


class FirstLedger(BaseModel):
    """upstream = items + companions + what the listing left out (`left_out_listed`)."""

    name: str
    items: int = 0
    """As listed."""
    upstream: int | None = None
    """None where it was never listed, or its kind does not count."""
    companions: int | None = None
    left_out: dict[str, int] = {}
    """By reason: at the listing, and inside of the containers that are committed."""
    left_out_listed: dict[str, int] = {}
    left_out_inside: dict[str, int] = {}
    left_out_examples: list[str] = []
    """Of the listing."""
    left_out_inside_examples: list[str] = []
    hints: list[str] = []
    """What to do about what is not read, or read otherwise than meant."""
    captions_unused: int | None = None
    """Rows of captions, or sidecars, that name nothing; those of tables beside archives once these are fetched."""
    caption_rows: CaptionRows | None = None
    """All of them; None where none were counted."""
    captions: CaptionCounts = CaptionCounts()
    """Of the rows that are committed; and `captions_unused` again."""


def first_ledger(root: DataRoot, found: FoundSource, examples: Sequence[str] | None = None) -> FirstLedger:
    """Out of what lies here of a source. `examples`: of what a listing that is in no table left out."""
    listing = found.listing
    in_force = found.in_force().values()
    caption_rows = found.caption_rows()
    inside = added_up(*(one.left_out for one in in_force))
    ledger = FirstLedger(
        name=found.spec.name,
        left_out=inside,
        left_out_inside=inside,
        left_out_inside_examples=readable_examples(
            lambda: inside_examples(
                root.source(found.spec.name) / VERSIONS / one.version for one in in_force if one.left_out
            )
        ),
        captions_unused=caption_rows.name_nothing if caption_rows else None,
        caption_rows=caption_rows,
        captions=_captions(found, caption_rows),
    )
    if listing is None:
        return ledger
    listed = added_up(listing.left_out)
    if examples is None:
        examples = readable_examples(lambda: listed_examples(root, listing))
    return ledger.model_copy(
        update={
            "items": listing.items, "upstream": listing.upstream, "companions": listing.companions,
            "left_out": added_up(listed, inside), "left_out_listed": listed, "left_out_examples": [*examples],
            "hints": source_hints(root, found),
        }
    )  # fmt: skip


def caption_facts_of(installation: Installation, sources: Container[str]) -> list[str]:
    """`caption_facts` of these sources of the catalogue, each under its name."""
    found = [
        FoundSource.of(installation.root, spec)
        for spec in installation.catalog.sources
        if spec.name in sources
    ]
    return [
        f"{one.spec.name}: {fact}"
        for one in found
        for fact in caption_facts(_captions(one, one.caption_rows()))
    ]


def _captions(found: FoundSource, rows: CaptionRows | None) -> CaptionCounts:
    return CaptionCounts.of(found.in_force().values(), rows)


def readable_examples(examples: Callable[[], Sequence[str]]) -> list[str]:
    """Examples; where their table is damaged that is told in their place: the counts beside them stand."""
    try:
        return list(examples())
    except StoreError as error:
        return [str(error)]
