"""`github_release`: assets of a GitHub release: archives, split ones too, and data files row by row; loose images.

The release is pinned by its tag, each asset by its digest (by id, size and time of upload where GitHub has none: that
it is still the same is asked after it was fetched).
API answers are kept with their ETag: an unchanged release costs requests that GitHub does not count.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, Literal, Self

from pydantic import Field

from vlm_assets.archives.limits import ArchiveLimits, MissingPartsError
from vlm_assets.archives.names import (
    is_hidden,
    is_image_name,
    is_junk,
    is_opened,
    is_unread_archive,
    suffix_of,
)
from vlm_assets.archives.split import find_split_archives, last_parts_missing
from vlm_assets.captions.keys import CAPTION_KEYS, CaptionKeys
from vlm_assets.captions.samples import caption_events
from vlm_assets.catalog.place_forms import PlaceForm
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.sources._archives import NO_IMAGES, member_events, tables_beside
from vlm_assets.sources._data_files import ROWS, DataFile, check_words, data_format, row_events
from vlm_assets.sources._github_api import GithubApi, ReleaseSpec, check_unreplaced, token_of
from vlm_assets.sources._github_tables import row_items
from vlm_assets.sources._hints import unread_hints
from vlm_assets.sources._listed_captions import Said, Sorted, beside_of, may_speak, with_captions
from vlm_assets.sources.protocol import Obtained, Requests, Traits
from vlm_assets.words.contexts import FetchContext, ListContext, SourceSettings
from vlm_assets.words.errors import LeftOut, LeftOutReason, Reject, SourceError
from vlm_assets.words.layout import bucket_name, bucket_of, nfc, slice_key
from vlm_assets.words.records import Event, Item, Listed, ListedSlice, Record, RecordImage

if TYPE_CHECKING:
    from vlm_assets.transfer.client import Client

_LOOSE: Final = "files"


class GithubReleaseSpec(CaptionKeys, ReleaseSpec):
    """Keys of `github_release`. Assets that hold the images' words need not be among `assets`."""

    BYTES_KEYS: ClassVar[tuple[str, ...]] = ("repo", "text_column", "messages_column", *CAPTION_KEYS)

    PLACE: ClassVar[PlaceForm] = PlaceForm(
        page=re.compile(
            r"(?:(?:https?://)?(?:www\.)?github\.com/|git@github\.com:)([\w.-]+/[\w.-]+?)(?:\.git)?"
            r"(?:/releases/(?:tag|download)/([^/?#]+))?(?:[/?#].*)?"
        ),
        beside="tag",
    )
    kind: Literal["github_release"]
    assets: tuple[str, ...] = Field(("*",), min_length=1, description="Globs over asset names.")
    files_per_slice: int = Field(10_000, ge=1)
    """Loose images of a bucket."""

    def at_revision(self, revision: str) -> Self:
        """Of that tag."""
        return self.model_copy(update={"tag": revision})


