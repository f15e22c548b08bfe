"""Captions of an archive's members: out of tables and sidecars in it, and tables beside it.

The archive is walked once more before its images are read, over its names and the bytes of what may hold words.
"""

import io
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from vlm_assets.archives.members import Found, Member
from vlm_assets.archives.names import archive_stem
from vlm_assets.archives.read import Reading
from vlm_assets.captions.joining import CaptionRow
from vlm_assets.captions.naming_tables import unused_in_archive
from vlm_assets.captions.samples import caption_events
from vlm_assets.captions.trees import CaptionRule, Tree, TreeCaptions, tree_captions
from vlm_assets.words.caption_counts import GUESSED_NAME
from vlm_assets.words.caption_rows import BESIDE, beside_archives, joined_rows, sum_counts
from vlm_assets.words.errors import Companion, LeftOut, LeftOutReason, Reject, SourceError
from vlm_assets.words.records import JoinedCaptions, Record, RecordImage

_IN_MEMORY_BYTES: Final = 32 * 2**20
WITHHELD: Final = "words_withheld"
"""Remark of an image without words: a row's name means another file too, and nobody knows which. 1 an image."""


Given = TypeVar("Given")


class _Every(Container[str]):
    """Holds every name."""

    def __contains__(self, name: object) -> bool:
        return True


EVERY: Final[Container[str]] = _Every()


@dataclass(frozen=True, slots=True)
class TablesBeside:
    """Tables outside an archive that may speak of its members, by path in the same tree as the archive."""

    open: Mapping[str, Callable[[], IO[bytes]]] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    """Those whose rows may name nothing in it, and that may be of something else."""
    unfolded: bool = True
    """Whether a name without the archive's own means a member: not where it could mean another archive's."""
    settled: bool = False
    """Whether all rows are known to name files beside the archive: then no name has to say which one it means, and
    none without the archive's own means a member."""
    stemmed: bool = True
    """Whether its name without the suffix means it: not where another archive beside has the same."""
    unsure: Container[str] = frozenset()
    """Members that a name without the archive's own does not mean, for it means another file too."""


@dataclass(frozen=True, slots=True)
class MemberCaptions:
    """What is said of an archive's members."""

    of: Callable[[str], list[dict[str, Any]]] = lambda name: []  # noqa: ARG005 - says nothing
    """All captions of a member by its name, as `caption_events` takes them."""
    only_named_beside: Callable[[str], bool] = lambda name: False  # noqa: ARG005
    """Whether rows name a member, but each beside another: no sample of its own."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """Of all tables that may speak of the archive."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """The same for `counted`: of what lies in the archive, and row by row of the tables beside it."""
    companions: frozenset[str] = frozenset()
    """Members whose words were joined to images."""
    may_own: Callable[[str], bool] = lambda name: False  # noqa: ARG005
    """Whether a member may hold words, from its name."""
    beside: Mapping[str, Path] = field(default_factory=dict)
    """Copies of the members that rows name beside others."""
    is_asked: bool = True
    """Whether the catalogue asks for words."""
    withheld: Container[str] = frozenset()
    """Members that rows may mean: no words of theirs are given."""
    _given: Counter[str] = field(default_factory=Counter)
    """Images that `events` gave, and those of them that nothing is said of."""

    def counted(self, item: str, events: Iterator[Given]) -> Iterator[Given | JoinedCaptions]:
        """The events of an archive's members, and what became of its captions."""
        if self.told:  # first: nobody may read on to the end
            yield JoinedCaptions(item, self.told)
        yield from events
        if self._given and self.is_asked:
            yield JoinedCaptions(item, dict(self._given))

    def events(
        self,
        member: Member,
        item: str,
        key: str,
        origin: str,
        *,
        first_record: int,
        extra: Mapping[str, Any] | None = None,
    ) -> Iterator[Record | Reject]:
        """The records of a member that has bytes: one, or one a caption; none where it only stands beside others.

        `origin` is the archive's.
        """
        if self.only_named_beside(member.name):
            return
        image = RecordImage(member.data or b"")

        def open_image(name: str) -> RecordImage:
            if name == member.name:
                return image
            return RecordImage(self.beside[name].read_bytes(), origin=f"{origin}!{name}")

        said = self.of(member.name)
        self._given.update(images=1, images_without_rows=int(not said))
        remarks = {WITHHELD: 1} if not said and member.name in self.withheld else {}
        remarks |= {GUESSED_NAME: 1} if member.guessed else {}
        for event in caption_events(
            item, key, f"{origin}!{member.name}", image, said,
            open_image=open_image, extra=extra, first_record=first_record,
        ):  # fmt: skip
            if remarks and isinstance(event, Record):
                yield replace(event, remarks={**event.remarks, **remarks})
            else:
                yield event

    def left_out(self, member: LeftOut) -> LeftOut | Companion:
        """What was left out; a companion where its words were joined to an image, told as such where to none.

        A table that may hold captions is an unused one, though nobody asks for it.
        """
        if member.key in self.companions:
            return Companion(member.key)
        if member.reason is LeftOutReason.UNKNOWN_TYPE and self.may_own(member.key):
            return replace(member, reason=LeftOutReason.UNUSED_COMPANION, detail="")
        return unused_in_archive(member)


