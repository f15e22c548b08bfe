"""Which rows of a corpus are wanted: the language of filters, over every column of the corpus's index."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.allocation.evaluate import Evaluation
from vlm_assets.catalog.expressions import ColumnKind, ExpressionError, Kind, check_kinds, names_in, parsed
from vlm_assets.words.errors import ConfigError, Problem
from vlm_assets.words.schema import FACT_TYPE, INDEX_SCHEMA, NO_WORDS

_WORDS: Final[Mapping[str, str]] = {"has_text": "text_sha256", "has_messages": "messages_sha256"}
"""Columns that the index has as the hash of what they ask for."""
_FACTS: Final = "image_facts"


def _kind_of(kind: pa.DataType) -> Kind | None:
    """None: 64 bits, of which doubles hold 53, or lists."""
    if pa.types.is_string(kind) or pa.types.is_fixed_size_binary(kind):
        return Kind.TEXT
    return Kind.NUMBER if pa.types.is_integer(kind) and kind != pa.uint64() else None


COLUMNS: Final[Mapping[str, ColumnKind]] = {
    **{field.name: ColumnKind(kind) for field in INDEX_SCHEMA if (kind := _kind_of(field.type))},
    **dict.fromkeys(_WORDS, ColumnKind(Kind.TRUTH)),
    **{
        f"{_FACTS}.{field.name}": ColumnKind(kind, of_images=True)
        for field in FACT_TYPE
        if (kind := _kind_of(field.type))
    },
}
"""What an expression may name; hashes are texts of hex digits."""


@dataclass(frozen=True, slots=True)
class Where:
    """An expression of checked names and kinds."""

    text: str
    tree: ast.expr

    @classmethod
    def parse(cls, text: str) -> Self:
        """The expression that a text says.

        Raises:
            ConfigError: it is none, or names what the index does not have; says what there is.
        """
        try:
            tree = parsed(text)
            check_kinds(tree, COLUMNS)
        except ExpressionError as error:
            raise ConfigError(Problem("--where", "", f"{text!r}: {error}")) from None
        return cls(text.strip(), tree)

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the index that it needs."""
        named = {_WORDS.get(name, name.partition(".")[0]) for name in names_in(self.tree)}
        return tuple(sorted({*named, "image_count"}))

    def mask(self, index: pa.Table) -> NDArray[np.bool_]:
        """Of each row whether it is wanted; one for which the expression is missing is not. `index`: of one chunk."""
        counts = index.column("image_count").combine_chunks().to_numpy(zero_copy_only=False)
        true, _ = Evaluation(index.num_rows, lambda name: _column(index, name), lambda: counts).truth(
            self.tree
        )
        return true


def _column(index: pa.Table, name: str) -> pa.Array:
    if name in _WORDS:
        return pc.not_equal(_whole(index, _WORDS[name]), pa.scalar(NO_WORDS, pa.binary(32)))
    column, _, fact = name.partition(".")
    values = _whole(index, column)
    if fact:
        return pa.ListArray.from_arrays(_offsets(values), values.flatten().field(fact))
    return _hex(values) if pa.types.is_fixed_size_binary(values.type) else values


def _whole(index: pa.Table, name: str) -> pa.Array:
    column = index.column(name)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _offsets(lists: pa.Array) -> pa.Array:
    """Where each list begins among the flattened values."""
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())


def _hex(hashes: pa.Array) -> pa.Array:
    told: list[Any] = [None if one is None else one.hex() for one in hashes.to_pylist()]
    return pa.array(told, pa.string())
