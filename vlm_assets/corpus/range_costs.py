"""What it takes to read rows by range, before a row is read."""

from dataclasses import dataclass
from typing import Final

from vlm_assets.corpus.ranges import MAX_GAP_BYTES, MAX_REQUEST_BYTES, WASTE_SHARE
from vlm_assets.store.slices import BATCH_BYTES, BATCH_ROWS

_HEAD_ROW_BYTES: Final = 25
_HEADER_BYTES: Final = 2_000
_REQUESTS_A_HEAD: Final = 2


@dataclass(frozen=True, slots=True)
class RangeCosts:
    """Requests, and bytes that they ask for."""

    requests: int
    size_bytes: int


def range_costs(selected: int, supply: int, row_bytes: float, block_rows: int) -> RangeCosts:
    """What a corpus costs of which no slice lies on the disk of its writer; an estimate.

    `selected` of the `supply` rows, each as likely as another, for a rank does not look at its neighbours. Rows of a
    block stand together; in it runs of selected rows become requests, and the narrowest gaps are closed as far as the
    waste reaches.
    """
    if not selected or not supply:
        return RangeCosts(0, 0)
    share = min(selected / supply, 1.0)
    blocks = min(selected, -(-supply // block_rows))
    gaps = selected * (1 - share)
    runs = min(blocks + gaps, selected)
    closed, wasted_rows = _closed(gaps, share, WASTE_SHARE * selected, MAX_GAP_BYTES / max(row_bytes, 1.0))
    wanted = selected * row_bytes
    batch_rows = max(min(BATCH_ROWS, BATCH_BYTES / max(row_bytes, 1.0)), 1.0)
    batches = min(supply / batch_rows, selected)
    heads = batches * (_HEADER_BYTES + _HEAD_ROW_BYTES * batch_rows)
    requests = runs - closed + wanted / MAX_REQUEST_BYTES + _REQUESTS_A_HEAD * batches
    return RangeCosts(round(requests), round(wanted + max(wasted_rows * row_bytes, heads)))


def _closed(gaps: float, share: float, waste_rows: float, most_rows: float) -> tuple[float, float]:
    """(gaps, rows in them) that are closed, of gaps as long as chance makes them where this share is selected."""
    closed, wasted, length = 0.0, 0.0, 1
    while length <= most_rows and wasted < waste_rows and gaps - closed > 1:
        count = min(gaps * share * (1 - share) ** (length - 1), (waste_rows - wasted) / length)
        closed, wasted, length = closed + count, wasted + count * length, length + 1
    return closed, wasted
