"""The glyphs that the product's text fonts have, by the names that PDF encodings use."""

import re
from functools import cache
from typing import Final

from vlm_assets.pdf.fonts import Family, font_table

_FILE: Final = f"{Family.SANS.replace(' ', '')}-Regular.ttf"
"""Stands for all: the others differ by a few dozen signs that no encoding names."""

_INVISIBLE: Final = frozenset({".notdef", "space", "nbspace", "nonbreakingspace", "sfthyphen", "softhyphen"})
_UNICODE_NAME: Final = re.compile(r"^(?:uni([0-9A-F]{4})|u([0-9A-F]{4,6}))$")
_OTHER_NAMES: Final = {
    "Idot": 0x130, "Gdot": 0x120, "gdot": 0x121, "Tcedilla": 0x162, "tcedilla": 0x163, "middot": 0xB7,
    "overscore": 0xAF, "fi": 0xFB01, "fl": 0xFB02, "Omega": 0x3A9, "Delta": 0x394, "mu": 0xB5,
}  # fmt: skip
"""Names in use that the font's own table writes otherwise."""


def has_glyph(name: str) -> bool:
    """Whether the product's fonts draw a glyph of this name (Adobe's glyph names, `uniXXXX`, `uXXXXX`)."""
    if name in _INVISIBLE:
        return True
    base = name.partition(".")[0]
    code = _OTHER_NAMES.get(base)
    if (found := _UNICODE_NAME.match(base)) is not None:
        code = int(found[1] or found[2], 16)
    return base in _names() or code in _characters()


@cache
def _names() -> frozenset[str]:
    """Of a `post` table of format 2: names of the standard order stand as numbers, all others in full."""
    table = font_table(_FILE, "post")
    count = int.from_bytes(table[32:34], "big")
    places = [int.from_bytes(table[at : at + 2], "big") for at in range(34, 34 + 2 * count, 2)]
    own, at = [], 34 + 2 * count
    while at < len(table):
        own.append(table[at + 1 : at + 1 + table[at]].decode("latin-1"))
        at += 1 + table[at]
    standard = _STANDARD_ORDER.split()
    return frozenset(
        standard[place] if place < len(standard) else own[place - len(standard)] for place in places
    )


@cache
def _characters() -> frozenset[int]:
    """Of a `cmap` table's subtable of format 4: the characters that have a glyph."""
    table = font_table(_FILE, "cmap")
    for record in range(int.from_bytes(table[2:4], "big")):
        start = int.from_bytes(table[8 + 8 * record : 12 + 8 * record], "big")
        if table[start : start + 2] == b"\0\4":
            words = memoryview(table[start : start + int.from_bytes(table[start + 2 : start + 4], "big")])
            break
    else:
        return frozenset()
    count = int.from_bytes(words[6:8], "big")  # twice the number of segments
    ends, starts = words[14 : 14 + count], words[16 + count : 16 + 2 * count]
    return frozenset(
        code
        for at in range(0, count, 2)
        for code in range(
            int.from_bytes(starts[at : at + 2], "big"), int.from_bytes(ends[at : at + 2], "big") + 1
        )
    ) - {0xFFFF}


_STANDARD_ORDER: Final = """
.notdef .null nonmarkingreturn space exclam quotedbl numbersign dollar percent ampersand quotesingle
parenleft parenright asterisk plus comma hyphen period slash zero one two three four five six seven eight
nine colon semicolon less equal greater question at A B C D E F G H I J K L M N O P Q R S T U V W X Y Z
bracketleft backslash bracketright asciicircum underscore grave a b c d e f g h i j k l m n o p q r s t u v
w x y z braceleft bar braceright asciitilde Adieresis Aring Ccedilla Eacute Ntilde Odieresis Udieresis
aacute agrave acircumflex adieresis atilde aring ccedilla eacute egrave ecircumflex edieresis iacute igrave
icircumflex idieresis ntilde oacute ograve ocircumflex odieresis otilde uacute ugrave ucircumflex udieresis
dagger degree cent sterling section bullet paragraph germandbls registered copyright trademark acute
dieresis notequal AE Oslash infinity plusminus lessequal greaterequal yen mu partialdiff summation product
pi integral ordfeminine ordmasculine Omega ae oslash questiondown exclamdown logicalnot radical florin
approxequal Delta guillemotleft guillemotright ellipsis nonbreakingspace Agrave Atilde Otilde OE oe endash
emdash quotedblleft quotedblright quoteleft quoteright divide lozenge ydieresis Ydieresis fraction currency
guilsinglleft guilsinglright fi fl daggerdbl periodcentered quotesinglbase quotedblbase perthousand
Acircumflex Ecircumflex Aacute Edieresis Egrave Iacute Icircumflex Idieresis Igrave Oacute Ocircumflex apple
Ograve Uacute Ucircumflex Ugrave dotlessi circumflex tilde macron breve dotaccent ring cedilla hungarumlaut
ogonek caron Lslash lslash Scaron scaron Zcaron zcaron brokenbar Eth eth Yacute yacute Thorn thorn minus
multiply onesuperior twosuperior threesuperior onehalf onequarter threequarters franc Gbreve gbreve
Idotaccent Scedilla scedilla Cacute cacute Ccaron ccaron dcroat
"""
"""The 258 names of the Macintosh order (Apple's and Microsoft's description of `post`)."""
