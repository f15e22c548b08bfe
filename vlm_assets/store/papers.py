"""The papers of a corpus version, and which rows they show, so that a takedown finds them.

Papers lie beside the manifest of a version and in no hash of it. `papers.json` names every row of which one of them
shows content; it is there before the first paper that does, and goes after the last.
"""

from collections.abc import Collection, Container, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vlm_assets.store.arrow_files import replace_file
from vlm_assets.transfer.taken_urls import TakenUrls
from vlm_assets.words.errors import StoreError
from vlm_assets.words.manifest import Manifest

SHOWN_FILE: Final = "papers.json"
CARD_FILE: Final = "README.md"
CROISSANT_FILE: Final = "croissant.json"
SUMMARY_FILE: Final = "summary.json"
REPORT_FILE: Final = "report.html"
PAPER_FILES: Final = (CARD_FILE, CROISSANT_FILE, SUMMARY_FILE, REPORT_FILE)
DERIVED_FILES: Final = (SHOWN_FILE, *PAPER_FILES)
"""All that may lie in a corpus version besides what its manifest names."""


class ShownRow(BaseModel):
    """A row, of the corpus or left out of it, or a reject, of which a paper shows a picture or words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """Of a reject what would have been its id."""
    image_sha256: tuple[str, ...]
    rejected: str | None = None
    """Of a reject the key of its item, which may be an address: no index finds its row by that."""

    @property
    def shows_reject(self) -> bool:
        """Whether a picture of a reject is shown: any takedown removes these."""
        return self.rejected is not None and bool(self.image_sha256)

    def covered(self, ids: Container[str], hashes: Container[str], urls: TakenUrls) -> bool:
        """Whether a takedown of these means it."""
        named = self.id in ids or any(one in hashes for one in self.image_sha256)
        return named or (self.rejected is not None and self.rejected in urls)


class Papers(Manifest):
    """`papers.json`. `complete`: the papers beside it are all there, and of one making."""

    type: Literal["papers"] = "papers"
    papers_version: Literal[1] = 1
    complete: bool
    shown: tuple[ShownRow, ...]


def read_papers(version: Path) -> Papers | None:
    """What `papers.json` of a corpus version says; None where there is none.

    Raises:
        StoreError: it cannot be read.
    """
    path = version / SHOWN_FILE
    try:
        return Papers.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        told = str(error).splitlines()[0]
        raise StoreError(f"{path}: {told}; `vlm-assets report` writes it anew") from error


def papers_complete(version: Path) -> bool:
    """Whether all papers of a corpus version are there, and of one making."""
    try:
        papers = read_papers(version)
    except StoreError:
        return False
    return papers is not None and papers.complete and all((version / one).is_file() for one in PAPER_FILES)


def any_papers(version: Path) -> bool:
    """Whether some paper of a corpus version is there, be it of a making that was cut."""
    return any((version / name).is_file() for name in DERIVED_FILES)


def write_papers_file(version: Path, papers: Papers) -> None:
    """Puts `papers.json` in place in one step."""
    replace_file(version / SHOWN_FILE, papers.to_bytes())


def shown_rows(
    version: Path, ids: Collection[str], hashes: Collection[str], urls: Collection[str] = ()
) -> list[str]:
    """Ids of covered rows that the papers of a corpus version show.

    Raises:
        StoreError: nobody knows what they show.
    """
    papers = read_papers(version)
    return covered(papers.shown if papers else (), ids, hashes, urls)


def covered(
    shown: Iterable[ShownRow], ids: Collection[str], hashes: Collection[str], urls: Collection[str]
) -> list[str]:
    """Ids of those that a takedown of these means."""
    taken = TakenUrls(urls)
    return [one.id for one in shown if one.covered(ids, hashes, taken)]


def remove_papers(version: Path) -> list[str]:
    """Removes every paper of a version, and last what they showed; returns the names of those that were there."""
    found = [name for name in (*PAPER_FILES, SHOWN_FILE) if (version / name).is_file()]
    for name in found:
        (version / name).unlink(missing_ok=True)
    return found


def with_rows(papers: Papers | None, shown: Sequence[ShownRow], *, complete: bool) -> Papers:
    """These rows, and while the papers are not complete those of the papers before, which may still lie there."""
    before = () if complete or papers is None else papers.shown
    rows = {one.id: one for one in (*before, *shown)}
    return Papers(complete=complete, shown=tuple(rows[name] for name in sorted(rows)))
