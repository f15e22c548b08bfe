"""Catalogue keys of kinds whose records are rows of tables. Light: the catalogue loads it."""

from typing import Final, Self

from pydantic import Field, model_validator

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.hub.columns import Wanted

TABLE_KEYS: Final = ("image_column", "text_column", "messages_column", "split_images")


class TableSpec(SourceSpec):
    """Keys that say what the columns of a table mean."""

    image_column: str | tuple[str, ...] | None = Field(
        None, description="Needed only where there are several; a list: together they make up a sample."
    )
    text_column: str | None = Field(
        None, description="Unset: text, caption and the like, where there is one."
    )
    messages_column: str | None = Field(
        None, description="A conversation. Unset: texts, conversations, messages, where one plainly is."
    )
    split_images: bool = Field(
        default=False, description="Each image of a row is a sample: pictures that do not belong together."
    )

    @model_validator(mode="after")
    def _whole_or_split(self) -> Self:
        if self.split_images and self.messages_column is not None:
            raise ValueError("split_images tears a conversation apart; give it or messages_column")
        return self

    @property
    def wanted(self) -> Wanted:
        """The same for the readers."""
        return Wanted(self.image_column, self.text_column, self.messages_column, self.split_images)