@contextmanager
def member_captions(
    rule: CaptionRule,
    archive: str,
    walk: Callable[[Reading], Iterator[Found]],
    reading: Reading,
    *,
    where: str,
    beside: TablesBeside = TablesBeside(),
) -> Iterator[MemberCaptions]:
    """The captions of the members of `archive`, a path in its tree, which `walk` reads from its start each time.

    A table in it speaks from its own folder on. One beside it may name a member as if it were unpacked in its
    place, in a folder of the archive's name, or below the archive's whole name.

    Raises:
        SourceError: what may hold words cannot be read for certain, or names nothing; the archive cannot be read.
    """
    if not rule.sidecars and not rule.tables:
        yield MemberCaptions(is_asked=False)
        return
    with tempfile.SpooledTemporaryFile(
        _IN_MEMORY_BYTES,
        dir=None if reading.spool_dir is None else str(reading.spool_dir),
        prefix="captions-",
    ) as spool:
        texts = _Texts(spool)
        names = _sorted_out(rule, walk, reading, texts)
        if not texts.places and not beside.open:
            yield MemberCaptions(may_own=rule.may_own)
            return
        paths = _Paths(
            archive,
            names,
            beside=bool(beside.open),
            unfolded=beside.unfolded,
            unsure=EVERY if beside.settled else beside.unsure,
            stemmed=beside.stemmed,
        )
        inside = {f"{archive}/{name}": name for name in texts.places}

        def open_text(key: str) -> IO[bytes]:
            return texts.open(inside[key]) if key in inside else beside.open[key]()

        tree = Tree(
            paths,
            [*inside, *beside.open],
            open_text,
            lambda key: f"{where}!{inside[key]}" if key in inside else f"{where}, beside it {key}",
            optional=beside.optional,
            beside=beside.open,
            counted=[f"{archive}/{name}" for name in names],
        )
        spool_dir = reading.spool_dir or Path(tempfile.gettempdir())
        with tree_captions(rule, tree, spool_dir, _refusal(archive, names, beside)) as captions:
            found = MemberCaptions(
                lambda name: _said(captions, name, paths),
                lambda name: _only_beside(captions, paths.of(name)),
                captions.counts,
                _told(captions.counts, beside),
                frozenset(inside[key] for key in captions.companions if key in inside),
                rule.may_own,
                withheld=paths.asked,
            )
            if not captions.names_several:
                yield found
                return
            with tempfile.TemporaryDirectory(dir=spool_dir, prefix="beside-") as folder:
                wanted = {
                    image[2] for name in names for one in found.of(name) for image in one.get("images", ())
                }
                yield replace(found, beside=_copied(walk, reading, wanted, Path(folder)))


class _Texts:
    """Bytes of members, in a file."""

    def __init__(self, spool: Any) -> None:
        self._spool = spool
        self.places: dict[str, tuple[int, int]] = {}

    def add(self, name: str, data: bytes) -> None:
        self.places.setdefault(name, (self._spool.tell(), len(data)))
        self._spool.write(data)

    def open(self, name: str) -> IO[bytes]:
        start, size_bytes = self.places[name]
        self._spool.seek(start)
        return io.BytesIO(self._spool.read(size_bytes))


def _sorted_out(
    rule: CaptionRule, walk: Callable[[Reading], Iterator[Found]], reading: Reading, texts: _Texts
) -> Mapping[str, None]:
    """Names of the members that may be images; what may hold words goes to `texts`."""
    names: dict[str, None] = {}
    only_words = replace(reading, wanted=rule.may_own, unread=lambda name: not rule.may_own(name))
    for member in walk(only_words):
        if isinstance(member, LeftOut) or member.reason is not None:
            continue
        if member.data is None:
            names[member.name] = None
        else:
            texts.add(member.name, member.data)
    return names


