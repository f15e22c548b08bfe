"""`length`: how many words a record has."""

from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from vlm_assets.annotators.protocol import Reads, Values


class Length:
    """`characters` (code points), `words` (parted by white space), `lines` that are not empty."""

    name: ClassVar[str] = "length"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.TEXT
    columns: ClassVar[pa.Schema] = pa.schema(
        [("characters", pa.int32()), ("words", pa.int32()), ("lines", pa.int32())]
    )
    cost_s: ClassVar[float] = 0.1

    def missing(self) -> str:
        """Nothing; see `Annotator.missing`."""
        return ""

    def annotate(self, batch: Sequence[str]) -> Sequence[Values]:
        """See `Annotator.annotate`."""
        return [
            {
                "characters": len(one),
                "words": len(one.split()),
                "lines": sum(1 for line in one.splitlines() if line.strip()),
            }
            for one in batch
        ]


ANNOTATOR = Length()
