"""Contact sheets for whoever has no browser at hand: of a corpus, or of the rows that an id or a hash names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlm_assets.images.thumbnails import small_picture
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.lineage import RowLineage
from vlm_assets.papers.evidence import sealed_evidence
from vlm_assets.papers.sheet import Section, Tile, corpus_sections, write_sheet
from vlm_assets.papers.shown import SIDE_PX
from vlm_assets.store.papers import ShownRow
from vlm_assets.store.slices import data_file_names, images_of_row
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.counts import so_many
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.layout import VERSIONS
from vlm_assets.words.manifest import SliceManifest


@dataclass(frozen=True, slots=True)
class SheetFile:
    """A contact sheet on disk."""

    path: Path
    sections: int
    pictures: int
    width_px: int
    height_px: int

    def __str__(self) -> str:
        """One line for a person."""
        size = f"{self.width_px:,} × {self.height_px:,} px"
        pictures, sections = so_many(self.pictures, "picture"), so_many(self.sections, "section")
        return f"{self.path}: {pictures} in {sections}, {size}"


def sheet_of_corpus(installation: Installation, target: str, out: Path) -> SheetFile:
    """A section a subcategory of the target's corpus, and one a reason that rows were left out by.

    Raises:
        StoreError: no corpus, a damaged file, or a place that cannot be written.
    """
    evidence = sealed_evidence(installation, target)
    return _write(installation, corpus_sections(evidence, read_tombstones(installation.root)), out)


def sheet_of_rows(installation: Installation, rows: Sequence[RowLineage], out: Path) -> SheetFile:
    """A section a row with its images; none of rows that are taken down.

    Raises:
        StoreError: a damaged file, or a place that cannot be written.
    """
    return _write(installation, [_section(installation, row) for row in rows], out)


def _section(installation: Installation, row: RowLineage) -> Section:
    version = installation.root.source(row.source) / VERSIONS / row.slice_version
    names = data_file_names(read_manifest(version, SliceManifest).files)
    images = None if row.tombstones else images_of_row(version, names, row.slice_row)
    facts = row.row["image_facts"]
    tiles = [
        Tile(
            small_picture(image, fact, SIDE_PX), f"{fact['width_px']} × {fact['height_px']} {fact['format']}"
        )
        for image, fact in zip(images or (), facts, strict=False)
    ]
    hashes = tuple(fact["sha256"] for fact in facts)
    return Section(row.id, tiles, [ShownRow(id=row.id, image_sha256=hashes)])


@named_disk_errors
def _write(installation: Installation, sections: Sequence[Section], out: Path) -> SheetFile:
    width, height = write_sheet(installation.root, sections, out)
    return SheetFile(out, len(sections), sum(len(one.tiles) for one in sections), width, height)
