"""What a person reads in the UI: rows, rejects by reason, paths, the source's facts.

Turns outcomes of the core into Dagster metadata. Decides nothing.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
import yaml

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.orchestration.assets.tables import SLICE_ROOM_PX, counted, listed, wrapping
from vlm_assets.orchestration.names import REJECTED
from vlm_assets.words.caption_counts import CaptionCounts, caption_facts
from vlm_assets.words.caption_rows import caption_rows_of
from vlm_assets.words.counts import so_many

if TYPE_CHECKING:  # these load pyarrow, which the code location does without
    from vlm_assets.ingest.listing import ListingChange
    from vlm_assets.ingest.slice import SliceOutcome
    from vlm_assets.words.manifest import Listing, SliceManifest

_SHOWN_KEYS: Final = 12
_HEX: Final = re.compile(r"(?:sha256:)?[0-9a-f]+")
_HASH_DIGITS: Final = 24
_BELOW_ROOT: Final = re.compile(r"^.*/(?=(?:datasets|corpora|allocations|listings)/)")
_LONGEST_WORD: Final = 39

_COLUMNS: Final = (
    (
        "images",
        "list<struct<bytes, path>>",
        "original encoded bytes, in upstream's order; null after a takedown",
    ),
    ("text", "string", "caption; nullable"),
    ("messages", "list<struct<role, content>>", "a conversation, images in their places; nullable"),
    ("extra", "string", "JSON of the other upstream columns; nullable"),
    ("id", "string", "source/slice/key, escaped"),
    ("label", "string", "raw upstream label; nullable"),
    ("category", "string", "of the source; a name in the quotas"),
    ("subcategory", "string", "deeper levels: street/night"),
    ("source", "string", "its name in the catalogue"),
    ("slice", "string", "partition of the source"),
    ("origin", "string", "URL, archive member, file.pdf#page=3"),
    ("licence", "string", "of the source; SPDX id"),
    ("image_facts", "list<struct>", "of each image: name, origin, sha256, dhash, sides, format, bytes"),
)
"""The sample row for people. A test holds it against `SAMPLE_SCHEMA`, which would load pyarrow here."""


def column_schema() -> dg.TableSchema:
    """The one row type of slices and corpus."""
    return dg.TableSchema(
        columns=[dg.TableColumn(name, kind, description=told or None) for name, kind, told in _COLUMNS]
    )


_FROM: Final = ("repo", "handle", "urls", "path", "base_url")
"""Keys of a source that say where it comes from; a kind has one of them."""


def source_sentence(spec: SourceSpec, *, benchmark: bool = False) -> str:
    """What this source or benchmark is, in a sentence of its own."""
    places = (str(getattr(spec, key)) for key in _FROM if getattr(spec, key, None))
    origin = next(places, "upstream")
    if benchmark:
        told = f"**{spec.name}**: a benchmark, {spec.kind} from `{origin}`."
        return f"{told} It is in no corpus, nor is a row that matches it."
    goes = spec.subcategory or "subcategories by label"
    return f"**{spec.name}**: {spec.kind} from `{origin}`, for {spec.category}/{goes}, under {spec.licence}."


def source_description(spec: SourceSpec, told: str, *, benchmark: bool = False) -> str:
    """Markdown for an asset of a source: what it is and does, then the source as the catalogue has it."""
    facts = spec.model_dump(mode="json", exclude_defaults=True)
    shown = yaml.safe_dump(facts, allow_unicode=True, sort_keys=False).strip()
    state = (
        "" if spec.active else f"\n\n**{source_state(spec)}** in the catalogue: neither listed nor fetched."
    )
    return f"{source_sentence(spec, benchmark=benchmark)}{state}\n\n{told}\n\n```yaml\n{shown}\n```"


def source_state(spec: SourceSpec) -> str:
    """`active`, `held` or `disabled`."""
    if not spec.enabled:
        return "disabled"
    return "held" if spec.hold else "active"


def key_list(keys: Sequence[str]) -> str:
    """The first keys by name, and how many more."""
    if not keys:
        return "none"
    more = len(keys) - _SHOWN_KEYS
    return ", ".join(map(wrapping, keys[:_SHOWN_KEYS])) + (f" … and {more:,} more" if more > 0 else "")


def shortened(text: str) -> str:
    """A hash by its first digits, another long word by its ends: it would widen the page. Other texts as they are."""
    if len(text) > _LONGEST_WORD and _HEX.fullmatch(text):
        return f"{text[:_HASH_DIGITS]}…"
    return wrapping(text) if max(map(len, text.split()), default=0) > _LONGEST_WORD else text


def placed(path: str) -> str:
    """A path below the data root; whole, it would widen the page. The root stands with the asset (`dagster/uri`)."""
    below = _BELOW_ROOT.sub("", path)
    return wrapping(below) if len(below) > _LONGEST_WORD else below


def version_of(path: str) -> str:
    """The name of a version's folder: a path to it is cut on an asset's overview at 1,280 pixels."""
    return PurePath(path).name


def listing_metadata(change: "ListingChange", path: str) -> dict[str, Any]:
    """What a listing found and what it changed."""
    listing = change.listing
    return {
        "slices": len(listing.slices),
        "items": listing.items,
        "items before": change.items_before,
        **listed_ledger(listing, change.left_out_examples),
        "revision": shortened(listing.revision),
        "added": dg.MetadataValue.md(key_list(change.added)),
        "changed": dg.MetadataValue.md(key_list(change.changed)),
        "retired": dg.MetadataValue.md(key_list(change.retired)),
        "path": placed(path),
    }


def listed_ledger(listing: "Listing", examples: Sequence[str]) -> dict[str, Any]:
    """What upstream shows beside items, so that it adds up: upstream = items + companions + left out."""
    return {
        "upstream": _if_counted(listing.upstream),
        "companions": listing.companions or 0,
        "left out": sum((listing.left_out or {}).values()),
        "left out by reason": counted("reason", listing.left_out or {}),
        "left out, the first": listed("left out", examples),
        "captions": listed("captions", caption_facts(CaptionCounts.of((), caption_rows_of(listing, {})))),
        "hints": listed("hint", listing.hints),
    }


def _if_counted(count: int | None) -> int | str:
    return "not counted" if count is None else count


def slice_metadata(
    outcome: "SliceOutcome", thumbnails: Sequence[str] = (), rejected: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a slice holds, and what became of its items and records. `rejected`: of `rejected_metadata`."""
    manifest, run = outcome.manifest, outcome.run
    facts: dict[str, Any] = {"what came out": dg.MetadataValue.md(slice_told(manifest, str(outcome.due)))}
    if thumbnails:
        shown = " ".join(f"![]({thumbnail})" for thumbnail in thumbnails)
        facts["first images"] = dg.MetadataValue.md(shown)
    facts |= rejected or {}
    facts |= manifest_metadata(manifest, str(outcome.path))
    facts["why"] = str(outcome.due)
    facts["seconds"] = round(run.seconds, 2)
    if run.taken_over:
        facts["items taken over"] = run.taken_over
    if run.figures:
        facts["figures"] = dg.MetadataValue.json(run.figures)
    if manifest.left_out:
        from vlm_assets.store.left_out import LEFT_OUT_FILE, examples_of

        examples = examples_of(outcome.path / LEFT_OUT_FILE)
        facts["left out, the first"] = listed("left out", examples, room_px=SLICE_ROOM_PX)
    return facts


