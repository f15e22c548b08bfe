"""Where exports of this data root were made: a small file each, so that a takedown names those with its rows."""

from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from vlm_assets.exports.formats import Format
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.words.layout import DataRoot


class ExportPlace(BaseModel):
    """A folder that an export was made in. `takedowns`: those that it was made after, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: str
    format: Format
    corpus: str
    target: str
    takedowns: tuple[str, ...]

    def __str__(self) -> str:
        """As a person would say it, with the way to bring it up to date."""
        again = f"vlm-assets export --target {self.target} --format {self.format} --out {self.out}"
        return f"{self.out}, {self.format} of {self.corpus}/{self.target}: `{again}` takes the rows out there"


def remember_place(root: DataRoot, place: ExportPlace) -> None:
    """Puts it on record, instead of what the record said of the folder before."""
    folder = _folder(root)
    folder.mkdir(exist_ok=True)
    name = sha256(place.out.encode()).hexdigest()[:12]
    replace_file(folder / f"{name}.json", place.model_dump_json().encode())


def exports_before(root: DataRoot, takedown: str) -> list[ExportPlace]:
    """Exports that were made before a takedown was on record here, by folder."""
    places = (ExportPlace.model_validate_json(path.read_bytes()) for path in _folder(root).glob("*.json"))
    return sorted((one for one in places if takedown not in one.takedowns), key=lambda one: one.out)


def _folder(root: DataRoot) -> Path:
    return root.path / "exports"
