"""What the rows of tables name, and whether the catalogue can be right about their columns: asked when listing."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from vlm_assets.hub.cells import Followed
from vlm_assets.hub.columns import Wanted
from vlm_assets.hub.looks import TableLook
from vlm_assets.hub.named_files import NamedFiles
from vlm_assets.hub.readers import TABLE_FORMATS
from vlm_assets.hub.repo_files import RepoFile
from vlm_assets.words.records import Item

FOLLOWS: Final = "follows"
"""In the payload of a table whose rows may name files."""
ZIPS: Final = "zips"
"""Beside it: the zips in which such files may be."""
NAMED: Final = "named"
"""Beside it, where they are held to them: the identities of these files by key."""


@dataclass(frozen=True, slots=True)
class TableGroup:
    """Tables of one split, which have the same columns."""

    format: str
    features: Mapping[str, Any]
    items: list[Item]


@dataclass(frozen=True, slots=True)
class TablesListed:
    """Looks into the tables of a source."""

    wanted: Wanted
    cache_dir: Path
    look: Callable[[TableGroup, Item], TableLook | None]
    """Opens a table; None where that would be a download of its own."""
    identities: Callable[[Sequence[str]], Iterable[str]]
    """What changes with the content of the files of these keys."""
    packed: Callable[[Collection[str] | None], Sequence[RepoFile]] = lambda keys: ()  # noqa: ARG005 - has none
    """The zips in which these files are; None: all that there are."""
    holds: bool = False
    """Items keep the identities of files that their rows name (`NAMED`): upstream may replace them at any time."""

    def checked(
        self, groups: Sequence[TableGroup], candidates: Collection[str]
    ) -> tuple[list[list[Item]], set[str]]:
        """The items of each group with the identities of files that rows name, and the keys of these files.

        The first table of a group that has rows decides whether the others are looked at too.

        Args:
            groups: Wanted ones.
            candidates: Keys of files that are no items, and that rows may name.

        Raises:
            SourceError: the catalogue names columns or labels that are not there; says what is.
        """
        named: set[str] = set()
        done: list[list[Item]] = []
        for group in groups:
            if group.format not in TABLE_FORMATS:
                done.append(group.items)
                continue
            self._check(group)
            done.append(self._named_by_all(group, candidates, named) if candidates else group.items)
        return done, named

    def _named_by_all(self, group: TableGroup, candidates: Collection[str], named: set[str]) -> list[Item]:
        items: list[Item] = []
        finds, decided = True, False
        for item in group.items:
            look = self.look(group, item) if finds else None
            names: set[str] | None = set() if look is None else self._named(look, item)
            if names is None:
                items.append(item)
                continue
            found = {key for key in names if key in candidates}
            zips = self.packed(None if finds and look is None else found)
            finds = finds and (look is None or bool(found) or decided)
            decided = True
            named |= found
            told = sorted(found)
            identities = [[key, one] for key, one in zip(told, self.identities(told), strict=True)]
            if zips and look is None:
                identities = [[one.path, one.identity] for one in zips]
            identity = f"{item.identity}+{_short(identities)}" if identities else item.identity
            payload = {**item.payload, FOLLOWS: True, **({NAMED: dict(identities)} if self.holds else {})}
            if zips:
                payload[ZIPS] = [asdict(one) for one in zips]
            items.append(replace(item, identity=identity, payload=payload))
        return items

    def _check(self, group: TableGroup) -> None:
        """Returns where the columns and labels that the catalogue names are there, as far as a listing can tell."""
        rule = self.wanted.label
        by_column = rule is not None and rule.column
        if not (self.wanted.names or by_column) or not group.items:
            return
        for item in group.items:
            first = self.look(group, item)
            if first is None:
                return
            if first.columns() is not None:
                break
        else:
            return
        if rule is None or not by_column or rule.known is None:
            return
        seen: set[str] = set()
        for item in group.items:
            look = self.look(group, item)
            if look is None:
                return
            for label in look.labels(rule.column):
                if label in rule.known:
                    return
                seen.add(label)
        if seen:
            rule.check(seen, first.where)

    def _named(self, look: TableLook, item: Item) -> set[str] | None:
        """Keys of the files that a table names; None where it has no rows.

        The names are kept in the cache by the table's identity.
        """
        if look.follow is None:
            return set()
        kept = self.cache_dir / "named" / f"{_short([item.identity, look.wanted.image_columns])}.json"
        if kept.exists():
            names = orjson.loads(kept.read_bytes())
        else:
            columns = look.columns()
            if columns is None:
                return None
            names = sorted(set(look.names(columns)))
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(orjson.dumps(names))
        return {key for name in names if (key := look.follow.key_of(name)) is not None}


class NamesOnly:
    """`Follow` for a listing, which only asks what is there."""

    def __init__(self, files: NamedFiles) -> None:
        self.key_of = files.key_of
        self.why_not = files.why_not

    def get(self, keys: Sequence[str]) -> Mapping[str, Followed]:
        """Nothing is fetched yet."""
        return {key: Followed(None, "", detail="not fetched yet") for key in keys}


def _short(value: Any) -> str:
    return sha256(orjson.dumps(value)).hexdigest()[:16]
