"""How assets are shown: groups, kinds, tags, owners, links and places in the catalogue. For eyes only."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster._core.definitions.utils import is_valid_owner

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.catalog.yaml_places import source_lines
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.metadata import source_state
from vlm_assets.settings import Settings
from vlm_assets.sources.registry import traits_of

LISTING_GROUP: Final = "listing"
LINE_GROUP: Final = "corpus"


def source_kinds(spec: SourceSpec) -> set[str]:
    """Kind badges of a source's assets: the kind, and those that the UI has a picture for."""
    return {spec.kind, *traits_of(spec.kind).badges}


BENCHMARK_GROUP: Final = "benchmarks"


def dataset_group(spec: SourceSpec, *, benchmark: bool) -> str:
    """Datasets stand by category, apart from the groups of the line itself; benchmarks by themselves."""
    return BENCHMARK_GROUP if benchmark else f"dataset_{spec.category}"


def source_tags(spec: SourceSpec, *, benchmark: bool) -> dict[str, str]:
    """Tags to filter by in the UI."""
    use = {"use": "benchmark"} if benchmark else {"category": spec.category}
    return {"kind": spec.kind, **use, "state": source_state(spec)}


def owners_of(settings: Settings) -> list[str]:
    """The contact of the settings, where it is an address that Dagster takes for an owner."""
    return [settings.contact] if is_valid_owner(settings.contact) else []


def source_metadata(spec: SourceSpec, installation: Installation) -> dict[str, Any]:
    """What a source's assets say whatever was fetched: licence, category, upstream's page, terms, its YAML."""
    url = spec.upstream_url()
    return {
        "licence": spec.licence,
        "category": spec.category,
        **({"upstream": dg.MetadataValue.url(url)} if url else {}),
        **({"terms": dg.MetadataValue.url(spec.terms.url)} if spec.terms else {}),
        **catalog_references(installation.catalog_dir, spec.name),
    }


def catalog_references(directory: Path, source: str | None = None) -> dict[str, Any]:
    """Code references to a source's entry in the catalogue, or to `corpus.yaml`; none where the files are gone."""
    if source is None:
        found = {path: 1 for path in [directory / "corpus.yaml"] if path.is_file()}
    else:
        folders = (directory / "sources", directory / "benchmarks")
        files = [path for folder in folders for path in sorted(folder.glob("*.yaml")) if path.is_file()]
        lines = {path: _source_lines(path, path.stat().st_mtime_ns) for path in files}
        found = {path: told[source] for path, told in lines.items() if source in told}
    references = [
        dg.LocalFileCodeReference(file_path=str(path.absolute()), line_number=line, label="the catalogue")
        for path, line in found.items()
    ]
    return (
        {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=references)}
        if references
        else {}
    )


@cache
def _source_lines(path: Path, changed_ns: int) -> dict[str, int]:
    """`source_lines` of a file as it was when it was changed."""
    del changed_ns
    return source_lines(path)
