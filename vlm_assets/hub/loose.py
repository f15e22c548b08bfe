"""A repository's loose images: which are items, what tables and sidecars say of them, and their records."""

import posixpath
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from vlm_assets.captions.joining import CaptionRow
from vlm_assets.captions.samples import caption_events
from vlm_assets.captions.sidecars import is_sidecar_name, match_sidecars, named_like
from vlm_assets.captions.trees import (
    METADATA_NAMES,
    Caption,
    CaptionRule,
    Tree,
    TreeCaptions,
    caption_payload,
    tree_captions,
)
from vlm_assets.hub.left_out import is_companion
from vlm_assets.hub.member_names import MemberNames
from vlm_assets.hub.repo_files import RepoFile
from vlm_assets.hub.splits import DataSplit
from vlm_assets.words.errors import Reject
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Item, Record, RecordImage

IMAGEFOLDER = "imagefolder"


@dataclass(frozen=True, slots=True)
class RepoFiles:
    """A repository's files at one commit, by path."""

    tree: Mapping[str, RepoFile]
    open: Callable[[str], IO[bytes]]
    """Reads one whole, out of the cache where it can."""
    where: str
    spool_dir: Path
    names: MemberNames

    def by_key(self) -> dict[str, RepoFile]:
        """By NFC path."""
        return {nfc(path): file for path, file in self.tree.items()}


def loose_items(
    splits: Sequence[DataSplit], files: RepoFiles, rule: CaptionRule, beside: Collection[str] = ()
) -> tuple[list[list[Item]], Mapping[str, Any]]:
    """The items of one config's splits of loose images, split by split, and what found no partner.

    `beside`: keys of tables that archives look into too. A table speaks of all splits. An image that rows name only
    beside another is none; nor is one that no row names, where the README says which tables are the config's.

    Raises:
        SourceError: a table that cannot be read for certain, or all of whose rows name nothing.
    """
    by_key = files.by_key()
    if rule.sidecars:
        return _with_sidecars(splits, by_key)
    tables, above = _tables(splits, by_key, rule)
    missing: defaultdict[str, dict[str, None]] = defaultdict(dict)

    def missed(table: str, row: CaptionRow) -> None:
        names = [image.name for image in row.images]
        if names:
            folder = table.rpartition("/")[0]
            missing[table][nfc(posixpath.normpath(posixpath.join(folder, names[0].replace("\\", "/"))))] = (
                None
            )

    tree = Tree(
        by_key.keys() - tables,
        tables,
        lambda key: files.open(by_key[key].path),
        lambda key: f"{files.where}: {key}",
        optional=above,
        beside=beside,
        counted=[nfc(path) for split in splits for path in split.files],
    )
    own_rule = replace(rule, tables=tuple({key.rpartition("/")[2] for key in tables}))
    with tree_captions(own_rule, tree, files.spool_dir, missed) as captions:
        listed = [
            [
                *_named_items(split, by_key, captions),
                *(
                    Item(key, "", {"format": IMAGEFOLDER, "split": _name(split), "missing": True})
                    for key in sorted({key for table in split.metadata_files for key in missing[nfc(table)]})
                ),
            ]
            for split in splits
        ]
        return listed, captions.counts


def loose_events(
    item: Item, paths: Sequence[Path], rule: CaptionRule, origin: Callable[[str], str]
) -> Iterator[Record | Reject]:
    """A loose image once a caption. `paths`: its file, those beside it, its sidecars.

    Its folder is its label, as `datasets` has it, where no row names one.

    Raises:
        SourceError: a sidecar that cannot be read for certain.
    """
    payload = item.payload
    own = origin(payload["file"]["path"])
    beside = dict(zip(payload.get("beside", {}), paths[1:], strict=False))
    captions = payload.get("captions", ())
    if sidecars := payload.get("sidecars"):
        said = zip(sidecars, paths[1 + len(beside) :], strict=True)
        captions = [
            rule.sidecar_words([_sidecar(file["path"], path, origin) for file, path in said]).as_json()
        ]
    folder = PurePosixPath(item.key).parent.name

    def open_image(key: str) -> RecordImage:
        if key == item.key:
            return RecordImage(paths[0], origin=own)
        return RecordImage(beside[key], origin=origin(payload["beside"][key]["path"]))

    yield from caption_events(
        item.key, item.key, own, RecordImage(paths[0]), captions,
        open_image=open_image, extra={"label": folder} if folder else None,
    )  # fmt: skip