class GithubRelease:
    """A slice is an archive or a data file among the assets, or a bucket of loose images."""

    kind: ClassVar[str] = "github_release"
    version: ClassVar[int] = 2
    spec_type: ClassVar[type[SourceSpec]] = GithubReleaseSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.ONE_AN_ITEM,
        renders_pages=False,
        memory_mib=8_192,
        badges=frozenset({"github"}),
        obtained=Obtained.PUBLIC,
    )

    def list(self, spec: GithubReleaseSpec, context: ListContext) -> Listed:
        """The assets of the release that match; see `Source.list`."""
        release, assets = GithubApi(spec, context).release_with_assets()
        names = sorted(asset["name"] for asset in assets)
        wanted = [one for one in assets if any(fnmatchcase(one["name"], glob) for glob in spec.assets)]
        archives, loose, left_out, unknown = _sorted_out(wanted)
        _by_content(spec, context, unknown, archives, loose, left_out)
        tables = _tables(spec, context, wanted, left_out)
        left_out += [_left_out(one, LeftOutReason.EXCLUDED) for one in assets if one not in wanted]
        if not archives and not loose and not tables:
            told = "; ".join([f"there are: {', '.join(names) or 'none'}", *unread_hints(left_out)])
            raise SourceError(
                f"source {spec.name}: no archive and no image among the assets of {spec.repo} "
                f"{release['tag_name']} matches {', '.join(spec.assets)}; {told}"
            )
        said = _with_captions(spec, context, Sorted(loose, archives, left_out), assets)
        loose, archives = said.sorted.items, said.sorted.archives
        planned = -(-len(loose) // spec.files_per_slice)
        count = spec.buckets or context.previous_buckets.get(_LOOSE) or max(planned, 1)
        slices = [ListedSlice(item.key, [item], container=True) for item in (*archives, *tables)]
        by_bucket: dict[int, list[Item]] = {}
        for item in loose:
            by_bucket.setdefault(bucket_of(item.key, count), []).append(item)
        slices += [
            ListedSlice(
                f"{_LOOSE}--{bucket_name(bucket, count)}" if count > 1 else _LOOSE,
                items, items_per_slice=spec.files_per_slice,
            )
            for bucket, items in sorted(by_bucket.items())
        ]  # fmt: skip
        return Listed(
            str(release["tag_name"]), slices, {_LOOSE: count} if loose else {},
            {"captions": said.counts} if said.counts else {}, said.sorted.left_out,
            said.hints,
            upstream=len(assets),
            companions=said.companions
            + sum(len(one.payload["parts"]) - 1 for one in archives if "parts" in one.payload),
            captions_unused=said.captions_unused,
            word_keys=said.word_keys,
        )  # fmt: skip

    def fetch(self, spec: GithubReleaseSpec, items: Sequence[Item], context: FetchContext) -> Iterator[Event]:
        """Members of the archives, or the loose images themselves; see `Source.fetch`."""
        from vlm_assets.transfer.client import Client
        from vlm_assets.transfer.http import TransferError
        from vlm_assets.transfer.politeness import HostLimits

        limits = HostLimits.of(spec)
        with Client(context.settings, context.locks_dir, limits, cancelled=context.cancelled) as client:
            place = _Place(client, context.settings, context.spool_dir, context.force, context.progress)
            for item in items:
                archive = not item.payload.keys().isdisjoint(("parts", "archive", ROWS)) or is_opened(
                    item.key
                )
                try:
                    paths = [place.download(one) for one in _assets(item)]
                    beside = {
                        key: place.download(Item(key, "", payload, payload["size"]))
                        for key, payload in beside_of(item)
                    }
                except TransferError as error:
                    if archive:
                        raise
                    yield error.as_reject(item.key)
                    continue
                origin = f"github://{spec.repo}/{item.key}"
                if ROWS in item.payload:
                    yield from row_events(paths[0], item, origin, context)
                elif archive:
                    yield from _members(paths, item, beside, origin, spec, context)
                else:
                    yield from _loose(paths[0], item, beside, origin, spec)
                context.progress(1, 0)
            check_unreplaced(client, context.settings, spec, chain.from_iterable(map(_payloads, items)))
            context.measure("requests", client.requests)


def _sorted_out(
    assets: Sequence[dict[str, Any]],
) -> tuple[list[Item], list[Item], list[LeftOut], list[dict[str, Any]]]:
    """Archives, loose images, what is neither, and what their names do not tell."""
    by_name = {nfc(asset["name"]): asset for asset in assets}
    archives: list[Item] = []
    left_out = [
        _left_out(by_name.pop(name), LeftOutReason.OS_JUNK if is_junk(name) else LeftOutReason.HIDDEN)
        for name in sorted(by_name)
        if is_junk(name) or is_hidden(name)
    ]
    for split in find_split_archives(by_name):
        parts = [by_name.pop(name) for name in split.parts]
        if split.missing:
            reason, missing = LeftOutReason.SPLIT_ARCHIVE_INCOMPLETE, f"missing: {split.missing}"
            left_out += [_left_out(part, reason, missing) for part in parts]
        else:
            archives.append(_joined(split.name, [_item(part) for part in parts]))
    archives += [_item(one) for name, one in by_name.items() if is_opened(name)]
    loose = [_item(one) for name, one in by_name.items() if is_image_name(name)]
    unknown: list[dict[str, Any]] = []
    for name, one in by_name.items():
        if is_opened(name) or is_image_name(name):
            continue
        if suffix_of(name) in NO_IMAGES or is_unread_archive(name):
            left_out.append(_left_out(one, LeftOutReason.UNKNOWN_TYPE))
        else:
            unknown.append(one)
    return archives, loose, left_out, unknown


def _tables(
    spec: GithubReleaseSpec,
    context: ListContext,
    wanted: Sequence[dict[str, Any]],
    left_out: list[LeftOut],
) -> list[Item]:
    """The data files with images among the assets, which are left out no more; the others say why they are."""
    from vlm_assets.transfer.client import Client
    from vlm_assets.transfer.politeness import HostLimits

    rule = spec.caption_rule()
    names = {nfc(one["name"]): one for one in wanted}
    found = [_item(one) for name, one in names.items() if data_format(name) and not rule.may_own(name)]
    if not found:
        return []
    tables: list[tuple[Item, DataFile]] = []
    with Client(context.settings, context.locks_dir, HostLimits.of(spec)) as client:
        kept = context.cache_dir / "looked_at"
        for item, how in row_items(
            found,
            spec,
            client,
            lambda one: _address(one.payload, context.settings),
            kept,
            context.settings.max_image_bytes,
        ):
            left_out[:] = [one for one in left_out if one.key != item.key]
            if isinstance(how, str):
                left_out.append(_left_out(names[item.key], LeftOutReason.UNKNOWN_TYPE, how))
            else:
                tables.append((item, how))
    check_words(spec.name, spec, (how for _, how in tables))
    return [item for item, _ in tables]


def _by_content(
    spec: GithubReleaseSpec,
    context: ListContext,
    unknown: Sequence[dict[str, Any]],
    archives: list[Item],
    loose: list[Item],
    left_out: list[LeftOut],
) -> None:
    """Puts assets whose names tell nothing where their first bytes belong."""
    from vlm_assets.sources._heads import ARCHIVE, IMAGE, Heads
    from vlm_assets.transfer.client import Client
    from vlm_assets.transfer.politeness import HostLimits

    if not unknown:
        return
    with Client(context.settings, context.locks_dir, HostLimits.of(spec)) as client:
        heads = Heads(client, context.cache_dir / "heads.json")
        for asset in unknown:
            item = _item(asset)
            url, headers = _address(item.payload, context.settings)
            kind, told = heads.what(item.key, item.identity, url, headers)
            if kind == IMAGE:
                loose.append(item)
            elif kind == ARCHIVE:
                archives.append(replace(item, payload={**item.payload, "archive": True}))
            else:
                left_out.append(_left_out(asset, LeftOutReason.UNKNOWN_TYPE, told))
        heads.save()


def _with_captions(
    spec: GithubReleaseSpec, context: ListContext, found: Sorted, assets: Sequence[dict[str, Any]]
) -> Said:
    """What is said of the assets, with the tables among them read."""
    from vlm_assets.transfer.client import Client
    from vlm_assets.transfer.http import TransferError
    from vlm_assets.transfer.politeness import HostLimits

    rule, where = spec.caption_rule(), f"source {spec.name}: {spec.repo}"

    def read(table: Item) -> BinaryIO:
        with Client(context.settings, context.locks_dir, HostLimits.of(spec)) as client:
            try:
                return _Place(client, context.settings, context.cache_dir).download(table).open("rb")
            except TransferError as error:
                raise error.told(f"{where}, {table.key}") from None

    return with_captions(
        rule,
        found,
        [_item(one) for one in assets if may_speak(rule, nfc(one["name"]))],
        read,
        images=[item.key for item in found.items],
        where=where,
        spool_dir=context.cache_dir,
    )


def _left_out(asset: dict[str, Any], reason: LeftOutReason, detail: str = "") -> LeftOut:
    return LeftOut(nfc(asset["name"]), reason, detail, asset["size"])


def _item(asset: dict[str, Any]) -> Item:
    if asset.get("state", "uploaded") != "uploaded":
        raise SourceError(
            f"asset {asset['name']} is still being uploaded ({asset['state']}); list again later"
        )
    digest = str(asset.get("digest") or "")
    sha256 = digest.removeprefix("sha256:") if digest.startswith("sha256:") else ""
    payload = {
        "id": asset["id"], "api": asset["url"], "url": asset["browser_download_url"], "sha256": sha256,
        "size": asset["size"], **asset["held_to"],
    }  # fmt: skip
    identity = sha256 or f"{asset['id']}:{asset['size']}:{asset['updated_at']}"
    return Item(nfc(asset["name"]), identity, payload, asset["size"])


def _joined(name: str, parts: Sequence[Item]) -> Item:
    """A split archive: its parts' payloads, each with its name."""
    payloads = [{**part.payload, "name": part.key} for part in parts]
    return Item(
        name, "+".join(part.identity for part in parts), {"parts": payloads},
        sum(part.size_bytes or 0 for part in parts),
    )  # fmt: skip


def _assets(item: Item) -> list[Item]:
    """The assets that make up an item, in order."""
    parts = item.payload.get("parts")
    return [item] if parts is None else [Item(one["name"], "", one, one["size"]) for one in parts]


def _payloads(item: Item) -> Iterator[Mapping[str, Any]]:
    """Of every asset that goes into an item."""
    yield from (one.payload for one in _assets(item))
    yield from (payload for _, payload in beside_of(item))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where assets go."""

    client: "Client"
    settings: SourceSettings
    folder: Path
    force: bool = False
    progress: Callable[[int, int], None] = lambda items, size_bytes: None  # noqa: ARG005 - does nothing

    def download(self, item: Item) -> Path:
        """The asset's verified file; not asked for where it lies there already.

        Raises:
            TransferError: it cannot be had.
            SourceError: it is not the one that was listed.
        """
        payload = item.payload
        path = self.folder / f"{payload['id']}-{slice_key(item.key)}"
        if self.force:
            path.unlink(missing_ok=True)
        if path.exists():  # complete and verified, or it would not have that name
            return path
        url, headers = _address(payload, self.settings)
        done = self.client.download_file(
            url, path, headers=headers,
            sha256=payload["sha256"] or None, progress=lambda size_bytes: self.progress(0, size_bytes),
        )  # fmt: skip
        if item.size_bytes is not None and done.size_bytes != item.size_bytes:
            path.unlink(missing_ok=True)
            raise SourceError(
                f"asset {item.key} has {done.size_bytes} bytes, {item.size_bytes} when it was listed; list it again"
            )
        return path


def _loose(
    path: Path, item: Item, beside: Mapping[str, Path], origin: str, spec: GithubReleaseSpec
) -> Iterator[Record | Reject]:
    """A loose image, once a caption."""
    captions = item.payload.get("captions", ())
    if sidecars := item.payload.get("sidecars"):
        files = [(name, f"{origin} and {name}", partial(_opened, beside[name])) for name in sidecars]
        captions = [spec.caption_rule().sidecar_words(files).as_json()]
    base = origin.removesuffix(item.key)

    def open_image(key: str) -> RecordImage:
        return RecordImage(path) if key == item.key else RecordImage(beside[key], origin=base + key)

    yield from caption_events(item.key, item.key, origin, RecordImage(path), captions, open_image=open_image)


def _members(
    paths: Sequence[Path],
    item: Item,
    tables: Mapping[str, Path],
    origin: str,
    spec: GithubReleaseSpec,
    context: FetchContext,
) -> Iterator[Event]:
    from vlm_assets.archives.captions import member_captions
    from vlm_assets.archives.read import Reading, read_members

    reading = Reading(
        ArchiveLimits(context.settings.max_image_bytes), encoding=spec.encoding, spool_dir=context.spool_dir
    )
    beside = tables_beside({key: partial(_opened, path) for key, path in tables.items()}, item)
    walk = partial(read_members, paths, where=origin)
    try:
        with member_captions(
            spec.caption_rule(), item.key, walk, reading, where=origin, beside=beside
        ) as captions:
            yield from member_events(walk(reading), item, origin, captions=captions)
    except MissingPartsError as error:
        yield from last_parts_missing(
            item.key, [(part.key, part.size_bytes) for part in _assets(item)], error, tables
        )


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def _address(payload: Mapping[str, Any], settings: SourceSettings) -> tuple[str, dict[str, str]]:
    """Where an asset is had, and what to say there.

    Only the API's own URL opens private assets; the public one costs none of the hourly requests.
    """
    headers = {"Accept": "application/octet-stream"}
    token = token_of(settings)
    if not token:
        return payload["url"], headers
    return payload["api"], headers | {"Authorization": f"Bearer {token}"}


SOURCE = GithubRelease()
