"""Where the subcategories of a source's rows come from: a folder or a column, and a map of what stands there."""

from typing import Annotated, Any, Self

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from vlm_assets.catalog.base import Spec
from vlm_assets.hub.columns import LabelRule
from vlm_assets.words.layout import nfc

_MAP_SCHEMA = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
"""A label is text as it is written: `no` and `01` need no quotes."""


class SubcategoryFrom(Spec):
    """Where a row's subcategory comes from: the n-th folder of its key, or a column; `map` renames labels."""

    folder: int | None = Field(None, ge=1)
    """The n-th folder of an item's path, from 1."""
    column: str | None = None
    """A column of the table or list."""
    map: Annotated[dict[str, str] | None, WithJsonSchema(_MAP_SCHEMA, mode="validation")] = None
    """Label to subcategory, both text as written; rows of other labels stay out (`unmapped_label`)."""

    @field_validator("map", mode="before")
    @classmethod
    def _text_keys(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {_nfc_if_text(_as_written(k)): _nfc_if_text(_as_written(v)) for k, v in value.items()}

    @model_validator(mode="after")
    def _one_selector(self) -> Self:
        if (self.folder is None) == (self.column is None):
            raise ValueError("needs exactly one of folder and column")
        return self

    @property
    def selector(self) -> str:
        """The part that decides `label`, and so bytes; the map decides none."""
        return f"folder:{self.folder}" if self.folder is not None else f"column:{self.column}"

    @property
    def rule(self) -> LabelRule:
        """Where labels come from, and what the map knows of them."""
        known = None if self.map is None else frozenset(self.map)
        if self.column is not None:
            return LabelRule(f"column {self.column!r}", nfc(self.column), known)
        return LabelRule(f"folder {self.folder} of the name", known=known)

    def subcategory_of(self, label: str | None) -> str | None:
        """Subcategory of a label; None where a map is given and has no entry, or there is no label."""
        if label is None:
            return None
        return self.map.get(nfc(label)) if self.map is not None else nfc(label)


def _as_written(value: Any) -> Any:
    """A scalar as the text that the catalogue's YAML made it of; other values as they are."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


def _nfc_if_text(value: Any) -> Any:
    return nfc(value) if isinstance(value, str) else value
