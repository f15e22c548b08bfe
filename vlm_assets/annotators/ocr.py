"""`ocr`: the words that stand in an image, read by Tesseract with its Turkish data. An annotation, never `text`.

Tesseract is a program of the system: what it reads follows from its version too, so a catalogue that filters by it
has the same corpus only where the same Tesseract is installed.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from typing import ClassVar, Final

import pyarrow as pa

from vlm_assets.annotators.picture import Picture
from vlm_assets.annotators.protocol import Reads, Values
from vlm_assets.workers.bounds import bound_cpu_time

LANGUAGE: Final = "tur"
_PROGRAM: Final = "tesseract"
_CPU_S: Final = 120.0
"""Of one image: a newspaper's page at 300 DPI takes some twenty seconds."""
_INSTALL: Final = "apt install tesseract-ocr tesseract-ocr-tur"
_WORD: Final = "5"
"""Level of a word in Tesseract's TSV."""


class Ocr:
    """`text`: the words, a line each line; `confidence`: 0 to 100, their mean, null where there are none; `words`."""

    name: ClassVar[str] = "ocr"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.IMAGES
    columns: ClassVar[pa.Schema] = pa.schema(
        [("text", pa.string()), ("confidence", pa.float32()), ("words", pa.int32())]
    )
    cost_s: ClassVar[float] = 2_000.0

    def missing(self) -> str:
        """See `Annotator.missing`."""
        if shutil.which(_PROGRAM) is None:
            return f"the program {_PROGRAM} is not installed ({_INSTALL})"
        if LANGUAGE not in _languages():
            return f"{_PROGRAM} has no data for Turkish, {LANGUAGE} ({_INSTALL})"
        return ""

    def annotate(self, batch: Sequence[Picture]) -> Sequence[Values]:
        """See `Annotator.annotate`. Raises where Tesseract fails, or takes too long."""
        return [read_tsv(_tsv(one)) for one in batch]


@cache
def _languages() -> frozenset[str]:
    told = subprocess.run([_PROGRAM, "--list-langs"], capture_output=True, text=True, check=False)
    return frozenset(told.stdout.split())


def _tsv(picture: Picture) -> str:
    """What Tesseract says of the whole picture, in grey; it decodes nothing of a stranger's itself."""
    dpi = picture.opened.info.get("dpi", (0, 0))[0]
    resolution = ["--dpi", str(round(dpi))] if 70 <= dpi <= 2400 else []
    out = BytesIO()
    picture.whole().save(out, "PPM")
    done = subprocess.run(
        [_PROGRAM, "stdin", "stdout", "-l", LANGUAGE, *resolution, "tsv"],
        input=out.getvalue(),
        capture_output=True,
        check=True,
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        preexec_fn=lambda: bound_cpu_time(_CPU_S),
    )
    return done.stdout.decode("utf-8", "replace")


def read_tsv(told: str) -> Mapping[str, str | float | int | None]:
    """The words of Tesseract's table, in its order, and how sure it is of them.

    Raises:
        ValueError: not such a table.
    """
    names, *rows = [line.split("\t") for line in told.splitlines() if line]
    lines: dict[tuple[str, ...], list[str]] = {}
    sure: list[float] = []
    for row in rows:
        one = dict(zip(names, row, strict=False))
        if one["level"] == _WORD and one.get("text", "").strip():
            place = tuple(one[name] for name in ("page_num", "block_num", "par_num", "line_num"))
            lines.setdefault(place, []).append(one["text"].strip())
            sure.append(float(one["conf"]))
    return {
        "text": "\n".join(" ".join(words) for words in lines.values()),
        "confidence": sum(sure) / len(sure) if sure else None,
        "words": len(sure),
    }


ANNOTATOR = Ocr()
