"""The reference page: every setting, key, default, column, reason and finding, as the code has them."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa
from pydantic import BaseModel

from vlm_assets.allocation.reasons import ExclusionReason
from vlm_assets.annotators.registry import annotator_names, annotator_of
from vlm_assets.audit.findings import FindingName, severity_of
from vlm_assets.catalog.annotations import AnnotationSpec
from vlm_assets.catalog.base import OnlySpec
from vlm_assets.catalog.filters import FilterSpec
from vlm_assets.catalog.labels import SubcategoryFrom
from vlm_assets.catalog.spec import (
    CorpusSpec,
    DedupSpec,
    LicencePolicy,
    PapersSpec,
    QuotaNode,
    ShardSpec,
    SourceSpec,
    TermsSpec,
)
from vlm_assets.operate.authoring.keys import Key, docstrings, keys_of
from vlm_assets.settings import Settings
from vlm_assets.sources.registry import kinds, source_of
from vlm_assets.words.column_words import COLUMN_WORDS
from vlm_assets.words.errors import LeftOutReason, RejectReason
from vlm_assets.words.hosts import HostSpec
from vlm_assets.words.schema import COLUMNS, FACT_TYPE, FLAT_COLUMNS

_INTRODUCTION: Final = """\
# Reference

Made by `vlm-assets docs` from the code, and held to it by a test. How to go about it stands in the
[README](../../README.md); how the keys of a source work in [sources.md](sources.md).
"""
_SETTINGS: Final = """\
Each is `VLM_` and its name in capitals in the environment (`VLM_DATA_ROOT`) or in `.env`, or its name in a profile
(`deploy/profiles/*.yaml`, chosen by `VLM_PROFILE`). The environment goes before `.env`, that before the profile.
"""
_REJECTS: Final = """\
`rejects.parquet` of a slice has a line for each. Transient ones are tried again after 1 h, 4 h, 16 h, then weekly.
"""
_LEFT_OUT: Final = """\
Of what a source's upstream has, everything is an item, a companion that was joined to items (captions, metadata), or
left out with one of these reasons. Each such thing is a row of `left_out.parquet`: beside the listing, and in the
slice for what archives hold. `plan` and `status` show the counts and the first few, so do the card and the
asset's page, and the audit's finding `upstream` adds them up. `unknown_type`, `split_archive_incomplete` and
`nested_too_deep` count towards `reject_tolerance`; name what you do not want in `exclude`.
"""
_EXCLUDED: Final = """\
Beyond quotas and rank (`not selected`), `grants.json` counts these, tested in this order. Between `min_side` and
`too_large` come the filters by name, as `filter:<name>`.
"""
_ANNOTATORS: Final = """\
Values of images are lists, one entry an image; of words there is one value a record, over its text and its messages.
Null: there is no value. An expression says `<name>.<column>`.
"""
_AUDIT: Final = """\
`vlm-assets audit` and the asset checks on `corpus` count again from shards, slices, listings and catalogue, with none
of the code that built them. Findings of severity *error* block; `renderer` is a warning where no slice is mixed.
"""
_PARTS: Final[Mapping[str, type[BaseModel]]] = {
    "A node of `quotas`": QuotaNode, "`dedup`": DedupSpec, "`licences`": LicencePolicy, "`shard`": ShardSpec,
    "An entry of `annotations`": AnnotationSpec, "A filter of `filters`": FilterSpec, "`only`": OnlySpec,
    "`papers`": PapersSpec,
}  # fmt: skip
_SOURCE_PARTS: Final[Mapping[str, type[BaseModel]]] = {
    "`subcategory_from`": SubcategoryFrom, "`terms`": TermsSpec, "A host of `hosts`": HostSpec,
}  # fmt: skip


def reference_page(commands: Sequence[str]) -> str:
    """The page, with the lines of its section on commands as they are given."""
    return "\n".join([_INTRODUCTION, "## Commands", "", *commands, "", *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    yield from ("## Settings", "", _SETTINGS, *_key_table(keys_of(Settings)))
    yield from ("## corpus.yaml", "", *_key_table(keys_of(CorpusSpec)))
    for title, part in _PARTS.items():
        yield from (f"### {title}", "", *_key_table(keys_of(part)))
    yield from _annotators()
    yield from ("## sources/*.yaml", "", "A list `sources:` of entries. Every kind has these keys:", "")
    yield from _key_table(keys_of(SourceSpec))
    for title, part in _SOURCE_PARTS.items():
        yield from (f"### {title}", "", *_key_table(keys_of(part)))
    for kind in kinds():
        own = keys_of(source_of(kind).spec_type, without=SourceSpec)
        yield from (f"### {kind}", "", *_key_table(own))
    yield from ("## Columns of a row", "", "Of every data file, in slices and corpora.", "", *_columns())
    yield from _reasons("Why a record did not become a sample", _REJECTS, RejectReason)
    yield from _reasons("What is left out before it is an item", _LEFT_OUT, LeftOutReason)
    yield from _reasons("Why a sample is not in the corpus", _EXCLUDED, ExclusionReason)
    yield from _findings()


def _annotators() -> Iterator[str]:
    rows = []
    for annotator in map(annotator_of, annotator_names()):
        columns = ", ".join(f"`{one.name}` {one.type}" for one in annotator.columns)
        rows.append((f"`{annotator.name}`", str(annotator.reads), columns, _in_one_line(type(annotator))))
    yield from ("### Built-in annotators", "", _ANNOTATORS)
    yield from _table(("name", "reads", "columns", "what"), rows)


def _in_one_line(told: object) -> str:
    return " ".join((inspect.getdoc(told) or "").split()).replace("|", "\\|")


def _key_table(keys: Sequence[Key]) -> Iterator[str]:
    rows = [(f"`{one.name}`", one.form, one.default, one.told) for one in keys]
    return _table(("key", "takes", "default", "what"), rows)


def _columns() -> Iterator[str]:
    sample = [(f"`{one.name}`", _spoken(one.type), str(one.role), COLUMN_WORDS[one.name]) for one in COLUMNS]
    yield from _table(("column", "type", "role", "what"), sample)
    yield from ("Fields of `image_facts`:", "")
    facts = [FACT_TYPE.field(number) for number in range(FACT_TYPE.num_fields)]
    yield from _table(
        ("field", "type", "what"),
        [(f"`{one.name}`", _spoken(one.type), COLUMN_WORDS[f"image_facts.{one.name}"]) for one in facts],
    )
    yield from ("`index.arrow` has all columns whose role is not *content*, and:", "")
    flat = [(f"`{name}`", _spoken(kind), COLUMN_WORDS[name]) for name, kind in FLAT_COLUMNS]
    yield from _table(("column", "type", "what"), flat)


def _spoken(kind: Any) -> str:
    if pa.types.is_list(kind):
        return f"list of {_spoken(kind.value_type)}"
    if pa.types.is_struct(kind):
        fields = [kind.field(number) for number in range(kind.num_fields)]
        return "{" + ", ".join(f"{one.name}: {_spoken(one.type)}" for one in fields) + "}"
    return str(kind)


def _reasons(title: str, where: str, reasons: type[StrEnum]) -> Iterator[str]:
    told = docstrings(reasons)
    yield from (f"## {title}", "", where)
    yield from _table(("reason", "meaning"), [(f"`{one}`", told[one.name]) for one in reasons])


def _findings() -> Iterator[str]:
    told = docstrings(FindingName)
    yield from ("## What the audit checks", "", _AUDIT)
    rows = [(f"`{one}`", str(severity_of(one)), told[one.name]) for one in FindingName]
    yield from _table(("finding", "severity", "what holds where it passed"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table and a blank line."""
    yield from (f"| {' | '.join(head)} |", f"|{'---|' * len(head)}")
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""
