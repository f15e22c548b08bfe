"""Files of this machine, held to what their listing says: other bytes are never committed under its identities."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vlm_assets.transfer.files import FileHashes
from vlm_assets.words.errors import Reject, RejectReason, SourceError
from vlm_assets.words.records import Item


class HeldFiles:
    """Looks at containers before and after they are read; what was not touched since costs a look at its dates."""

    def __init__(self, source: str, hashes: FileHashes) -> None:
        """`hashes`: those that the listing took."""
        self._source = source
        self._hashes = hashes

    def is_changed(self, path: Path, listed: str) -> bool:
        """Whether a file is another than its sha256 as listed; not where it cannot be read."""
        return self._hashes.changed(path, listed)

    def replaced(self, item: Item, files: Mapping[Path, str]) -> Reject | None:
        """A reject of the item, due again, where one of its files is another by now, or gone.

        `files`: sha256 as listed. What is gone may be back with the same bytes, which no listing would tell apart.
        """
        if gone := _gone(files):
            told = f"{', '.join(gone[:3])}: gone since it was listed"
            return Reject(item.key, RejectReason.NOT_FOUND, told, transient=True)
        found = self._changed(files)
        told = f"{', '.join(found[:3])}: replaced since it was listed"
        return Reject(item.key, RejectReason.CHANGED, told, transient=True) if found else None

    def check(self, item: Item, files: Mapping[Path, str]) -> None:
        """Returns where the files still are those that were listed, after they were read.

        Raises:
            SourceError: one was replaced or removed meanwhile: nobody knows which of its bytes were read.
        """
        if found := [*self._changed(files), *_gone(files)]:
            raise SourceError(
                f"source {self._source}: {item.key}: {', '.join(found[:3])} changed while it was read; nothing was "
                "committed. List it again when nobody writes there"
            )

    def _changed(self, files: Mapping[Path, str]) -> Sequence[str]:
        return [path.name for path, listed in files.items() if self._hashes.changed(path, listed)]


def _gone(files: Mapping[Path, str]) -> list[str]:
    """Names of those that are there no more, though they were when they were listed."""
    found: list[str] = []
    for path in (one for one, listed in files.items() if listed):
        try:
            path.stat()
        except FileNotFoundError:
            found.append(path.name)
        except OSError:  # whoever reads it says so
            continue
    return found
