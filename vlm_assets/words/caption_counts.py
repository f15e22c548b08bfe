"""What is said of the images of a source, counted; and the sentences that commands, card and UI tell of it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from pydantic import BaseModel, ConfigDict

from vlm_assets.words.caption_rows import CaptionRows
from vlm_assets.words.counts import so_many

NO_TEXT_LAYER: Final = "no_text"
"""The remark of a page whose text layer was asked for (`text: layer`), and that has none."""

GUESSED_NAME: Final = "guessed_name"
"""The remark of a record whose name, and so its folders, are read as cp437 because nobody declares the encoding."""


class Worded(Protocol):
    """What a slice's manifest, or its summary, says of the words of its rows."""

    @property
    def rows(self) -> int:
        """All."""

    @property
    def rows_with_text(self) -> int:
        """Rows with a caption."""

    @property
    def rows_with_messages(self) -> int:
        """Rows with a conversation."""

    @property
    def rows_with_neither(self) -> int | None:
        """None where it was committed before this was counted."""

    @property
    def remarks(self) -> Mapping[str, int]:
        """What was counted in its records on the way, by kind."""


class CaptionCounts(BaseModel):
    """Of one source, or of one slice of it. A row may have text and messages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = 0
    rows_with_text: int = 0
    rows_with_messages: int = 0
    rows_with_neither: int | None = 0
    """None where nobody counted, and it does not follow from the others."""
    pages_without_text: int = 0
    """Pages whose text layer was asked for, and is not there."""
    remarks: dict[str, int] = {}
    """What was mended in captions and conversations, by kind."""
    captions_unused: int | None = None
    """Captions that name nothing (`CaptionRows`), at the listing alone by it; None where none are counted."""
    captions_waiting: int = 0
    """Captions beside archives that joined nothing yet, while one that they may mean is not fetched."""

    @classmethod
    def of(cls, slices: Iterable[Worded], captions: CaptionRows | None = None) -> "CaptionCounts":
        """Those of the slices together, and what became of their captions."""
        rows = text = messages = 0
        neither: int | None = 0
        remarks: Counter[str] = Counter()
        for one in slices:
            rows, text = rows + one.rows, text + one.rows_with_text
            messages += one.rows_with_messages
            silent = _silent(one)
            neither = None if neither is None or silent is None else neither + silent
            if one.remarks:
                remarks.update(one.remarks)
        pages = remarks.pop(NO_TEXT_LAYER, 0)
        remarks.pop(GUESSED_NAME, 0)  # of names, not of words: a hint tells
        return cls(
            rows=rows, rows_with_text=text, rows_with_messages=messages, rows_with_neither=neither,
            pages_without_text=pages, remarks=dict(sorted(remarks.items())),
            captions_unused=captions.name_nothing if captions else None,
            captions_waiting=captions.waiting if captions else 0,
        )  # fmt: skip


def caption_facts(counts: CaptionCounts) -> list[str]:
    """A sentence each: rows by their words, captions that joined nothing, pages without text, what was mended."""
    told = []
    if counts.rows:
        neither = "not counted" if counts.rows_with_neither is None else f"{counts.rows_with_neither:,}"
        told.append(
            f"of {so_many(counts.rows, 'row')} with text {counts.rows_with_text:,}, with messages "
            f"{counts.rows_with_messages:,}, with neither {neither}"
        )
    if counts.captions_unused:
        told.append(f"captions that joined no image: {counts.captions_unused:,}")
    if counts.captions_waiting:
        told.append(f"captions that wait for archives to be fetched: {counts.captions_waiting:,}")
    if counts.pages_without_text:
        told.append(f"pages without the text layer that was asked for: {counts.pages_without_text:,}")
    if counts.remarks:
        named = ", ".join(f"{name} {count:,}" for name, count in counts.remarks.items())
        told.append(f"captions and conversations, mended or withheld: {named}")
    return told


def _silent(one: Worded) -> int | None:
    if one.rows_with_neither is not None:
        return one.rows_with_neither
    fewer, more = sorted((one.rows_with_text, one.rows_with_messages))
    return None if fewer else one.rows - more
