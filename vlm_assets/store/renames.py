"""Sources that were given another name: `renames.json` in the data root, pairs of old and new in their order.

An id begins with the name of its source, and takedowns name ids: one given under either name means both.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import orjson

from vlm_assets.store.arrow_files import replace_file
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot

RENAMES_FILE: Final = "renames.json"
Pairs = Sequence[tuple[str, str]]
"""(old, new)."""


def read_renames(root: DataRoot) -> Pairs:
    """The renames on record whose old name nothing else has taken since.

    Raises:
        StoreError: the file cannot be read; a takedown might miss rows.
    """
    return [pair for pair in _recorded(root) if not root.listing(pair[0]).exists()]


def note_rename(root: DataRoot, old: str, new: str) -> None:
    """Puts a rename on record; twice is once."""
    known = list(_recorded(root))
    if (old, new) not in known:
        replace_file(root.path / RENAMES_FILE, orjson.dumps([*known, (old, new)], option=orjson.OPT_INDENT_2))


def _recorded(root: DataRoot) -> Pairs:
    path = root.path / RENAMES_FILE
    try:
        return [(str(old), str(new)) for old, new in orjson.loads(path.read_bytes())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path}: not a list of pairs of names: {error}") from error


def under_all_names(ids: Iterable[str], pairs: Pairs) -> set[str]:
    """Ids under every name that their source has or had."""
    given = set(ids)
    before = under_new_names(given, [(new, old) for old, new in reversed(pairs)])
    return given | before | under_new_names(given | before, pairs)


def under_new_names(ids: Iterable[str], pairs: Pairs) -> set[str]:
    """What ids became by these renames, one after the other; without what they began as."""
    now, found = set(ids), set[str]()
    for old, new in pairs:
        moved = {f"{new}/{one.split('/', 1)[1]}" for one in now if one.startswith(f"{old}/")}
        found |= moved
        now |= moved
    return found
