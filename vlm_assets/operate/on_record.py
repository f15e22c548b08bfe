"""What is on record of a name that is no row: rejects, what was left out, slices that failed over it. Reads only."""

from collections.abc import Iterator
from typing import Final

from vlm_assets.ingest.found import FoundSource
from vlm_assets.installation.opening import Installation
from vlm_assets.store.last_failures import last_failures
from vlm_assets.store.left_out import listed_left_out, read_slice_left_out
from vlm_assets.store.slices import read_rejects
from vlm_assets.words.errors import told_why
from vlm_assets.words.layout import VERSIONS, sample_id

_MOST: Final = 5
"""Places of one name that are told."""


def on_record(installation: Installation, wanted: str) -> list[str]:
    """Why the thing of this key, file name or id is no row, a line a place; nothing where it is on no record.

    Raises:
        StoreError: a table of rejects, or of what was left out, is damaged.
    """
    lines: list[str] = []
    for spec in installation.catalog.fetched:
        found = FoundSource.of(installation.root, spec)
        for line in _of_source(installation, found, wanted):
            if line not in lines:
                lines.append(line)
            if len(lines) == _MOST:
                return lines
    return lines


def _of_source(installation: Installation, found: FoundSource, wanted: str) -> Iterator[str]:
    root, source = installation.root, found.spec.name
    for name, one in found.in_force().items():
        version = root.source(source) / VERSIONS / one.version
        for reject in read_rejects(version) if one.rejects else ():
            if _meant(wanted, source, name, reject.key):
                record = "" if not reject.record else f" (record {reject.record})"
                why = told_why(reject.reason, reject.detail)
                yield f"{source}/{name}: {reject.key}{record} is a reject: {why}"
        for left_out in (read_slice_left_out(version) if one.left_out else {}).values():
            for each in left_out:
                if _meant(wanted, source, name, each.key):
                    yield f"{source}/{name}: {each.key} is left out: {told_why(each.reason, each.detail)}"
    for each in listed_left_out(root, found.listing) if found.listing is not None else ():
        if _meant(wanted, source, "", each.key):
            yield f"{source}: {each.key} is left out of the listing: {told_why(each.reason, each.detail)}"
    for name, why in last_failures(root, source, found.due()).items():
        for line in map(str.strip, why.splitlines()):
            if _meant(wanted, source, name, line.partition(": ")[0]):
                yield f"{source}/{name} failed, and nothing of it is here: {line}"


def _meant(wanted: str, source: str, slice_name: str, key: str) -> bool:
    """Whether a key is meant: as it is, by its last part, or as the id that its row would have."""
    names = {key, key.rpartition("/")[2], f"{source}/{key}"}
    return wanted in names or (bool(slice_name) and wanted == sample_id(source, slice_name, key))
