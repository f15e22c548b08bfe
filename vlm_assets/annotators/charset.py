"""`charset`: whether Turkish words were read in a wrong character set on their way here.

Two accidents are common: UTF-8 read as Windows-1254 or 1252 (`ÅŸ` for `ş`), and Windows-1254 read as Latin-1 or 1252
(`þ` for `ş`). The first leaves sequences that stand in no language, and the second letters that stand in Icelandic.
"""

import re
from collections.abc import Sequence
from typing import ClassVar, Final

import pyarrow as pa

from vlm_assets.annotators.protocol import Reads, Values

_ACCENTED: Final = "çğıöşüâîûÇĞİÖŞÜÂÎÛéÉäÄß“”‘’–—…•€«»"
"""What is damaged in Turkish texts: its letters, those of its neighbours, and typographer's signs."""


def _sequences() -> list[str]:
    """What each of these characters becomes when its UTF-8 is read as one byte a character."""
    found = set()
    for character in _ACCENTED:
        raw = character.encode()
        for charset in ("cp1254", "cp1252", "latin-1"):
            # Bytes that the character set does not have are left out or come as C1 controls, by whoever read them.
            found |= {raw.decode(charset, "ignore"), raw.decode("latin-1")}
    return sorted((one for one in found if len(one) > 1), key=len, reverse=True)


_DOUBLED: Final = re.compile("|".join(map(re.escape, _sequences())))
_ICELANDIC: Final = re.compile("[ýþðÝÞÐ]")
_PROOF_OF_OTHERS: Final = re.compile("[áíúæåøÁÍÚÆÅØ]")
"""Letters of the languages that have ý, þ or ð; Turkish has none of them."""
_LOST: Final = re.compile("\ufffd|(?<=[^\\W\\d_])\\?(?=[a-zçğıöşü])(?!\\w*=)|[\x80-\x9f]")
"""Replacement characters, question marks within words, C1 controls."""


class Charset:
    """`mojibake`: share of the letters that are damaged, 0 of sound text; null where there are no letters.

    `lost`: characters that nobody can bring back (U+FFFD, `?` within a word, control characters).
    """

    name: ClassVar[str] = "charset"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.TEXT
    columns: ClassVar[pa.Schema] = pa.schema([("mojibake", pa.float32()), ("lost", pa.int32())])
    cost_s: ClassVar[float] = 0.1

    def missing(self) -> str:
        """Nothing; see `Annotator.missing`."""
        return ""

    def annotate(self, batch: Sequence[str]) -> Sequence[Values]:
        """See `Annotator.annotate`."""
        return [_damage(one) for one in batch]


def _damage(text: str) -> Values:
    lost = len(_LOST.findall(text))
    doubled = _DOUBLED.findall(text)
    rest = _DOUBLED.sub("", text) if doubled else text
    foreign = 0 if _PROOF_OF_OTHERS.search(rest) else len(_ICELANDIC.findall(rest))
    damaged = len(doubled) + foreign + lost
    letters = sum(map(str.isalpha, rest)) + len(doubled) + lost
    return {"mojibake": damaged / letters if letters else None, "lost": lost}


ANNOTATOR = Charset()
