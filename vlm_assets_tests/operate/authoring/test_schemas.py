"""JSON Schemas of catalogue and settings: as strict as the loader, and those beside the profiles up to date."""

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest

from vlm_assets.operate.authoring.schemas import FOLDER, benchmarks_schema, sources_schema, write_schemas
from vlm_assets.settings import PROFILES

WRITE_PROFILES_SCHEMA = """\
from pathlib import Path
from vlm_assets.operate.authoring.schemas import write_schemas
write_schemas(Path("deploy/profiles"), ["settings"])
"""


def test_the_schema_of_the_profiles_is_that_of_the_settings(tmp_path):
    write_schemas(tmp_path, ["settings"])
    (made,) = (tmp_path / FOLDER).iterdir()
    assert (PROFILES / FOLDER / made.name).read_bytes() == made.read_bytes(), WRITE_PROFILES_SCHEMA


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"pth": 1}, False),
        ({"kind": "hf_disk"}, True),
        ({"kind": "hf_dataset"}, False),
        ({"nightly_bytes": "5 apples"}, False),
        ({"weight": "1/3"}, True),
    ],
)
def test_a_schema_is_as_strict_as_the_loader(change, fits):
    entry = {"name": "a", "kind": "client_folder", "category": "p", "subcategory": "x", "licence": "MIT"}
    validator = jsonschema.Draft202012Validator(sources_schema())
    assert validator.is_valid({"sources": [{**entry, "path": "x", **change}]}) == fits


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"category": "p"}, True),
        ({"pth": 1}, False),
        ({"weight": 1}, False),
        ({"max_samples": 1}, False),
    ],
)
def test_a_schema_of_benchmarks_asks_for_less_and_refuses_what_means_nothing(change, fits):
    validator = jsonschema.Draft202012Validator(benchmarks_schema())
    entry = {"name": "a", "kind": "client_folder", "path": "x", **change}
    assert validator.is_valid({"benchmarks": [entry]}) == fits
    assert not validator.is_valid({"sources": [entry]})
