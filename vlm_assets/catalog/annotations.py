"""What a catalogue says of annotations: built-in ones by name, imported ones with their files."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from vlm_assets.annotators.registry import annotator_names
from vlm_assets.catalog.base import Name, OnlySpec, Spec
from vlm_assets.words.nearest import did_you_mean


class AnnotationSpec(Spec):
    """An entry of `annotations`."""

    name: Name
    """Of a built-in annotator; or, with `path`, whatever filters are to call the imported values."""
    path: Path | None = None
    """Parquet files with values that others computed, `*` allowed; relative to the catalogue."""
    key: Literal["image_sha256", "id"] | None = None
    """The column of these files that says what a value is of: an image by the hex sha256 of its bytes, or a row."""
    only: OnlySpec = Field(default_factory=OnlySpec)
    """Which sources are annotated; unset: all."""

    @model_validator(mode="after")
    def _built_in_or_imported(self) -> Self:
        if (self.path is None) != (self.key is None):
            raise ValueError("imported values need both path and key, built-in annotators neither")
        if self.path is None and self.name not in annotator_names():
            told = did_you_mean(self.name, annotator_names())
            raise ValueError(
                f"no built-in annotator {self.name!r}; {told}; imported values need path and key"
            )
        return self

    @property
    def imported(self) -> bool:
        """Whether its values come from files."""
        return self.path is not None

    def files(self) -> list[Path]:
        """The files that `path` matches now, sorted."""
        if self.path is None:
            return []
        anchor = Path(self.path.anchor or ".")
        found = anchor.glob(str(self.path.relative_to(anchor) if self.path.anchor else self.path))
        return sorted(path for path in found if path.is_file())

    def below(self, directory: Path) -> Self:
        """The entry with its path taken from the catalogue directory."""
        return self if self.path is None else self.model_copy(update={"path": directory / self.path})
