"""The keys of a catalogue that say how captions are read; every kind that joins captions has them."""

import codecs
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator

from vlm_assets.captions.joining import CaptionColumns
from vlm_assets.captions.separated import SEPARATORS, Quotes
from vlm_assets.captions.tables import TableReading, is_table_name
from vlm_assets.captions.text_files import Encoding
from vlm_assets.captions.trees import METADATA, METADATA_NAMES, NONE, SIDECAR, CaptionRule
from vlm_assets.words.layout import nfc

_BY_NAME: Final = {spoken: sign for sign, spoken in SEPARATORS.items()} | {"\\t": "\t"}


def _checked_text(value: Any) -> Any:
    if value in (NONE, SIDECAR, METADATA) or not isinstance(value, str):
        return value
    if "/" in value or not is_table_name(value):
        raise ValueError(
            f"expected {NONE}, {SIDECAR}, {METADATA} or the file name of a table (.csv, .jsonl, …), got {value!r}"
        )
    return nfc(value)


def _checked_encoding(value: Any) -> Any:
    names = [value] if isinstance(value, str) else value
    if names is None:
        return None
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(one, str) for one in names):
        raise ValueError(f"expected the name of an encoding or a list of such names, got {value!r}")
    for name in names:
        try:
            b"a".decode(name, "replace")
            codecs.getincrementaldecoder(name)
        except LookupError as error:
            raise ValueError(
                f"unknown encoding {name!r}; there are utf-8, utf-16, cp1254 and others of Python"
            ) from error
    return value if isinstance(value, str) else tuple(names)


def _checked_separator(value: Any) -> Any:
    sign = _BY_NAME.get(value, value) if isinstance(value, str) else value
    if sign is not None and (not isinstance(sign, str) or len(sign) != 1 or sign in '"\r\n'):
        raise ValueError(f"expected one character, or {', '.join(SEPARATORS.values())}, got {value!r}")
    return sign


EncodingKey = Annotated[Encoding, BeforeValidator(_checked_encoding)]
"""An encoding that there is, or a list of such, tried in turn."""


class TextFileKeys(BaseModel):
    """How the text files of a source are read. What is not given is found where it is certain, else an error."""

    encoding: EncodingKey = None
    """Of text files, and of names in archives, that are not UTF-8 and say nothing: one, or a list tried in turn."""
    separator: Annotated[str | None, BeforeValidator(_checked_separator)] = None
    """Of columns, where the header does not show it for certain: a character, or `tab`, `comma` and the like."""
    quotes: Quotes = Quotes.CSV
    """`literal` where `"` encloses nothing."""

    def table_reading(self) -> TableReading:
        """As `tables` takes them."""
        return TableReading(self.encoding, self.separator, self.quotes)


CaptionText = Annotated[str, BeforeValidator(_checked_text)]
"""`none`, `sidecar`, `metadata` (each `metadata.csv`, `.jsonl`, `.parquet`), or the file name of tables."""
TEXT_FILE_KEYS: Final = ("encoding", "separator", "quotes")
CAPTION_KEYS: Final = ("text", "file_name_column", "file_name_folder", *TEXT_FILE_KEYS)
"""Those of the keys below that change what is read at fetch, beside a table's own."""


class CaptionKeys(TextFileKeys):
    """Where the words of images stand in a tree of files."""

    text: CaptionText = NONE
    """`none`, `sidecar`, `metadata`, or the file name of the tables that name images."""
    file_name_column: str | None = None
    """Unset: `file_name`, `*_file_name` and the like. Where it is set, an id names the one image of that name."""
    file_name_folder: str = ""
    """The folder that names are relative to, from their table's own on."""
    text_column: str | None = None
    """Unset: text, caption and the like, where there is one."""
    messages_column: str | None = None
    """A conversation. Unset: texts, conversations, messages, where one plainly is."""

    def caption_rule(self) -> CaptionRule:
        """As `trees` takes them."""
        tables = (
            () if self.text in (NONE, SIDECAR) else METADATA_NAMES if self.text == METADATA else (self.text,)
        )
        columns = CaptionColumns(
            self.file_name_column, self.text_column, self.messages_column, self.file_name_folder
        )
        return CaptionRule(self.text == SIDECAR, tables, columns, self.table_reading())
