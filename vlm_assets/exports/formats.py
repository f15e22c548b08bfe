"""What a corpus can be exported as."""

from enum import StrEnum


class Format(StrEnum):
    """Formats of an export."""

    PARQUET = "parquet"
    WEBDATASET = "webdataset"

    @property
    def suffix(self) -> str:
        """Of its files."""
        return {Format.PARQUET: "parquet", Format.WEBDATASET: "tar"}[self]
