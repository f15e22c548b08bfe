"""Copies of papers outside the data root, remembered so that a takedown reaches those that show what it covers.

A copy that lies as it was written is written anew, or removed where there is nothing to write in its place. One that
somebody changed is theirs. A copy of a copy is not known here.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.papers import REPORT_FILE, ShownRow, covered, read_papers
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot

_FOLDER: Final = "exports/copies"


class PaperCopy(BaseModel):
    """`exports/copies/….json`: one copy, where it is and what it shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: str
    """An absolute path."""
    what: Literal["report", "sheet"]
    corpus: str = ""
    target: str = ""
    """Of a report."""
    sha256: tuple[str, ...]
    """What may lie there from us; two while it is replaced."""
    shown: tuple[ShownRow, ...]


@dataclass(slots=True)
class RenewedCopies:
    """What a takedown did to copies, in words."""

    outstanding: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@named_disk_errors
def copy_report(root: DataRoot, version: Path, corpus: str, target: str, out: Path) -> Path:
    """Copies the report of a corpus version to a file, or into a folder under its own name; returns where it is.

    Raises:
        StoreError: there is no such folder, or it cannot be written.
    """
    page = version / REPORT_FILE
    path = out / page.name if out.is_dir() else out
    papers = read_papers(version)
    copy = PaperCopy(
        out=str(path),
        what="report",
        corpus=corpus,
        target=target,
        sha256=(),
        shown=papers.shown if papers else (),
    )
    put_copy(root, copy, page.read_bytes())
    return path


def put_copy(root: DataRoot, copy: PaperCopy, data: bytes) -> None:
    """Writes a copy in one step; it is on record, with all it shows and may show till then, before it is there.

    Raises:
        StoreError: there is no such folder.
    """
    path = Path(copy.out).absolute()
    if not path.parent.is_dir():
        raise StoreError(f"{path}: there is no folder {path.parent}; make it, or name another place")
    digest = sha256(data).hexdigest()
    record = _record(root, str(path))
    before = _read(record)
    new = copy.model_copy(update={"out": str(path), "sha256": (digest,)})
    if before is not None and before != new:
        under_way = {"sha256": (*before.sha256, digest), "shown": (*before.shown, *new.shown)}
        _write(record, new.model_copy(update=under_way))
    else:
        _write(record, new)
    _write_copy(path, data)
    _write(record, new)


def _write_copy(path: Path, data: bytes) -> None:
    replace_file(path, data)


def renew_copies(
    root: DataRoot, ids: Collection[str], hashes: Collection[str], urls: Collection[str]
) -> RenewedCopies:
    """Brings every copy that shows what a takedown covers up to its corpus's papers, which are clean by now."""
    result = RenewedCopies()
    for record in sorted((root.path / _FOLDER).glob("[!.]*.json")):
        try:
            copy = _read(record)
            if copy is not None and _must_go(copy, ids, hashes, urls):
                _renew(root, record, copy, result)
        except StoreError as error:
            result.outstanding.append(str(error))
        except OSError as error:
            result.outstanding.append(
                f"{error.filename}: {error.strerror}; it shows the rows: remove it by hand"
            )
    return result


def _must_go(copy: PaperCopy, ids: Collection[str], hashes: Collection[str], urls: Collection[str]) -> bool:
    return any(row.shows_reject for row in copy.shown) or bool(covered(copy.shown, ids, hashes, urls))


def _renew(root: DataRoot, record: Path, copy: PaperCopy, result: RenewedCopies) -> None:
    path = Path(copy.out)
    if not path.is_file():
        if path.parent.is_dir():
            record.unlink()
        else:
            result.outstanding.append(
                f"{path}, a copy of a {copy.what} with the rows, cannot be reached: put its folder in place and give "
                f"this takedown again; if it was deleted, remove {record}"
            )
        return
    if sha256(path.read_bytes()).hexdigest() not in copy.sha256:
        record.unlink()
        result.remarks.append(
            f"{path}: it was a {copy.what} with the rows, and somebody changed it: look at it"
        )
        return
    page = root.corpus(copy.corpus, copy.target) / REPORT_FILE
    if copy.what == "report" and page.is_file():
        copy_report(root, page.parent.resolve(), copy.corpus, copy.target, path)
        result.remarks.append(f"{path}: the copy of the report is written anew")
    else:
        path.unlink()
        record.unlink()
        result.remarks.append(f"{path}: this {copy.what} showed the rows, and is removed")


def _record(root: DataRoot, out: str) -> Path:
    return root.path / _FOLDER / f"{sha256(out.encode()).hexdigest()[:12]}.json"


def _read(record: Path) -> PaperCopy | None:
    """What a record says.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        return PaperCopy.model_validate_json(record.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        told = str(error).splitlines()[0]
        raise StoreError(
            f"{record}: {told}; it remembers a copy of a report: look for it, then remove this"
        ) from error


def _write(record: Path, copy: PaperCopy) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    replace_file(record, copy.model_dump_json().encode())