class _Paths(Collection[str]):
    """Every path that a table may give a member: no path that could mean two of them."""

    def __init__(
        self,
        archive: str,
        names: Collection[str],
        *,
        beside: bool,
        unfolded: bool,
        unsure: Container[str] = frozenset(),
        stemmed: bool = True,
    ) -> None:
        folder = f"{archive.rpartition('/')[0]}/".lstrip("/")
        self._names = names
        self._own = f"{archive_stem(archive)}/"
        """Where the archive holds a folder of its own name, no other one is meant by it."""
        self._prefixes = {f"{archive}/": True}
        """What may stand before a member's name, and whether it is this archive that it means."""
        self._unfolded: tuple[str, str] | None = None
        """What may stand before one, and what the name must begin with then."""
        self._unsure = unsure
        self.asked: set[str] = set()
        """Members that a table may mean, and that it may not name so."""
        if beside:
            self._prefixes[f"{folder}{self._own}"] = stemmed
            self._unfolded = (folder, "" if unfolded else self._own)
        self._stemmed = stemmed

    def member(self, path: object) -> str | None:
        """The member that a path means."""
        meant = {name for name, is_sure in self._named(path) if is_sure}
        return meant.pop() if len(meant) == 1 else None

    def _named(self, path: object) -> Iterator[tuple[str, bool]]:
        """The members that a path may name, and whether it means them."""
        if not isinstance(path, str):
            return
        for prefix, is_sure in self._prefixes.items():
            if path.startswith(prefix) and (name := path[len(prefix) :]) in self._names:
                yield name, is_sure
        if self._unfolded is None:
            return
        prefix, start = self._unfolded
        if path.startswith(f"{prefix}{start}") and (name := path[len(prefix) :]) in self._names:
            is_own = name.startswith(self._own)
            yield name, self._stemmed if is_own else name not in self._unsure

    def of(self, name: str) -> list[str]:
        """All paths of a member."""
        prefixes = [*self._prefixes, *([self._unfolded[0]] if self._unfolded else [])]
        return [path for path in (f"{prefix}{name}" for prefix in prefixes) if self.member(path) is not None]

    def __contains__(self, path: object) -> bool:
        if self.member(path) is not None:
            return True
        self.asked.update(name for name, is_sure in self._named(path) if not is_sure)
        return False

    def __iter__(self) -> Iterator[str]:
        return (path for name in self._names for path in self.of(name))

    def __len__(self) -> int:
        return len(self._names)


def _said(captions: TreeCaptions, name: str, paths: _Paths) -> list[dict[str, Any]]:
    """What is said of a member under any of its paths, its images by their names in the archive."""
    return [
        replace(
            one, images=tuple(image._replace(key=paths.member(image.key)) for image in one.images)
        ).as_json()
        for path in paths.of(name)
        for one in captions.of(path)
    ]


def _told(counts: Mapping[str, Any], beside: TablesBeside) -> dict[str, Any]:
    """What `MemberCaptions.counted` tells of them: images are counted as they are given."""
    apart: Mapping[str, Any] = counts.get(BESIDE, {})
    told = {
        name: counts[name]
        for name in ("rows", "joined", "name_nothing", "sidecars", "sidecars_unused", "examples")
        if name in counts
    }
    if apart:
        told["rows"] -= sum(one["rows"] for one in apart.values())
        told["joined"] -= sum(map(joined_rows, apart.values()))
    return sum_counts([told, {BESIDE: apart} if apart else {}, beside_archives(beside.open)])


def _only_beside(captions: TreeCaptions, paths: Sequence[str]) -> bool:
    return any(map(captions.only_named_beside, paths)) and not any(map(captions.of, paths))


def _copied(
    walk: Callable[[Reading], Iterator[Found]], reading: Reading, wanted: Collection[str], folder: Path
) -> dict[str, Path]:
    """Members that have bytes, as files."""
    only_wanted = replace(reading, wanted=lambda name: name in wanted, unread=lambda name: name not in wanted)
    copies: dict[str, Path] = {}
    for member in walk(only_wanted):
        if isinstance(member, Member) and member.data is not None and member.name in wanted:
            copies[member.name] = folder / str(len(copies))
            copies[member.name].write_bytes(member.data)
    return copies


def _refusal(archive: str, names: Collection[str], beside: TablesBeside) -> Callable[[str, CaptionRow], None]:
    """What raises where a table beside several archives names a member without saying which archive's."""
    known: Collection[str] = () if beside.unfolded or beside.settled else names

    def missed(table: str, row: CaptionRow) -> None:
        named = [image.name for image in row.images if image.name in known]
        if table in beside.open and named:
            raise SourceError(
                f"{row.place} names {named[0]!r}, and there are other archives beside; name it "
                f"{archive_stem(archive) if beside.stemmed else archive.rpartition('/')[2]}/{named[0]}"
            )

    return missed
