"""Members of a Kaggle archive as its directory tells them, and what each is: an item, or left out."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from vlm_assets.archives.limits import ArchiveLimits, Budget
from vlm_assets.archives.names import Encodings, is_hidden, is_image_name, is_junk, is_opened, suffix_of
from vlm_assets.archives.split import find_split_archives
from vlm_assets.archives.zips import ZipArchive, entry_name
from vlm_assets.captions.trees import CaptionRule
from vlm_assets.sources._archives import NO_IMAGES, PathGlobs
from vlm_assets.sources._data_files import data_format
from vlm_assets.sources._listed_captions import may_speak
from vlm_assets.words.errors import LeftOut, LeftOutReason
from vlm_assets.words.records import Item


@dataclass(frozen=True, slots=True)
class KaggleMember:
    """One member as the directory tells it."""

    index: int
    name: str
    crc: int
    size_bytes: int
    unsafe: str
    guessed: bool


def read_members_of(
    file: BinaryIO, archive_bytes: int, limits: ArchiveLimits, where: str, encoding: Encodings
) -> Iterator[KaggleMember]:
    """Every member but folders, in the directory's order.

    Raises:
        DamagedArchiveError: the directory cannot be read to its end.
        BombError: too many members.
    """
    budget = Budget(limits, archive_bytes, where)
    for entry in ZipArchive(file, budget).directory():
        budget.member()
        if not entry.is_folder:
            name, unsafe, guessed = entry_name(entry, encoding)
            yield KaggleMember(entry.index, name, entry.crc, entry.size_bytes, unsafe, guessed)


def sort_out(
    members: Iterable[KaggleMember], globs: PathGlobs
) -> tuple[list[Item], list[Item], list[LeftOut], list[KaggleMember]]:
    """Loose items, archives inside as items, what is neither, and data files that may hold images.

    A loose item whose payload says `by_content` is one only if its bytes are an image's.
    """
    loose: list[KaggleMember] = []
    archives: dict[str, KaggleMember] = {}
    left_out: list[LeftOut] = []
    data: dict[str, KaggleMember] = {}
    candidates = list(members)
    parts = {name for split in find_split_archives(one.name for one in candidates) for name in split.parts}
    for member in candidates:
        reason = _left_out_reason(member, globs, in_archive=member.name in parts or is_opened(member.name))
        if reason is LeftOutReason.UNKNOWN_TYPE and data_format(member.name):
            if data.setdefault(member.name, member) is not member:
                loose.append(member)
        elif reason is not None:
            left_out.append(left_out_of(member, reason))
        elif not member.unsafe and (member.name in parts or is_opened(member.name)):
            if member.name in archives:
                loose.append(member)  # the second of a name: a reject
            archives.setdefault(member.name, member)
        else:
            loose.append(member)
    items, incomplete = _archive_items(archives, globs)
    return list(_loose_items(loose, {*archives, *data})), items, left_out + incomplete, list(data.values())


def speakers_of(members: Iterable[KaggleMember], rule: CaptionRule, globs: PathGlobs) -> Iterator[Item]:
    """The members that may hold words: they need not be included, but nobody excludes them."""
    wanted = PathGlobs(exclude=globs.exclude)
    for one in members:
        if not one.unsafe and may_speak(rule, one.name) and wanted.lets_through(one.name):
            yield Item(one.name, identity_of(one), payload_of(one), one.size_bytes)


def left_out_of(member: KaggleMember, reason: LeftOutReason, detail: str = "") -> LeftOut:
    """A member that is no item."""
    return LeftOut(member.name, reason, detail, member.size_bytes)


def _left_out_reason(member: KaggleMember, globs: PathGlobs, *, in_archive: bool) -> LeftOutReason | None:
    if is_junk(member.name):
        return LeftOutReason.OS_JUNK
    if not member.unsafe and is_hidden(member.name):
        return LeftOutReason.HIDDEN
    if not (globs.opens(member.name) if in_archive else globs.lets_through(member.name)):
        return LeftOutReason.EXCLUDED
    known_other = suffix_of(member.name) in NO_IMAGES
    return LeftOutReason.UNKNOWN_TYPE if known_other and not member.unsafe and not in_archive else None


def _loose_items(members: Sequence[KaggleMember], taken: Collection[str]) -> Iterator[Item]:
    """Items with how often their name came before: from the second on they are rejects."""
    seen = Counter(taken)
    for member in members:
        repetition = seen[member.name]
        seen[member.name] += 1
        payload: dict[str, Any] = payload_of(member)
        if member.unsafe:
            payload["unsafe"] = member.unsafe
        elif not is_image_name(member.name):
            payload["by_content"] = True
        if repetition:
            payload["duplicate"] = True
        key = f"{member.name}#{repetition}" if repetition else member.name
        yield Item(key, identity_of(member), payload, member.size_bytes)


def _archive_items(archives: dict[str, KaggleMember], globs: PathGlobs) -> tuple[list[Item], list[LeftOut]]:
    items: list[Item] = []
    left_out: list[LeftOut] = []
    taken: set[str] = set()
    told = f":{list(globs.include)}{list(globs.exclude)}" if globs != PathGlobs() else ""
    for split in find_split_archives(archives):
        parts = [archives[name] for name in split.parts]
        taken.update(split.parts)
        if split.missing:
            detail = f"missing: {split.missing}"
            reason = LeftOutReason.SPLIT_ARCHIVE_INCOMPLETE
            left_out += [left_out_of(part, reason, detail) for part in parts]
        else:
            items.append(_archive_item(split.name, parts, told))
    items += [_archive_item(name, [one], told) for name, one in archives.items() if name not in taken]
    return items, left_out


def _archive_item(name: str, parts: Sequence[KaggleMember], told: str) -> Item:
    identity = "+".join(map(identity_of, parts)) + told
    return Item(
        name, identity, {"parts": [payload_of(one) for one in parts]}, sum(one.size_bytes for one in parts)
    )


def payload_of(member: KaggleMember) -> dict[str, Any]:
    """A member's place in the directory, and what must be there."""
    return {"index": member.index, "crc_size": [member.crc, member.size_bytes]}


def identity_of(member: KaggleMember) -> str:
    """All that a zip tells of a member's bytes."""
    return f"{member.crc:08x}:{member.size_bytes}"
