"""Reads a Croissant file as MLCommons' own library does and prints what it found as JSON.

    python -m vlm_assets_tests.papers.croissant_reader FILE

In a process of its own: the library's logging (absl) takes over the handlers of whoever imports it.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """Texts for bytes, sides for images."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return list(value.size) if hasattr(value, "size") and hasattr(value, "mode") else value


def main() -> None:
    warnings.simplefilter("ignore")
    import mlcroissant

    dataset = mlcroissant.Dataset(jsonld=Path(sys.argv[1]))
    metadata = dataset.metadata
    told = {
        "errors": sorted(metadata.issues.errors),
        "warnings": sorted(metadata.issues.warnings),
        "conforms_to": metadata.ctx.conforms_to.value,
        "collection": metadata.data_collection_type,
        "license": metadata.license,
        "records": {one.id: [plain(row) for row in dataset.records(one.id)] for one in metadata.record_sets},
    }
    sys.stdout.write(json.dumps(told, default=str))


if __name__ == "__main__":
    main()
