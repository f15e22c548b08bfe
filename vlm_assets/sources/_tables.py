"""Catalogue keys of kinds whose records are rows of tables. Light: the catalogue loads it."""

from typing import ClassVar, Final, Protocol, Self

from pydantic import Field, model_validator

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.hub.columns import Wanted
from vlm_assets.words.layout import nfc

TABLE_KEYS: Final = ("image_column", "text_column", "messages_column", "split_images")


class LabelledSpec(SourceSpec):
    """A kind with columns, of which one may hold the labels; of a ClassLabel by name or by number."""

    CHECKS_LABELS: ClassVar[bool] = True
    has_classes: ClassVar[bool] = True
    """Whether a column may be a ClassLabel, with a number and a name for each label."""

    def label_selector(self) -> str | None:
        """The selector; also whether a map is written by numbers, for those are the labels then."""
        rule = self.label_rule
        told = super().label_selector()
        by_number = self.has_classes and rule is not None and rule.column and rule.by_number
        return f"{told}#number" if by_number else told


class TalkSpec(Protocol):
    """The keys of a source whose rows may hold conversations."""

    @property
    def messages_column(self) -> str | None: ...  # a key, described there

    @property
    def split_images(self) -> bool: ...


def whole_or_split(spec: TalkSpec) -> None:
    """Returns where images that are split belong to no conversation.

    Raises:
        ValueError: they do.
    """
    if spec.split_images and spec.messages_column is not None:
        raise ValueError("split_images tears a conversation apart; give it or messages_column")


class TableSpec(LabelledSpec):
    """Keys that say what the columns of a table mean."""

    image_column: str | tuple[str, ...] | None = Field(
        None,
        description="Needed only where there are several; a list: together they make up a sample. `[]`: words alone, "
        "in a benchmark.",
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
        whole_or_split(self)
        return self

    def words_only(self) -> bool:
        """See `SourceSpec.words_only`."""
        return self.image_column == ()

    @property
    def wanted(self) -> Wanted:
        """The same for the readers."""
        named = self.image_column
        images = (named,) if isinstance(named, str) else named
        return Wanted(
            None if images is None else tuple(map(nfc, images)),
            None if self.text_column is None else nfc(self.text_column),
            None if self.messages_column is None else nfc(self.messages_column),
            self.split_images,
            self.label_rule,
        )
