"""What of a source's rows an allocation left out of a target, and why, in words. Pure."""

from collections.abc import Mapping
from typing import Final

from vlm_assets.allocation.certificate import SourceTotal
from vlm_assets.allocation.reasons import FILTER_PREFIX, ExclusionReason
from vlm_assets.words.counts import so_many

NOT_SELECTED: Final = "not_selected"
"""Beside the reasons: rows that nothing excludes and that the quotas did not ask for."""
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    ExclusionReason.TOMBSTONE: ("taken down", ""),
    ExclusionReason.LICENCE: ("of a licence that is not admitted", ""),
    ExclusionReason.MIN_SIDE: ("smaller than min_side_px", ""),
    ExclusionReason.TOO_LARGE: ("larger than a shard", ""),
    ExclusionReason.DECONTAMINATE: ("like a benchmark's (decontamination)", ""),
    ExclusionReason.MAX_SAMPLES: ("beyond max_samples", ""),
    ExclusionReason.DUPLICATE: ("duplicate or near duplicate", "duplicates or near duplicates"),
    ExclusionReason.DUPLICATE_OTHER_WORDS: (
        "duplicate picture with other words", "duplicate pictures with other words",
    ),
    NOT_SELECTED: ("more than the quotas ask for", ""),
}  # fmt: skip
"""Behind a count: of one, and of several where that is another."""


def left_out_of(total: SourceTotal) -> dict[str, int]:
    """Rows of a source by why they are not in the plan; labels that lead nowhere are told apart."""
    found = {
        reason: rows
        for reason, rows in total.excluded.items()
        if rows and reason != ExclusionReason.UNMAPPED_LABEL
    }
    return found | ({NOT_SELECTED: total.not_selected} if total.not_selected else {})


def left_out_told(target: str, source: str, rows: Mapping[str, int]) -> str:
    """`full: 4 rows of pictures are left out: 4 duplicates or near duplicates`."""
    count = sum(rows.values())
    why = ", ".join(
        _told(reason, one) for reason, one in sorted(rows.items(), key=lambda each: (-each[1], each[0]))
    )
    return f"{target}: {so_many(count, 'row')} of {source} {'is' if count == 1 else 'are'} left out: {why}"


def _told(reason: str, rows: int) -> str:
    if reason.startswith(FILTER_PREFIX):
        return f"{rows:,} by the filter {reason.removeprefix(FILTER_PREFIX)}"
    one, several = _WORDS.get(reason, (reason, ""))
    return f"{rows:,} {several if several and rows != 1 else one}"
