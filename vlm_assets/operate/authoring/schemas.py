"""JSON Schemas of the files of a catalogue and of a profile, for editors: from the specs themselves.

A schema is as strict as the loader where JSON Schema can say it; rules between keys and files are `check`'s.
"""

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from vlm_assets.catalog.spec import KEYS_OF_SUPPLY, CorpusSpec
from vlm_assets.operate.authoring.keys import description_of
from vlm_assets.settings import Settings
from vlm_assets.sources.registry import kinds, source_of
from vlm_assets.store.arrow_files import replace_file

FOLDER: Final = ".schema"
"""Beside `corpus.yaml`."""
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class _Described(GenerateJsonSchema):
    """With the docstrings of fields as descriptions."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        for name, key in made.get("properties", {}).items():
            told = description_of(schema["cls"], name)
            if told:
                key["description"] = told
            key.pop("title", None)
        return made


@cache
def corpus_schema() -> dict[str, Any]:
    """Of `corpus.yaml`."""
    return {"$schema": _DIALECT, **CorpusSpec.model_json_schema(schema_generator=_Described)}


@cache
def sources_schema() -> dict[str, Any]:
    """Of a file under `sources`: what an entry may have is decided by its `kind`."""
    return _list_schema("sources", frozenset(), frozenset())


@cache
def benchmarks_schema() -> dict[str, Any]:
    """Of a file under `benchmarks`: as a source, without what is said of a corpus alone."""
    return _list_schema("benchmarks", frozenset({"category", "licence"}), frozenset(KEYS_OF_SUPPLY))


def _list_schema(head: str, optional: frozenset[str], without: frozenset[str]) -> dict[str, Any]:
    shared: dict[str, Any] = {}
    choices = []
    for kind in kinds():
        one = source_of(kind).spec_type.model_json_schema(schema_generator=_Described)
        shared |= one.pop("$defs", {})
        one["properties"]["kind"] = {"const": kind}
        one["properties"] = {name: key for name, key in one["properties"].items() if name not in without}
        one["required"] = [name for name in one["required"] if name not in optional]
        shared[kind] = one
        choices.append({"if": {"properties": {"kind": {"const": kind}}}, "then": {"$ref": f"#/$defs/{kind}"}})
    entry = {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": list(kinds())}},
        "allOf": choices,
    }
    return {
        "$schema": _DIALECT,
        "type": "object",
        "required": [head],
        "additionalProperties": False,
        "properties": {head: {"type": "array", "items": entry}},
        "$defs": shared,
    }


@cache
def settings_schema() -> dict[str, Any]:
    """Of a profile: settings without their `VLM_`."""
    made = Settings.model_json_schema(schema_generator=_Described)
    return {"$schema": _DIALECT, **made, "additionalProperties": False}


def schema_line(name: str, folder: str = FOLDER) -> str:
    """The comment by which editors find a schema; `name` is `corpus`, `sources`, `benchmarks` or `settings`."""
    return f"# yaml-language-server: $schema={folder}/{name}.json"


def write_schemas(beside: Path, only: Collection[str] = ()) -> None:
    """Writes all beside a catalogue, or some beside a folder of profiles; over older ones.

    Raises:
        StoreError: they cannot be written.
    """
    made: Mapping[str, dict[str, Any]] = {
        "corpus": corpus_schema(), "sources": sources_schema(), "benchmarks": benchmarks_schema(),
        "settings": settings_schema(),
    }  # fmt: skip
    folder = beside / FOLDER
    folder.mkdir(exist_ok=True)
    for name in only or made:
        replace_file(folder / f"{name}.json", orjson.dumps(made[name], option=orjson.OPT_INDENT_2) + b"\n")
