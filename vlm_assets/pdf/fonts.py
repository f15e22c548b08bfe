"""The product's own fonts: what a page is drawn with where the document does not carry its font.

Installed fonts decide the pixels of such a page, so none of the machine's is used: these files are, unmodified
Liberation 2.1.5 (metrics of Arial, Times New Roman, Courier New; Turkish, and Latin of Ottoman transcription) and
DejaVu 2.37 (symbols, Arabic, and what else Liberation lacks). Their licences lie beside them. Light: it is loaded
with the page pool.
"""

import os
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from vlm_assets.words.errors import OperationError

FOLDER: Final = Path(__file__).parent / "font_files"

DIGESTS: Final[Mapping[str, str]] = {
    "DejaVuSans-Bold.ttf": "0d977336a6d5fba34eab8e3199eb218327161b5143749f802982c2bc34df0c96",
    "DejaVuSans.ttf": "abdc775b21b1bc470d50c97e790d276f2054b7504e56e5bd3e64f48d68582322",
    "LiberationMono-Bold.ttf": "29534b0aad22fa386843365da6f04102df8d6a076e06a2a5ce270f83dd1bf351",
    "LiberationMono-BoldItalic.ttf": "f9f61b3d7f06f2f3f79faa961d77395cf35ade72cdec8521d7e60397194774da",
    "LiberationMono-Italic.ttf": "b35c3fc2f2d607782bcac01367f419a4a36d0fc48b2115ce6d17498343c3086e",
    "LiberationMono-Regular.ttf": "6b3809450cf6253b36d157198dc15004a5fbade9abad5543c377feb7bb29139c",
    "LiberationSans-Bold.ttf": "ba0e0dc3f7aca5b0afbc31e800531ee43be3aa79ae35b2ef1f6470a9547765c4",
    "LiberationSans-BoldItalic.ttf": "15c1068175252e4adee6d3721bf74064ffe437f679d9dbaeacd03fa7711a041b",
    "LiberationSans-Italic.ttf": "01f559e5c501d3d5777647c6a92b3ff37a4523bcf4f3b6e97ae052af567618b1",
    "LiberationSans-Regular.ttf": "8d91388f1d3604b3b8ae0e3ee2d140e50cd6122f9214514f4aca772540a4076d",
    "LiberationSerif-Bold.ttf": "446a4421f297698427170fd7db20e59169a4188baaaf940e9bea58af6341a723",
    "LiberationSerif-BoldItalic.ttf": "36dd6965be8915f6d7efb259757f1f7546a7c6f72c53a20bbe4ae7092f2cd558",
    "LiberationSerif-Italic.ttf": "c1830c433ab41379f1139fac388989d37c9f08c81e1bd643efdcc7946db30753",
    "LiberationSerif-Regular.ttf": "29d12439831b7f59194efec85872f24f54eff05738933f9a860220d2abff88ba",
}
"""sha256 of each file. Another file is another product: it draws other pixels."""


class Family(StrEnum):
    """A family of the product's fonts, by the name that its files carry."""

    MONO = "Liberation Mono"
    SANS = "Liberation Sans"
    SERIF = "Liberation Serif"
    SYMBOLS = "DejaVu Sans"


_WORDS: Final[tuple[tuple[Family, tuple[str, ...]], ...]] = (
    (Family.MONO, ("courier", "mono", "typewriter", "consol", "lettergothic", "letter gothic", "fixed")),
    (Family.SANS, ("sans", "arial", "helvetica", "gothic", "grotesk", "calibri", "verdana", "tahoma")),
    (Family.SERIF, (
        "times", "serif", "roman", "georgia", "garamond", "palatino", "bookman", "century", "schoolbook",
        "schlbk", "cambria", "constantia", "antiqua", "baskerville", "bodoni", "caslon", "didot", "minion",
        "charter", "utopia", "sabon", "goudy", "perpetua", "libertin", "tinos", "mincho",
    )),
    (Family.SYMBOLS, ("symbol", "dingbat", "webding", "wingding")),
)  # fmt: skip
"""In this order, the first word that stands in a name decides. No word may stand in the family of an earlier line:
fontconfig applies all lines, one after another."""


def family_of(name: str) -> Family | None:
    """The family that stands in for a font of this name; None where the name tells nothing."""
    lowered = name.lower()
    return next((family for family, words in _WORDS if any(word in lowered for word in words)), None)


_DROPPED: Final = ("FONTCONFIG_", "FC_", "FREETYPE_", "XDG_", "LC_", "LANG")


@cache
def check_fonts() -> None:
    """Returns where every font file is the one that belongs to the product; looks once a process.

    Raises:
        OperationError: one is missing or another; the message names it.
    """
    for name, digest in DIGESTS.items():
        try:
            found = sha256((FOLDER / name).read_bytes()).hexdigest()
        except OSError as error:
            raise OperationError(f"{FOLDER / name}: {error.strerror}; install vlm_assets again") from error
        if found != digest:
            raise OperationError(
                f"{FOLDER / name}: sha256 {found}, the product's is {digest}; install vlm_assets again"
            )


@cache
def font_bytes(name: str) -> bytes:
    """The file of this name, whole."""
    return (FOLDER / name).read_bytes()


def font_table(name: str, tag: str) -> bytes:
    """A table of a TrueType file by its tag; b"" where there is none (OpenType, "Font Tables")."""
    data = font_bytes(name)
    for entry in range(int.from_bytes(data[4:6], "big")):
        record = data[12 + 16 * entry : 28 + 16 * entry]
        if record[:4] == tag.encode("latin-1"):
            start, size = int.from_bytes(record[8:12], "big"), int.from_bytes(record[12:16], "big")
            return data[start : start + size]
    return b""


def renderer_environment(folder: Path) -> dict[str, str]:
    """Writes a font configuration into `folder` (made anew) and gives the environment for a renderer.

    In it fontconfig knows the product's fonts and nothing of the system's, and no locale or variable of FreeType
    has a say.

    Raises:
        OperationError: a font file is missing or damaged.
    """
    check_fonts()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder.resolve() / "fonts.conf"
    config.write_text(_font_config(config.parent / "cache"), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}
    return {**kept, "LC_ALL": "C.UTF-8", "FONTCONFIG_FILE": str(config)}


def _font_config(cache_folder: Path) -> str:
    """A fontconfig file: `family_of` as rules, fixed pitch to MONO, all else to SANS, SYMBOLS behind each."""
    rules = [
        _rule(f'<test name="family" compare="contains"><string>{word}</string></test>', "assign", family)
        for family, words in _WORDS
        for word in words
    ]
    rules.append(_rule('<test name="spacing"><const>mono</const></test>', "append", Family.MONO))
    rules += [_rule("", "append", family) for family in (Family.SANS, Family.SYMBOLS)]
    return "\n".join(
        [
            '<?xml version="1.0"?>',
            '<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">',
            "<fontconfig>",
            f"<dir>{escape(str(FOLDER))}</dir>",
            f"<cachedir>{escape(str(cache_folder))}</cachedir>",
            *rules,
            "</fontconfig>",
            "",
        ]
    )


def _rule(test: str, mode: str, family: Family) -> str:
    edit = f'<edit name="family" mode="{mode}" binding="strong"><string>{family}</string></edit>'
    return f'<match target="pattern">{test}{edit}</match>'
