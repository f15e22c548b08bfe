"""Where exports of this data root were made: a small file each, so that a takedown names those with its rows."""

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from vlm_assets.exports.formats import Format
from vlm_assets.locks import hold_lock
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.words.errors import LockHeldError
from vlm_assets.words.layout import DataRoot

_FOLDER: Final = "exports"
HUB: Final = "hf://datasets/"
"""Before the name of a repository that a corpus was published to."""


class ExportPlace(BaseModel):
    """Where an export was made. `takedowns`: those that it was made after, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: str
    """A folder, `s3://…`, or `hf://datasets/owner/name`."""
    format: Format
    corpus: str
    target: str
    where: str | None = None
    takedowns: tuple[str, ...]

    @property
    def repo(self) -> str | None:
        """The repository at the Hub; None where it is none."""
        return self.out.removeprefix(HUB) if self.out.startswith(HUB) else None

    @property
    def again(self) -> str:
        """The command that brings it up to date."""
        where = f" --where {shlex.quote(self.where)}" if self.where else ""
        if self.repo is not None:
            return f"vlm-assets publish --repo {self.repo} --target {self.target}{where}"
        out = shlex.quote(self.out)
        return f"vlm-assets export --target {self.target} --format {self.format} --out {out}{where}"

    def __str__(self) -> str:
        """As a person would say it, with the way to bring it up to date."""
        kept = "; versions that the bucket keeps are its own" if self.out.startswith("s3://") else ""
        what = f"{self.out}, {self.format} of {self.corpus}/{self.target}"
        return f"{what}: `{self.again}` takes the rows out there{kept}"


def remember_place(root: DataRoot, place: ExportPlace) -> None:
    """Puts it on record, instead of what the record said of the place before."""
    path = place_record(root, place)
    path.parent.mkdir(exist_ok=True)
    replace_file(path, place.model_dump_json().encode())


def place_record(root: DataRoot, place: ExportPlace) -> Path:
    """The file in which it is on record."""
    return root.path / _FOLDER / f"{_name(place.out)}.json"


def exports_before(root: DataRoot, takedown: str) -> list[ExportPlace]:
    """Exports that were made before a takedown was on record here, by place."""
    paths = (root.path / _FOLDER).glob("*.json")
    places = (ExportPlace.model_validate_json(path.read_bytes()) for path in paths)
    return sorted((one for one in places if takedown not in one.takedowns), key=lambda one: one.out)


@contextmanager
def own_work(root: DataRoot, out: str) -> Iterator[Path]:
    """An empty folder for files that go elsewhere, removed afterwards; nobody else of this machine exports there.

    Raises:
        LockHeldError: another process does.
    """
    path = root.path / _FOLDER / f".{_name(out)}"
    with hold_lock(_lock_of(root, path), f"exporting into {out}"):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def remove_cut_work(root: DataRoot) -> list[str]:
    """Removes what killed exports were writing here; returns paths below the data root. Live ones remove theirs."""
    removed = []
    for path in sorted((root.path / _FOLDER).glob(".*")):
        with suppress(LockHeldError), hold_lock(_lock_of(root, path), "removing what a cut export left"):
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path.relative_to(root.path).as_posix())
    return removed


def _lock_of(root: DataRoot, work: Path) -> Path:
    return root.locks / f"export{work.name}"


def _name(out: str) -> str:
    return sha256(out.encode()).hexdigest()[:12]
