"""What the kinds whose items are archives share: their records, and which paths the catalogue lets through."""

from bisect import bisect_left
from collections import Counter
from collections.abc import (
    Callable,
    Collection,
    Container,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Any, Final

from vlm_assets.archives.names import packed_image_name, suffix_of, without_images
from vlm_assets.hub.groups import slices_of_group
from vlm_assets.sources._data_files import DATA_SUFFIXES
from vlm_assets.words.errors import Companion, LeftOut, LeftOutReason, Reject, RejectReason
from vlm_assets.words.layout import key_hash
from vlm_assets.words.records import Event, Item, KeysTell, ListedSlice

if TYPE_CHECKING:
    from vlm_assets.archives.captions import MemberCaptions, TablesBeside
    from vlm_assets.archives.members import Member


NO_IMAGES: Final = frozenset(
    {".csv", ".tsv", ".txt", ".caption", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".htm", ".py",
     ".ipynb", ".js", ".css", ".npy", ".npz", ".mat", ".pkl", ".pt", ".pth", ".h5", ".hdf5", ".sqlite",
     ".db", ".log", ".cfg", ".ini", ".sh", ".doc", ".docx", ".xls", ".xlsx", ".pdf", ".mp4", ".avi", ".mov", ".mkv",
     ".wav", ".mp3", ".rar"} | DATA_SUFFIXES
)  # fmt: skip
"""Suffixes that are believed before the bytes are here: of all others the bytes decide."""
ARCHIVES: Final = "archives"
"""The group of a source's archives, where they share slices."""
ARCHIVE_SLICES: Final = 200


@dataclass(frozen=True, slots=True)
class PathGlobs:
    """`include` and `exclude` of a source, over paths that go on inside archives (`train.zip/cat/a.jpg`)."""

    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()

    def lets_through(self, path: str) -> bool:
        """Whether a file is wanted; of a member: it is, or its whole archive is."""
        if not self.exclude and "*" in self.include:
            return True
        if any(fnmatchcase(path, glob) for glob in self.exclude):
            return False
        return any(fnmatchcase(path, glob) for glob in self.include)

    def opens(self, path: str) -> bool:
        """Whether an archive is to be opened: it, or something in it, may be wanted."""
        if any(fnmatchcase(path, glob) for glob in self.exclude):
            return False
        return any(
            fnmatchcase(path, glob) or glob.startswith((f"{path}/", "*")) or fnmatchcase(f"{path}/", glob)
            for glob in self.include
        )


def member_events(
    members: "Iterator[Member | LeftOut]",
    item: Item,
    origin: str,
    *,
    captions: "MemberCaptions",
    globs: PathGlobs | None = None,
    prefix: str = "",
) -> Iterator[Event]:
    """Records, rejects and what was left out of one archive, and what became of its captions.

    A record's key is `prefix` and the member's name, with the caption's number where the member has several. Members
    that `globs` do not let through are left out, unless they let their archive through as a whole.
    """
    events = _member_events(members, item, origin, captions=captions, globs=globs, prefix=prefix)
    yield from captions.counted(item.key, events)


def _member_events(
    members: "Iterator[Member | LeftOut]",
    item: Item,
    origin: str,
    *,
    captions: "MemberCaptions",
    globs: PathGlobs | None,
    prefix: str,
) -> Iterator[Event]:
    wants_all = globs is None or globs.lets_through(item.key)
    record, pdfs, has_excluded = 0, 0, False
    for member in members:
        if isinstance(member, LeftOut):
            told = captions.left_out(member)
            pdfs += suffix_of(told.key) == ".pdf"
            yield replace(told, key=f"{item.key}/{told.key}".rstrip("/"))
            continue
        path = f"{item.key}/{member.name}"
        excluded = globs is not None and (
            (not wants_all and not globs.lets_through(path))
            or any(fnmatchcase(path, glob) for glob in globs.exclude)
        )
        if excluded:
            has_excluded = True
            yield LeftOut(path, LeftOutReason.EXCLUDED, "", len(member.data or b"") or None)
            continue
        if member.data is None:
            detail = f"{member.name}: {member.detail}"[:300]
            yield Reject(item.key, member.reason or RejectReason.UNREADABLE, detail, record)
            record += 1
            continue
        if captions.only_named_beside(member.name):
            yield Companion(path)
            continue
        key = f"{prefix}{member.name}"
        for event in captions.events(member, item.key, key, origin, first_record=record):
            yield event
            record += 1
    if not record and not has_excluded:
        yield Reject(item.key, RejectReason.EMPTY, without_images(pdfs))


def tables_near(archive: str, tables: Iterable[str]) -> list[str]:
    """The tables that may speak of an archive's members: beside it and in the folders above, sorted."""
    folder = f"{archive.rpartition('/')[0]}/"
    return sorted(key for key in tables if folder.startswith(f"{key.rpartition('/')[0]}/".lstrip("/")))


def among_others(archives: Iterable[str]) -> set[str]:
    """Those in whose folder there are other archives: a table there must say which of them it means.

    A packed image (`a.jpg.gz`) is none of them: its name says what is in it.
    """
    keys = [key for key in archives if not packed_image_name(key)]
    count = Counter(key.rpartition("/")[0] for key in keys)
    return {key for key in keys if count[key.rpartition("/")[0]] > 1}


def tables_beside(open_tables: "Mapping[str, Callable[[], IO[bytes]]]", item: Item) -> "TablesBeside":
    """The tables beside an archive, as its payload tells them."""
    from vlm_assets.archives.captions import TablesBeside

    payload = item.payload
    optional = frozenset() if payload.get("expects") else frozenset(open_tables)
    return TablesBeside(
        open_tables,
        optional,
        unfolded=not payload.get("among_others", False),
        settled=payload.get("settled", False),
        stemmed=not payload.get("same_stem", False),
        unsure=_Paths(item.key, payload.get("unsure", "")),
    )


def _expects_words(archives: Collection[str], counts: Mapping[str, Any]) -> bool:
    """Whether the tables must speak of an archive's members: it is the only one, and they speak of nothing else."""
    return len(archives) == 1 and not counts.get("joined")


def loose_paths(named: Iterable[str], archives: Iterable[str]) -> list[str]:
    """What a table's row means rather than a member of an archive, sorted.

    `named`: keys of loose images that rows name. Packed images (`in/a.jpg.gz`) are among `archives`: `in/a.jpg`.
    """
    packed = (one for one in archives if packed_image_name(one))
    return sorted([*named, *(f"{_folder_of(one)}{packed_image_name(one)}" for one in packed)])


def beside_flags(
    archive: str,
    archives: Collection[str],
    counts: Mapping[str, Any],
    images: Collection[str],
    loose: Sequence[str],
) -> dict[str, Any]:
    """What the listing knows of the tables beside an archive, for its payload; only what is so.

    `archives`: keys of all; `images`: keys of loose ones. A table that names `a.jpg` means that, not what is in
    `a.jpg.gz` beside it, nor a member `a.jpg`; `loose`: see `loose_paths`.
    """
    inner = packed_image_name(archive)
    folder = _folder_of(archive)
    flags: dict[str, Any] = {
        "expects": _expects_words(archives, counts),
        "settled": (bool(counts.get("rows")) and not counts.get("elsewhere"))
        or bool(inner and f"{folder}{inner}" in images),
    }
    if not inner and not flags["settled"]:
        below = loose[bisect_left(loose, folder) : bisect_left(loose, f"{folder}\U0010ffff")]
        flags["unsure"] = "".join(f"{key_hash(key):016x}" for key in below)
    return {name: value for name, value in flags.items() if value}


def told_flags(flags: Mapping[str, Any]) -> str:
    """What of them decides words, for an archive's identity."""
    told = "".join(f":{name}" for name in ("settled", "same_stem") if flags.get(name))
    unsure = flags.get("unsure", "")
    return f"{told}:{sha256(unsure.encode()).hexdigest()[:16]}" if unsure else told


class _Paths(Container[str]):
    """Members of an archive that, unpacked in its place, lie where these paths are."""

    def __init__(self, archive: str, told: str) -> None:
        self._folder = _folder_of(archive)
        self._marks = frozenset(int(told[at : at + 16], 16) for at in range(0, len(told), 16))

    def __contains__(self, name: object) -> bool:
        return bool(self._marks) and key_hash(f"{self._folder}{name}") in self._marks


def _folder_of(key: str) -> str:
    return f"{key.rpartition('/')[0]}/".lstrip("/")


def archive_slices(
    archives: Sequence[Item],
    taken: Collection[str],
    previous: Mapping[str, int],
    buckets: MutableMapping[str, int],
) -> list[ListedSlice]:
    """A slice an archive, named after it; or buckets of archives where there are many, and ever after.

    `taken`: names of slices that are there already. Members are keyed below the keys of their archives.
    """
    if len(archives) <= ARCHIVE_SLICES and ARCHIVES not in previous:
        names = [f"{item.key}--archive" if item.key in taken else item.key for item in archives]
        slices = [
            ListedSlice(name, [item], container=True) for name, item in zip(names, archives, strict=True)
        ]
    else:
        slices = slices_of_group(
            ARCHIVES, archives, ARCHIVE_SLICES, fixed=None, previous=previous, buckets=buckets, container=True
        )
    return [replace(one, keys_tell=KeysTell.ABOVE) for one in slices]