def rejected_metadata(pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A contact sheet of rejects, each a (reason, picture): a line a reason; nothing where none decodes."""
    lines: dict[str, list[str]] = {}
    for reason, picture in pictures:
        lines.setdefault(reason, []).append(f"![{reason}]({picture})")
    shown = "\n\n".join(f"**{reason}** {' '.join(some)}" for reason, some in lines.items())
    return {REJECTED: dg.MetadataValue.md(shown)} if pictures else {}


_WHY: Final = {
    "new": "It was fetched for the first time.",
    "changed": "It was fetched because its listing changed.",
    "retry": "It was fetched because rejects that may come right were due.",
    "forced": "It was fetched because a person asked for it.",
    "released": "It was fetched because pictures in quarantine are accepted now.",
    "redrawn": "It was drawn again because this machine's renderer is accepted now.",
    "committed": "Nothing was new: it stands as it was committed before.",
}
"""By the reason of `ingest.due`; a test holds that there is none without words."""


def slice_told(manifest: "SliceManifest", why: str) -> str:
    """What came of a slice, what did not and why, in a few sentences."""
    told = [f"**{so_many(manifest.rows, 'row')}** of {so_many(manifest.items, 'item')}."]
    lost = sum(manifest.rejects.values())
    if lost:
        reasons = sorted(manifest.rejects.items(), key=lambda pair: (-pair[1], pair[0]))
        named = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
        told.append(f"**{lost:,} did not come out**: {named}.")
        if manifest.transient_rejects:
            told.append(f"Of these {manifest.transient_rejects:,} are tried again by themselves.")
    else:
        told.append("Everything came out.")
    if manifest.left_out:
        told.append(
            f"{so_many(sum(manifest.left_out.values()), 'thing')} left out, as no items, by reason below."
        )
    return " ".join([*told, _WHY.get(why, why)])


def _slice_captions(manifest: "SliceManifest") -> list[str]:
    """Of tables beside its archives nothing: other slices may join their rows."""
    return caption_facts(CaptionCounts.of([manifest], caption_rows_of(None, {manifest.slice: manifest})))


def manifest_metadata(manifest: "SliceManifest", path: str) -> dict[str, Any]:
    """The part of a slice's metadata that its manifest alone tells: upstream = records + companions + left out."""
    return {
        "dagster/partition_row_count": manifest.rows,
        "rows": manifest.rows,
        "items": manifest.items,
        "items rejected": manifest.items_rejected,
        "records": manifest.records,
        "rejects": sum(manifest.rejects.values()),
        "rejects by reason": counted("reason", manifest.rejects, room_px=SLICE_ROOM_PX),
        "upstream": _if_counted(manifest.upstream),
        "companions": _if_counted(manifest.companions),
        "left out": sum((manifest.left_out or {}).values()),
        "left out by reason": counted("reason", manifest.left_out or {}, room_px=SLICE_ROOM_PX),
        "captions": listed("captions", _slice_captions(manifest), room_px=SLICE_ROOM_PX),
        "transient rejects": manifest.transient_rejects,
        "data bytes": manifest.data_bytes,
        "revision": wrapping(shortened(manifest.revision)),
        "content hash": shortened(manifest.content_hash),
        "version": version_of(path),
    }
