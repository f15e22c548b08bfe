"""Captions of the images in a tree of files: a folder, an archive, a repository. One rule, wherever the files lie."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final

import orjson

from vlm_assets.captions.joining import CaptionColumns, CaptionIndex, CaptionRow, Target
from vlm_assets.captions.names import name_column_test
from vlm_assets.captions.sidecars import is_sidecar_name, match_sidecars, read_sidecars
from vlm_assets.captions.tables import Table, TableReading
from vlm_assets.captions.text_files import Opener
from vlm_assets.captions.words import Words
from vlm_assets.words.caption_rows import BESIDE
from vlm_assets.words.errors import SourceError

NONE: Final = "none"
SIDECAR: Final = "sidecar"
METADATA: Final = "metadata"
METADATA_NAMES: Final = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables of an imagefolder, as `datasets` names them."""
_TOLD_FAULTS: Final = 5


@dataclass(frozen=True, slots=True)
class CaptionRule:
    """Where the words of images stand: nowhere, in a sidecar each, or in every table of one of these names."""

    sidecars: bool = False
    tables: tuple[str, ...] = ()
    """File names, without folders; each such file speaks of the files from its own folder on."""
    columns: CaptionColumns = field(default_factory=CaptionColumns)
    reading: TableReading = field(default_factory=TableReading)

    def sidecar_words(self, files: Sequence[tuple[str, str, Opener]]) -> Words:
        """The words in one image's sidecars: name, place and opener of each, that with the text first.

        Raises:
            SourceError: a file that cannot be read for certain.
        """
        return read_sidecars(
            files,
            self.reading.encoding,
            text_column=self.columns.text,
            messages_column=self.columns.messages,
        )

    @property
    def told(self) -> str:
        """All of it in a line, for identities; "" where nothing is looked for."""
        if not self.sidecars and not self.tables:
            return ""
        return sha256(repr(self).encode()).hexdigest()[:16]

    def may_own(self, key: str) -> bool:
        """Whether a file may hold words, from its name."""
        return (self.sidecars and is_sidecar_name(key)) or key.rpartition("/")[2] in self.tables


@dataclass(frozen=True, slots=True)
class Tree:
    """The files that there are, by NFC key, and how to read one."""

    images: Collection[str]
    others: Collection[str]
    """Files that may hold words, among others."""
    open: Callable[[str], IO[bytes]]
    where: Callable[[str], str]
    """Names a file in messages."""
    optional: Collection[str] = ()
    """Of the others: tables that may be of something else."""
    shared: Collection[str] = ()
    """Tables that may speak of files in archives too: what they name is looked for there where it is not here."""
    beside: Collection[str] = ()
    """Tables that others look into too, each for its own files, as they do into shared ones: the counts tell row by
    row which were joined here, and what names nothing here apart."""
    counted: Collection[str] | None = None
    """Those of the images that the counts are over; None: all."""


@dataclass(frozen=True, slots=True)
class Caption:
    """What is said of an image once; an image has as many samples as captions."""

    words: Words
    images: tuple[Target, ...] = ()
    """All images of a row that names several, in its order, this image among them; else none."""

    @property
    def beside(self) -> set[str]:
        """Keys of its images, where they are several."""
        return {image.key for image in self.images if image.key is not None}

    def as_json(self) -> dict[str, Any]:
        """What there is of it."""
        images = [list(image) for image in self.images]
        return {**self.words.as_json(), **({"images": images} if images else {})}


@dataclass(frozen=True, slots=True)
class TreeCaptions:
    """The words of a tree."""

    companions: frozenset[str]
    """Files that hold words of some image; the others that might are none."""
    of: Callable[[str], list[Caption]]
    """All that is said of an image, in the order of tables and rows; nothing: []."""
    only_named_beside: Callable[[str], bool]
    """Whether rows name an image, but each as another one's companion: no sample of its own."""
    counts: Mapping[str, Any]
    """What found no partner: JSON values, that `sum_counts` adds up."""
    names_several: bool = False
    """Whether any row names several images."""


