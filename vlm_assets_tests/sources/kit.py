"""Contexts for a kind at work on its own, without the pipeline around it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.settings import Settings, load_settings
from vlm_assets.sources.protocol import Source
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import Companion, LeftOut, Reject
from vlm_assets.words.layout import key_hash
from vlm_assets.words.records import Event, Item, JoinedCaptions, Listed, ListedSlice, Record
from vlm_assets_tests.waiting import HANG_S

COMMON: dict[str, Any] = {"name": "one", "category": "photos", "subcategory": "all", "licence": "CC0-1.0"}


def settings_of(folder: Path, **overrides: Any) -> Settings:
    defaults: dict[str, Any] = {
        "data_root": folder, "allow_private_hosts": "127.0.0.1", "http_timeout_s": HANG_S, "workers": 2,
    }  # fmt: skip
    return load_settings(env_file=None, **{**defaults, **overrides})


def silence_timeout_s(kind: str) -> float:
    """The timeout for a server with such a fault: short only where silence is what is to be noticed.

    A busy machine may be silent for as long too: then a request more is made.
    """
    return 2.0 if kind == "stall" else HANG_S


def list_context(folder: Path, settings: Settings | None = None, **overrides: Any) -> ListContext:
    return ListContext(settings or settings_of(folder), folder / "cache", folder / "locks", **overrides)


def fetch_context(
    folder: Path, listed: Listed, name: str, settings: Settings | None = None, **overrides: Any
) -> FetchContext:
    return FetchContext(
        settings=settings or settings_of(folder), source="one", slice_name=name, revision=listed.revision,
        attributes=listed.attributes, cache_dir=folder / "cache", spool_dir=folder / "cache" / "spool" / name,
        locks_dir=folder / "locks", **overrides,
    )  # fmt: skip


def slices_of(listed: Listed) -> dict[str, ListedSlice]:
    return {one.name: one for one in listed.slices}


def canonical(one: ListedSlice) -> Sequence[Item]:
    """The order in which the pipeline hands items over."""
    return sorted(one.items, key=lambda i: i.key if one.container else (key_hash(i.key), i.key))


def identities(listed: Listed) -> Mapping[str, Mapping[str, str]]:
    return {name: {item.key: item.identity for item in one.items} for name, one in slices_of(listed).items()}


class Fetched:
    """Everything that a fetch gave."""

    def __init__(self, events: Iterable[Event]) -> None:
        everything = list(events)
        self.events = [event for event in everything if isinstance(event, Record | Reject)]
        self.companions = [event for event in everything if isinstance(event, Companion)]
        self.left_out = [event for event in everything if isinstance(event, LeftOut)]
        self.caption_counts = [event.counts for event in everything if isinstance(event, JoinedCaptions)]
        self.records = [event for event in self.events if isinstance(event, Record)]
        self.rejects = [event for event in self.events if isinstance(event, Reject)]

    def image(self, index: int) -> bytes:
        """Of a record that has one image."""
        [image] = _encoded(self.records[index])
        return image

    @property
    def images(self) -> list[bytes]:
        return [self.image(index) for index in range(len(self.records))]

    def content(self) -> list[tuple[Any, ...]]:
        """What must be equal between two fetches of the same upstream."""
        return [
            (e.item, e.record, e.reason) if isinstance(e, Reject) else
            (e.item, e.record, e.key, _encoded(e), [(one.name, one.origin) for one in e.images],
             e.origin, e.text, e.messages, e.label, e.extra)
            for e in self.events
        ]  # fmt: skip


def _encoded(record: Record) -> list[bytes]:
    return [one.data.read_bytes() if isinstance(one.data, Path) else one.data for one in record.images]


def fetch_slice(
    source: Source[Any], spec: SourceSpec, folder: Path, listed: Listed, name: str, **overrides: Any
) -> Fetched:
    one = slices_of(listed)[name]
    return Fetched(source.fetch(spec, canonical(one), fetch_context(folder, listed, name, **overrides)))
