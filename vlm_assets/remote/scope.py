"""Which names a backup or a restore is about."""

from collections.abc import Collection
from dataclasses import dataclass

from vlm_assets.remote.names import Name


@dataclass(frozen=True, slots=True)
class Scope:
    """Chosen sources and targets; None and None is everything, with `storage` Dagster's own files too."""

    sources: Collection[str] | None = None
    targets: Collection[str] | None = None
    storage: bool = False
    slices: bool = True
    """False: of the sources their listings alone."""

    @property
    def everything(self) -> bool:
        """Nothing was chosen."""
        return self.sources is None and self.targets is None

    def source(self, source: str) -> bool:
        """Whether a source is meant."""
        return self.everything or source in (self.sources or ())

    def name(self, name: Name) -> bool:
        """Whether a slice, a plan or a corpus is meant."""
        if name.area == "datasets":
            return self.slices and self.source(name.group)
        return self.everything or name.leaf in (self.targets or ())