@contextmanager
def tree_captions(
    rule: CaptionRule,
    tree: Tree,
    spool_dir: Path,
    missed: Callable[[str, CaptionRow], None] = lambda table, row: None,  # noqa: ARG005 - does nothing
) -> Iterator[TreeCaptions]:
    """The captions of a tree, as long as the context lasts. `missed` sees rows that name nothing, with their table.

    Raises:
        SourceError: a file that cannot be read for certain (names file, line and key), no table of that name, or
            tables that name nothing that is there.
    """
    if rule.sidecars:
        yield _by_sidecars(rule, tree)
    elif rule.tables:
        tables = sorted(filter(rule.may_own, tree.others))
        if not tables:
            raise SourceError(f"{tree.where('')}: there is no {' or '.join(rule.tables)} in it")
        several = {*tree.shared, *tree.beside}
        with CaptionIndex(tree.images, spool_dir, rule.columns) as index:
            joined = [
                key
                for key in tables
                if index.add(
                    _table(rule, tree, key),
                    key.rpartition("/")[0],
                    partial(missed, key),
                    optional=key in tree.optional,
                    shared=key in tree.shared,
                    beside=key in several,
                )
            ]
            counts = index.finish(tree.counted).as_json()
            read = [key for key in tables if key in several and key in index.by_table]
            if read:
                counts[BESIDE] = {key: index.by_table[key].as_json() for key in read}
            yield TreeCaptions(
                frozenset(joined),
                lambda key: [
                    Caption(row.words, row.images if len(row.images) > 1 else ())
                    for row in index.rows_of(key)
                ],
                partial(_only_beside, index),
                counts,
                index.names_several,
            )
    else:
        yield TreeCaptions(frozenset(), lambda _: [], lambda _: False, {})


def _only_beside(index: CaptionIndex, key: str) -> bool:
    if not index.names_several:
        return False
    rows = index.rows_naming(key)
    return bool(rows) and all(row.home != key for row in rows)


def caption_payload(captions: Sequence[Caption]) -> tuple[dict[str, Any], str]:
    """The captions of an item for its payload, and their hash for its identity ("" where there are none).

    Identities outlive a takedown, in listings and ledgers: no word stands in one.
    """
    told = [one.as_json() for one in captions]
    if len(told) < 2 and not any(told):
        return {}, ""
    return {"captions": told}, sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _table(rule: CaptionRule, tree: Tree, key: str) -> Table:
    return Table(
        key,
        tree.where(key),
        lambda: tree.open(key),
        rule.reading,
        name_column_test(rule.columns.file_name),
    )


def _by_sidecars(rule: CaptionRule, tree: Tree) -> TreeCaptions:
    matched = match_sidecars(tree.images, tree.others)
    found: dict[str, Caption] = {}
    faults: list[str] = []
    for image, names in sorted(matched.by_image.items()):
        files = [(name, tree.where(name), _opener(tree, name)) for name in names]
        try:
            found[image] = Caption(rule.sidecar_words(files))
        except SourceError as error:
            faults.append(str(error))
    if faults:
        more = f"; and {len(faults) - _TOLD_FAULTS} more" if len(faults) > _TOLD_FAULTS else ""
        raise SourceError("; ".join(faults[:_TOLD_FAULTS]) + more)
    used = frozenset(name for names in matched.by_image.values() for name in names)
    counts = {
        "sidecars": len(used),
        "sidecars_unused": len(matched.unused),
        "images": len(tree.images),
        "images_without_rows": len(tree.images) - len(found),
        "examples": list(matched.unused[:_TOLD_FAULTS]),
    }
    return TreeCaptions(
        used,
        lambda key: [found[key]] if key in found else [],
        lambda _: False,
        counts,
    )


def _opener(tree: Tree, key: str) -> Callable[[], IO[bytes]]:
    return lambda: tree.open(key)
