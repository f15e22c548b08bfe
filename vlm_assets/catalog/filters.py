"""What a catalogue says of filters: which rows stay, by an expression over values of rows and images."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal

from pydantic import Field, field_validator

from vlm_assets.annotators.registry import annotator_names, annotator_of
from vlm_assets.catalog.base import OnlySpec, Spec
from vlm_assets.catalog.expressions import (
    ROW_COLUMNS,
    ColumnKind,
    ExpressionError,
    Kind,
    check_kinds,
    names_in,
    parsed,
)

MAX_FILTERS: Final = 100
"""A row's reason is kept in a byte."""


class FilterSpec(Spec):
    """One of `filters`: rows of which `keep` is false stay out, counted as `filter:<name>`."""

    keep: str
    """What is true of the rows that stay: `min(blur.laplacian) >= 30`; the language is in `filters.md`."""
    missing: Literal["keep", "drop", "error"] = "error"
    """What becomes of rows that lack a value that `keep` needs; `error` plans nothing and names them."""
    only: OnlySpec = Field(default_factory=OnlySpec)
    """Sources whose rows are looked at; unset: all. Rows of others stay."""

    @field_validator("keep")
    @classmethod
    def _an_expression(cls, value: str) -> str:
        parsed(value)
        return value

    @property
    def names(self) -> frozenset[str]:
        """The columns that it reads."""
        return names_in(parsed(self.keep))

    @property
    def annotations(self) -> frozenset[str]:
        """The annotations whose values it reads."""
        return frozenset(name.partition(".")[0] for name in self.names.difference(ROW_COLUMNS))


def annotations_read(filters: Mapping[str, FilterSpec]) -> frozenset[str]:
    """The annotations whose values some filter reads."""
    return frozenset(name for one in filters.values() for name in one.annotations)


def kind_of(arrow_type: str) -> Kind:
    """Of one value in a column of annotations; `arrow_type` as Arrow writes it."""
    return {"bool": Kind.TRUTH, "string": Kind.TEXT}.get(arrow_type, Kind.NUMBER)


def built_in_columns(names: Collection[str]) -> dict[str, ColumnKind]:
    """The columns of built-in annotators, as filters name them."""
    return {
        f"{name}.{field.name}": ColumnKind(kind_of(str(field.type)), str(annotator.reads) == "images")
        for name in names
        for annotator in (annotator_of(name),)
        for field in annotator.columns
    }


def filter_faults(
    filters: Mapping[str, FilterSpec], columns: Mapping[str, ColumnKind], annotations: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Filters that cannot be told of a record, and why.

    `columns`: those of annotations. `annotations`: the names of all that the catalogue has.
    """
    for name, one in filters.items():
        try:
            _check_annotations(one, annotations)
            check_kinds(parsed(one.keep), {**ROW_COLUMNS, **columns})
        except ExpressionError as error:
            yield name, str(error)


def _check_annotations(one: FilterSpec, annotations: Collection[str]) -> None:
    for annotation in sorted(one.annotations.difference(annotations)):
        if annotation in annotator_names():
            raise ExpressionError(
                f"the values of {annotation} are not among `annotations`; add `- {{name: {annotation}}}` there"
            )