def files_beside(item: Item) -> list[RepoFile]:
    """What a loose image's records need besides its own file, in the order that `loose_events` takes."""
    told = [*item.payload.get("beside", {}).values(), *item.payload.get("sidecars", ())]
    return [RepoFile(**one) for one in told]


def _sidecar(name: str, path: Path, origin: Callable[[str], str]) -> tuple[str, str, Callable[[], IO[bytes]]]:
    return name, origin(name), lambda: path.open("rb")


def _name(split: DataSplit) -> str:
    return f"{split.config}/{split.split}"


def _tables(
    splits: Sequence[DataSplit], by_key: Mapping[str, RepoFile], rule: CaptionRule
) -> tuple[set[str], set[str]]:
    """The tables that speak of the splits' images, and those of them that may be of something else."""
    if rule.tables != METADATA_NAMES:
        return {key for key in by_key if rule.may_own(key)}, set()
    own = {nfc(path) for split in splits for path in split.metadata_files}
    above = {nfc(path) for split in splits for path in split.metadata_above} - own
    return own | above, above


def _named_items(split: DataSplit, by_key: Mapping[str, RepoFile], captions: TreeCaptions) -> Iterator[Item]:
    for key in map(nfc, split.files):
        said = captions.of(key)
        if (split.metadata_selects and not said) or captions.only_named_beside(key):
            continue
        yield _item(key, split, by_key, said)


def _item(key: str, split: DataSplit, by_key: Mapping[str, RepoFile], said: Sequence[Caption]) -> Item:
    file = by_key[key]
    words, told = caption_payload(said)
    beside = {other: by_key[other] for one in said for other in sorted(one.beside - {key})}
    payload = {"format": IMAGEFOLDER, "split": _name(split), "file": asdict(file), **words}
    if beside:
        payload["beside"] = {other: asdict(one) for other, one in sorted(beside.items())}
    identity = [
        file.identity,
        *([told] if told else []),
        *(one.identity for _, one in sorted(beside.items())),
    ]
    return Item(key, "+".join(identity), payload, file.size_bytes)


def _with_sidecars(
    splits: Sequence[DataSplit], by_key: Mapping[str, RepoFile]
) -> tuple[list[list[Item]], Mapping[str, Any]]:
    """Items with their sidecars, which are read when they are fetched."""
    images = [nfc(path) for split in splits for path in split.files]
    matched = match_sidecars(images, filter(is_sidecar_name, by_key))
    listed = [
        [_item_with(key, split, by_key, matched.by_image.get(key, ())) for key in map(nfc, split.files)]
        for split in splits
    ]
    others = [key for key in by_key.keys() - set(images) if not is_sidecar_name(key)]
    not_words = {*filter(is_companion, matched.unused), *named_like(matched.unused, others)}
    counts = {
        "sidecars": len({name for names in matched.by_image.values() for name in names}),
        "sidecars_unused": len([name for name in matched.unused if name not in not_words]),
        "images": len(images),
        "images_without_rows": len(set(images) - matched.by_image.keys()),
    }
    return listed, counts


def _item_with(key: str, split: DataSplit, by_key: Mapping[str, RepoFile], sidecars: Sequence[str]) -> Item:
    item = _item(key, split, by_key, ())
    if not sidecars:
        return item
    files = [by_key[name] for name in sidecars]
    payload = {**item.payload, "sidecars": [asdict(file) for file in files]}
    return replace(
        item, payload=payload, identity="+".join([item.identity, *(one.identity for one in files)])
    )
