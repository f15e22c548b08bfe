"""Images in a repository's archives: which tables speak of an archive, and its members as records."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from vlm_assets.archives.captions import EVERY, MemberCaptions, TablesBeside, member_captions
from vlm_assets.archives.members import Found
from vlm_assets.archives.names import of_one_stem, packed_image_name, suffix_of, without_images
from vlm_assets.archives.read import Reading, read_members
from vlm_assets.captions.trees import METADATA_NAMES, CaptionRule
from vlm_assets.hub.member_names import MemberNames, unsure_names
from vlm_assets.hub.repo_files import RepoFile
from vlm_assets.hub.splits import DataSplit
from vlm_assets.words.errors import Companion, LeftOut, Reject, RejectReason
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Event, JoinedCaptions

ARCHIVE: Final = "archive"
WEBDATASET: Final = "webdataset"
PACKED: Final = frozenset({ARCHIVE, WEBDATASET})
"""Formats of files that tables beside them may speak of the inside of."""
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class PackedWords:
    """Where the words of an archive's images are looked for."""

    rule: CaptionRule = field(default_factory=CaptionRule)
    beside: TablesBeside = field(default_factory=TablesBeside)


def tables_for(
    path: str, split: DataSplit, splits: Sequence[DataSplit], tree: Mapping[str, RepoFile], rule: CaptionRule
) -> dict[str, Any]:
    """For an archive's payload: the tables beside and above it, and what they may be taken for; {} without any."""
    if not rule.tables:
        return {}
    declared = rule.tables != METADATA_NAMES
    own = {one for one in tree if rule.may_own(one)} if declared else set(split.metadata_files)
    above = set(() if declared else split.metadata_above)
    folder = PurePosixPath(path).parent
    others = [one for one in splits if one is not split and one.format in PACKED]
    told: dict[str, Any] = {}
    if split.metadata_selects and not declared:
        told["names"] = sorted(split.metadata_names)
    if own | above:
        told["files"] = {nfc(one): asdict(tree[one]) for one in sorted(own | above)}
        expected = own | {one for one in above if PurePosixPath(one).parent == folder}
        # A tar's samples need no table: one that names none of them is of something else.
        is_only_archive = len(split.files) == 1 and not others and split.format == ARCHIVE
        told["optional"] = sorted(map(nfc, (own | above) - (expected if is_only_archive else set())))
        told["unfolded"] = not any(
            PurePosixPath(file).parent == folder for one in others for file in one.files
        )
    return told


def tables_of_split(
    split: DataSplit,
    splits: Sequence[DataSplit],
    tree: Mapping[str, RepoFile],
    rule: CaptionRule,
    names: MemberNames,
) -> dict[str, dict[str, Any]]:
    """`tables_for` each archive of a split, and which of its members another file could be meant by.

    Raises:
        SourceError: the Hub cannot be reached.
    """
    told = {path: tables_for(path, split, splits, tree, rule) for path in split.files}
    packed = [path for one in splits if one.format in PACKED for path in one.files]
    for path in of_one_stem(packed) & told.keys():
        told[path] |= {"same_stem": True} if told[path].get("files") else {}
    unfolded = [path for path, one in told.items() if one.get("files") and one["unfolded"]]
    loose = [nfc(file) for one in splits if one.format == "imagefolder" for file in one.files]
    if not unfolded or (len(told) == 1 and not loose):
        return told
    parts = [[tree[part] for part in split.parts.get(path, (path,))] for path in told]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="hub-names") as pool:
        members = dict(zip(told, pool.map(names.of, told, parts), strict=True))
    unsure = unsure_names(members, loose)
    for path in unfolded:
        if unsure[path]:
            told[path] |= {"unsure": unsure[path], "optional": sorted(told[path]["files"])}
    return told


def packed_words(told: Mapping[str, Any], rule: CaptionRule, paths: Sequence[Path]) -> PackedWords:
    """What `tables_for` told, with the tables' files in the same order."""
    files = told.get("files", {})
    names = told.get("names") or [*rule.tables, *(key.rpartition("/")[2] for key in files)]
    unsure = told.get("unsure", ())
    beside = TablesBeside(
        {key: partial(_opened, path) for key, path in zip(files, paths, strict=True)},
        frozenset(told.get("optional", ())),
        unfolded=told.get("unfolded", True),
        stemmed=not told.get("same_stem", False),
        unsure=EVERY if unsure is True else frozenset(unsure),
    )
    return PackedWords(replace(rule, tables=tuple(dict.fromkeys(names)) if rule.tables else ()), beside)


def names_members(
    parts: Sequence[Path], item: str, origin: str, reading: Reading, words: PackedWords
) -> bool:
    """Whether tables beside an archive name any of its members.

    Raises:
        SourceError: the archive cannot be read to its end, or a table not for certain.
    """
    if not words.beside.open:
        return False
    walk = partial(read_members, parts, where=origin)
    with member_captions(words.rule, item, walk, reading, where=origin, beside=words.beside) as captions:
        return bool(captions.counts.get("joined"))


def unjoined(item: str, origin: str, reading: Reading, words: PackedWords) -> Iterator[JoinedCaptions]:
    """Rows of the tables beside an archive that joins none of them, for its samples have words of their own.

    Raises:
        SourceError: a table cannot be read for certain.
    """
    if not words.beside.open:
        return
    beside = replace(words.beside, optional=frozenset(words.beside.open))
    with member_captions(
        words.rule, item, lambda _: iter(()), reading, where=origin, beside=beside
    ) as captions:
        told = captions.told
    if told:
        yield JoinedCaptions(item, told)


def packed_records(
    parts: Sequence[Path], item: str, origin: str, reading: Reading, words: PackedWords
) -> Iterator[Event]:
    """All images of an archive, one sample a caption; and what became of its captions.

    A member's folder is its label where no row names one. That of a packed image (`cat/a.jpg.gz`) is its own.

    Raises:
        SourceError: the archive cannot be read to its end, or what may hold words not for certain.
    """

    def walk(how: Reading) -> Iterator[Found]:
        return read_members(parts, how, where=origin)

    with member_captions(words.rule, item, walk, reading, where=origin, beside=words.beside) as captions:
        yield from captions.counted(item, _member_events(walk(reading), item, origin, captions))


def _member_events(
    members: Iterator[Found], item: str, origin: str, captions: MemberCaptions
) -> Iterator[Event]:
    record = pdfs = 0
    for member in members:
        if isinstance(member, LeftOut):
            told = captions.left_out(member)
            pdfs += suffix_of(told.key) == ".pdf"
            yield replace(told, key=f"{item}/{told.key}".rstrip("/"))
        elif member.data is None:
            detail = f"{member.name}: {member.detail}"[:300]
            yield Reject(item, member.reason or RejectReason.UNREADABLE, detail, record)
            record += 1
        elif captions.only_named_beside(member.name):
            yield Companion(f"{item}/{member.name}")
        else:
            folder = PurePosixPath(item if packed_image_name(item) else member.name).parent.name
            extra = {"label": folder} if folder else None
            key = f"{item}/{member.name}"
            for event in captions.events(member, item, key, origin, first_record=record, extra=extra):
                yield event
                record += 1
    if not record:
        yield Reject(item, RejectReason.EMPTY, without_images(pdfs))


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")
