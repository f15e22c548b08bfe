"""Rows that papers show: a few of every subcategory, a few that each reason left out; none that is taken down."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from vlm_assets.allocation.examples import read_examples
from vlm_assets.corpus.manifest import data_name
from vlm_assets.images.thumbnails import thumbnail
from vlm_assets.papers.bins import Histogram
from vlm_assets.papers.contents import Contents, Group, Place
from vlm_assets.papers.evidence import Evidence
from vlm_assets.papers.rows import seen_rows
from vlm_assets.store.away import away_in
from vlm_assets.store.papers import ShownRow
from vlm_assets.store.slices import data_file_names
from vlm_assets.store.tombstones import StoredTombstones

T = TypeVar("T")
A_GROUP: Final = 12
"""Pictures of a subcategory at most."""
IN_ALL: Final = 360
"""Of all subcategories together: 2 MB of a report."""
A_REASON: Final = 8
SIDE_PX: Final = 112
_WORDS: Final = 400
"""Characters of a row's words."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row as papers show it."""

    id: str
    category: str
    subcategory: str
    source: str
    slice: str
    origin: str
    licence: str
    words: str
    """Text, or the turns of its conversation; cut."""
    image_told: tuple[str, ...]
    """`640 × 480 JPEG` of each image."""
    image_sha256: tuple[str, ...]
    picture: bytes | None
    """Of its first image, a small JPEG; None where that is not quick and safe to decode."""
    place: Place | None = None
    """In the corpus; None where the row was left out of it."""

    @property
    def shown(self) -> ShownRow:
        """For the record."""
        return ShownRow(id=self.id, image_sha256=self.image_sha256)


def places_to_show(contents: Contents) -> dict[Group, list[Place]]:
    """As many rows of each subcategory as `IN_ALL` lets; the same number of each, where it has them."""
    groups = sorted(contents.chosen)[:IN_ALL]
    each = max(1, min(A_GROUP, IN_ALL // max(len(groups), 1)))
    return {group: contents.chosen[group][:each] for group in groups}


def corpus_samples(
    evidence: Evidence,
    wanted: Mapping[Group, Sequence[Place]],
    takedowns: StoredTombstones,
    words: Histogram | None,
) -> dict[Group, list[Sample]]:
    """These rows of the corpus by subcategory; `words` counts those of every row on the way.

    Raises:
        StoreError: a data file is damaged.
    """
    by_shard: defaultdict[str, dict[int, Place]] = defaultdict(dict)
    for place in (one for places in wanted.values() for one in places):
        by_shard[place.bits][place.row] = place
    found: defaultdict[Group, list[Sample]] = defaultdict(list)
    for bits in sorted(evidence.manifest.shards):
        places = by_shard[bits]
        if not places and words is None:
            continue
        for number, row in seen_rows([evidence.version / data_name(bits)], places, words):
            sample = _sample(row, takedowns, places[number])
            if sample is not None:
                found[sample.category, sample.subcategory].append(sample)
    return {
        group: sorted(found[group], key=lambda one: one.place or Place(0, "", 0))
        for group in wanted
        if found[group]
    }


def excluded_samples(evidence: Evidence, takedowns: StoredTombstones) -> dict[str, list[Sample]]:
    """Rows of the supply that are not in the corpus, by the reason that excludes them.

    Those whose slice is gone from this disk or has its data away (it would be fetched whole for a few pictures), and
    plans of a time before there were examples, have none.
    """
    wanted: defaultdict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for reason, rows in read_examples(evidence.plan_dir).items():
        for source, name, row in rows[:A_REASON]:
            wanted[source, name][row] = reason
    found: defaultdict[str, list[Sample]] = defaultdict(list)
    for key in sorted(wanted):
        slice_ = evidence.slices.get(key)
        if slice_ is None or away_in(slice_.directory):
            continue
        paths = [slice_.directory / name for name in data_file_names(slice_.manifest.files)]
        for number, values in seen_rows(paths, wanted[key]):
            sample = _sample(values, takedowns, None)
            if sample is not None:
                found[wanted[key][number]].append(sample)
    return dict(sorted(found.items()))


def rows_shown(samples: Iterable[Sequence[Sample]]) -> list[ShownRow]:
    """For the record of the papers."""
    return [one.shown for some in samples for one in some]


def _sample(row: Mapping[str, Any], takedowns: StoredTombstones, place: Place | None) -> Sample | None:
    """None where the row is taken down, or was emptied."""
    facts, images = row["image_facts"], row["images"]
    hashes = tuple(fact["sha256"] for fact in facts)
    if not images or row["id"] in takedowns.ids or not takedowns.image_sha256.isdisjoint(hashes):
        return None
    return Sample(
        id=row["id"],
        category=row["category"] or "",
        subcategory=row["subcategory"] or "",
        source=row["source"],
        slice=row["slice"],
        origin=row["origin"] or "",
        licence=row["licence"] or "",
        words=words_of(row),
        image_told=tuple(f"{fact['width_px']} × {fact['height_px']} {fact['format']}" for fact in facts),
        image_sha256=hashes,
        picture=thumbnail(images[0]["bytes"], facts[0], SIDE_PX),
        place=place,
    )


def words_of(row: Mapping[str, Any]) -> str:
    """What a row says, on one line, cut after `_WORDS` characters."""
    said = [row["text"] or ""] + [
        f"{turn['role']}: " + " ".join(part["text"] or f"[{part['type']}]" for part in turn["content"])
        for turn in row["messages"] or ()
    ]
    text = " ".join(" ".join(said).split())
    return text if len(text) <= _WORDS else f"{text[:_WORDS]}…"


def one_of_each(samples: Mapping[Group, Sequence[Sample]], count: int) -> list[Sample]:
    """The first of every subcategory, then the second, until there are so many."""
    return [one for one, _ in zip(in_turn(samples.values()), range(count), strict=False)]


def in_turn(every: Collection[Sequence[T]]) -> Iterator[T]:
    """The first of each, then the second of each that has one, and so on."""
    for number in range(max(map(len, every), default=0)):
        yield from (some[number] for some in every if number < len(some))
