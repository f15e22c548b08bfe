"""What a filter would cost, before anything is built: the plan that there would be beside the one that there is."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import BaseModel, ValidationError

from vlm_assets.allocation.certificate import NodeGrant
from vlm_assets.allocation.committed import gather_supply
from vlm_assets.allocation.gram_memory import GramMemory
from vlm_assets.allocation.plan import plan_allocation
from vlm_assets.allocation.reasons import FILTER_PREFIX
from vlm_assets.allocation.step import tombstones_in_force
from vlm_assets.allocation.values import filter_problems
from vlm_assets.catalog.base import NAME_PATTERN
from vlm_assets.catalog.filters import FilterSpec
from vlm_assets.catalog.yaml_places import located
from vlm_assets.installation.opening import Installation
from vlm_assets.words.errors import AnnotationError, ConfigError, Problem
from vlm_assets.words.faults import problems_of


class WhatIfLine(BaseModel):
    """One source in one subcategory, now and with the filters asked about."""

    source: str
    subcategory: str
    """With its category: `photos/street`."""
    rows: int
    """Admitted rows."""
    fails: int
    """Of these the filters asked about exclude so many."""
    missing: int
    """So many lack a value that they need, and are kept or dropped as the filter says."""
    supply_now: int
    supply_then: int
    granted_now: int
    granted_then: int

    @property
    def lost(self) -> int:
        """Rows that could be selected now and could not then; negative where more could."""
        return self.supply_now - self.supply_then


class WhatIf(BaseModel):
    """Everything `plan --what-if --json` prints."""

    target: str
    filters: dict[str, FilterSpec]
    lines: list[WhatIfLine]
    unannotated: list[str]
    """In words: values that are not there, so that rows count as missing."""


def asked_filters(texts: Sequence[str], declared: Mapping[str, FilterSpec]) -> dict[str, FilterSpec]:
    """Filters of `name: expression`. Of one that is declared, the expression alone is another; else missing is kept.

    Raises:
        ConfigError: names the text and what is wrong with it.
    """
    found: dict[str, FilterSpec] = {}
    problems: list[Problem] = []
    for text in texts:
        name, colon, keep = text.partition(":")
        name = name.strip()
        if not colon or not re.match(NAME_PATTERN, name):
            problems.append(
                Problem("--what-if", text, "expected NAME: EXPRESSION, as sharp: min(blur.laplacian) >= 30")
            )
            continue
        known = declared.get(name)
        given = {
            "keep": keep.strip(),
            "missing": known.missing if known else "keep",
            "only": known.only.model_dump() if known else {},
        }
        try:
            found[name] = FilterSpec.model_validate(given)
        except ValidationError as error:
            problems += problems_of(error, FilterSpec, given, "--what-if", name)
    if problems:
        raise ConfigError(problems)
    return found


def what_if(installation: Installation, target: str, texts: Sequence[str]) -> WhatIf:
    """Plans a target twice, as it is and with these filters added or put in the place of those of their names.

    Writes nothing. `shortfall: fail` is not looked at.

    Raises:
        ConfigError: a text is no filter, or asks for what there is not.
        AllocationError: no such target; or rows lack a value where a filter says `missing: error`.
    """
    corpus = installation.catalog.corpus
    filters = asked_filters(texts, corpus.filters)
    now = _with_filters(installation, corpus.filters)
    then = _with_filters(installation, {**corpus.filters, **filters})
    told = [Problem("--what-if", name, why) for name, why in filter_problems(then.catalog) if name in filters]
    if told:
        raise ConfigError(told)
    before, _ = _nodes(now, target)
    after, unannotated = _nodes(then, target)
    lines = [
        _line(before.get(path), node, [f"{FILTER_PREFIX}{name}" for name in filters])
        for path, node in sorted(after.items(), key=lambda one: (one[0][-1], one[0]))
    ]
    return WhatIf(target=target, filters=filters, lines=lines, unannotated=list(unannotated))


def _with_filters(installation: Installation, filters: Mapping[str, FilterSpec]) -> Installation:
    catalog = installation.catalog
    shortfall = None if catalog.corpus.shortfall == "fail" else catalog.corpus.shortfall
    corpus = catalog.corpus.model_copy(update={"filters": dict(filters), "shortfall": shortfall})
    return replace(installation, catalog=catalog.model_copy(update={"corpus": corpus}))


def _nodes(installation: Installation, target: str) -> tuple[dict[tuple[str, ...], NodeGrant], Sequence[str]]:
    """Sources of each subcategory as a plan has them, and what is not annotated."""
    supply = gather_supply(installation)
    plan = plan_allocation(
        installation.catalog, target, supply.everything, tombstones_in_force(installation.root),
        base_dir=installation.catalog_dir, memory=GramMemory(installation.root),
    )  # fmt: skip
    nodes = {node.path: node for node in plan.certificate.nodes if node.level == "source"}
    return nodes, supply.unannotated


def _line(before: NodeGrant | None, after: NodeGrant, reasons: Sequence[str]) -> WhatIfLine:
    *where, source = after.path
    return WhatIfLine(
        source=source,
        subcategory="/".join(where),
        rows=after.rows,
        fails=sum(after.excluded.get(reason, 0) for reason in reasons),
        missing=sum(after.missing.get(reason, 0) for reason in reasons),
        supply_now=before.supply if before else 0,
        supply_then=after.supply,
        granted_now=before.granted if before else 0,
        granted_then=after.granted,
    )


def problems_of_filters(installation: Installation) -> list[Problem]:
    """Filters that ask for what imported values do not have; others are told when a catalogue is read."""
    try:
        found = [
            Problem("corpus.yaml", f"filters.{name}.keep", why)
            for name, why in filter_problems(installation.catalog)
        ]
    except AnnotationError as error:
        found = [Problem("corpus.yaml", "annotations", str(error))]
    return located(found, installation.catalog_dir)
