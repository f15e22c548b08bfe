"""What a person should look at of a source: what its listing tells, and what came out when it was fetched."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from vlm_assets.archives.encodings import UNDECLARED
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.ingest.found import FoundSource
from vlm_assets.ingest.labels import UNMAPPED
from vlm_assets.ingest.noted import NAME_HINT
from vlm_assets.ingest.slice import read_run
from vlm_assets.ingest.summary import SliceSummary
from vlm_assets.words.caption_counts import GUESSED_NAME
from vlm_assets.words.counts import so_many
from vlm_assets.words.layout import VERSIONS, DataRoot
from vlm_assets.words.manifest import RunRecord

_UNTOLD: Final = f"names are {UNDECLARED}; folders become labels: set `encoding`"
_LOOKED_AT: Final = 20
RunOf = Callable[[str], RunRecord]
"""`run.json` of a committed slice."""


def source_hints(root: DataRoot, found: FoundSource) -> list[str]:
    """The listing's lines, then those of the committed slices in force; at most one of a sort.

    Reads `run.json` of few slices, however many there are.
    """
    in_force = found.in_force()

    def run_of(key: str) -> RunRecord:
        return read_run(root.source(found.spec.name) / VERSIONS / in_force[key].version) or RunRecord()

    listed = list(found.listing.hints) if found.listing else []
    guessed = sorted(key for key, one in in_force.items() if GUESSED_NAME in one.remarks)
    return [*listed, *_names(listed, guessed, run_of), *_labels(found.spec, in_force, run_of)]


def _names(listed: Sequence[str], guessed: Sequence[str], run_of: RunOf) -> Iterator[str]:
    """A line about names in archives that were only seen when these were fetched. `guessed`: their slices."""
    if guessed and not any(UNDECLARED in hint for hint in listed):
        told = run_of(guessed[0]).details.get(NAME_HINT) or _UNTOLD
        yield f"slice {guessed[0]}{_and_more(guessed)}: {told}"


def _labels(spec: SourceSpec, in_force: Mapping[str, SliceSummary], run_of: RunOf) -> Iterator[str]:
    """A line where no row of any slice has a subcategory, under the map as it is now."""
    filled = {key: one for key, one in sorted(in_force.items()) if one.rows}
    if (
        spec.label_rule is None
        or not filled
        or any(one.subcategories != {"": one.rows} for one in filled.values())
    ):
        return
    met = [run_of(key).details.get(UNMAPPED) for key in islice(filled, _LOOKED_AT)]
    labels = {label for one in met if one for label in one["labels"]}
    if all(met) and not any(map(spec.subcategory_of, labels)):
        columns = sorted({column for one in met if one for column in one["columns"]})
        told = f"; columns there are: {', '.join(columns)}" if columns and not labels else ""
        rows = so_many(sum(one.rows for one in filled.values()), "row")
        yield f"none of {rows} has a subcategory: {spec.label_rule.missed(labels)}{told}"


def _and_more(keys: Sequence[str]) -> str:
    return f" and {so_many(len(keys) - 1, 'slice')} more" if len(keys) > 1 else ""
