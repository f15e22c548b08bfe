"""Which file of a catalogue has a source, for messages that name the line to write."""

from pathlib import Path

from vlm_assets.catalog.yaml_places import source_lines


def entry_file(directory: Path, source: str) -> str:
    """`catalog/sources/pictures.yaml`, the file that has the source's entry now; "" where none has."""
    for folder in ("sources", "benchmarks"):
        for path in sorted((directory / folder).glob("*.y*ml")):
            if source in source_lines(path):
                return f"{directory.name}/{folder}/{path.name}"
    return ""
