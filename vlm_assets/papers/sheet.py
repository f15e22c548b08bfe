"""Contact sheets as one PNG, for people at a terminal: the pictures that the report shows, under their headings."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from vlm_assets.images.png import encode_image
from vlm_assets.papers.contents import count_contents
from vlm_assets.papers.copies import PaperCopy, put_copy
from vlm_assets.papers.evidence import Evidence
from vlm_assets.papers.rejects import shown_rejects, with_pictures
from vlm_assets.papers.shown import A_GROUP, SIDE_PX, Sample, corpus_samples, excluded_samples, places_to_show
from vlm_assets.pdf.fonts import FOLDER
from vlm_assets.store.papers import ShownRow
from vlm_assets.store.tombstones import StoredTombstones
from vlm_assets.words.layout import DataRoot

_CELL_PX: Final = SIDE_PX + 8
_CAPTION_PX: Final = 14
_HEADING_PX: Final = 30
_COLUMNS: Final = A_GROUP
_MOST_SECTIONS: Final = 100
"""A sheet of 15,000 px."""
_CAPTION_LETTERS: Final = 19
_FONT: Final = FOLDER / "LiberationSans-Regular.ttf"


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture; None where it cannot be drawn here, and its caption says what it is."""

    picture: Image.Image | None
    caption: str


@dataclass(frozen=True, slots=True)
class Section:
    """Pictures under a heading."""

    heading: str
    tiles: Sequence[Tile]
    shown: Sequence[ShownRow] = ()
    """What is on them, for the record of the sheet."""

    @property
    def height_px(self) -> int:
        """Heading and rows."""
        return _HEADING_PX + -(-len(self.tiles) // _COLUMNS) * (_CELL_PX + _CAPTION_PX)


def corpus_sections(evidence: Evidence, takedowns: StoredTombstones) -> list[Section]:
    """A section a subcategory, then one a reason that rows are left out by, then rejects; 100 at most.

    Raises:
        StoreError: an index or a data file is damaged.
    """
    contents = count_contents(evidence.version, evidence.manifest, chosen=A_GROUP)
    samples = corpus_samples(evidence, places_to_show(contents), takedowns, None)
    excluded = excluded_samples(evidence, takedowns)
    found = [_section(f"{category}/{name}", some) for (category, name), some in samples.items()]
    found += [_section(f"left out: {reason}", some) for reason, some in excluded.items()]
    rejects = {reason: with_pictures(some) for reason, some in shown_rejects(evidence, takedowns).items()}
    found += [
        Section(
            f"rejects: {reason}",
            [Tile(_opened(one.picture), one.source) for one in some],
            [one.shown for one in some],
        )
        for reason, some in rejects.items()
        if some
    ]
    return found[:_MOST_SECTIONS]


def _section(heading: str, samples: Sequence[Sample]) -> Section:
    return Section(heading, [*map(_tile, samples)], [one.shown for one in samples])


def _tile(sample: Sample) -> Tile:
    return Tile(_opened(sample.picture), f"{sample.source} {sample.image_told[0]}")


def _opened(picture: bytes | None) -> Image.Image | None:
    return None if picture is None else Image.open(io.BytesIO(picture))


def write_sheet(root: DataRoot, sections: Sequence[Section], out: Path) -> tuple[int, int]:
    """Writes the PNG in one step; returns its width and height in px. Equal sections give equal bytes.

    It is remembered as a copy: a takedown that covers what it shows removes it.

    Raises:
        StoreError: there is no such folder.
    """
    width = 8 + _COLUMNS * _CELL_PX
    sheet = Image.new("RGB", (width, 8 + sum(one.height_px for one in sections) or 8), "white")
    draw = ImageDraw.Draw(sheet)
    heading, caption = (
        ImageFont.truetype(_FONT, size, layout_engine=ImageFont.Layout.BASIC) for size in (18, 11)
    )
    top = 8
    for section in sections:
        draw.text((8, top), section.heading, "black", heading)
        for number, tile in enumerate(section.tiles):
            row, column = divmod(number, _COLUMNS)
            place = (8 + column * _CELL_PX, top + _HEADING_PX + row * (_CELL_PX + _CAPTION_PX))
            _draw_tile(sheet, draw, tile, place, caption)
        top += section.height_px
    shown = {row.id: row for section in sections for row in section.shown}
    copy = PaperCopy(out=str(out), what="sheet", sha256=(), shown=tuple(shown.values()))
    put_copy(root, copy, encode_image(sheet))
    return sheet.size


def _draw_tile(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    tile: Tile,
    place: tuple[int, int],
    font: ImageFont.FreeTypeFont,
) -> None:
    left, top = place
    if tile.picture is None:
        draw.rectangle((left, top, left + SIDE_PX - 1, top + SIDE_PX - 1), "#eeeeee", "#bbbbbb")
        draw.text((left + 6, top + SIDE_PX // 2 - 6), "no preview", "#777777", font)
    else:
        width, height = tile.picture.size
        sheet.paste(tile.picture, (left + (SIDE_PX - width) // 2, top + (SIDE_PX - height) // 2))
    draw.text((left, top + SIDE_PX + 2), tile.caption[:_CAPTION_LETTERS], "#444444", font)
