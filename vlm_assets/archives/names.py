"""What a member's name says: its text, whether it is safe, whether it is an image, an archive or rubbish. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Final

from vlm_assets.words.counts import so_many
from vlm_assets.words.layout import nfc
from vlm_assets.words.suffixes import IMAGE_SUFFIXES

ARCHIVE_SUFFIXES: Final = (
    ".zip", ".cbz", ".tar", ".cbt", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz",
    ".tar.zst", ".tzst", ".tar.lz4", ".tlz4", ".7z", ".cb7",
)  # fmt: skip
COMPRESSED_SUFFIXES: Final = (".gz", ".bz2", ".xz", ".zst", ".lz4")
"""Of a single compressed file, which may turn out to be a tar."""
Encodings = str | Sequence[str] | None
"""Of names that are neither declared nor UTF-8: one, or several that are tried in turn."""
_JUNK: Final = frozenset(
    {".ds_store", "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini",
     ".directory", ".localized", "icon\r"}
)  # fmt: skip
_JUNK_FOLDERS: Final = frozenset(
    {"__macosx", ".spotlight-v100", ".trashes", ".fseventsd", ".temporaryitems", ".appledouble", "@eadir",
     "$recycle.bin", "system volume information", "lost+found"}
)  # fmt: skip
_DRIVE: Final = re.compile(r"^[A-Za-z]:")
_UNREAD: Final = re.compile(
    r"\.(?:rar|cbr|r\d\d|ace|arj|lzh|lha|cab|dmg|zipx|sitx?|wim|iso|tar\.(?:z|lz|lzma|lzo|br))$",
    re.IGNORECASE,
)
_MAX_NAME_CHARS: Final = 4096
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def suffix_of(name: str) -> str:
    """The last suffix of a path's last part, in small letters; "" where it has none."""
    base = name.rpartition("/")[2]
    dot = base.rfind(".")
    return base[dot:].lower() if dot > 0 else ""


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of an image format, allowed or not."""
    return suffix_of(name) in IMAGE_SUFFIXES


def is_archive_name(name: str) -> bool:
    """Whether a file name is that of an archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def is_opened(name: str) -> bool:
    """Whether a file name is one that `read_members` opens: an archive's, or that of one packed image."""
    return is_archive_name(name) or bool(packed_image_name(name))


def packed_image_name(name: str) -> str:
    """`a.jpg`, without its folders, of `in/a.jpg.gz`; "" of any other name."""
    suffix = suffix_of(name)
    if suffix not in COMPRESSED_SUFFIXES:
        return ""
    inner = name.rpartition("/")[2][: -len(suffix)]
    return inner if is_image_name(inner) else ""


def archive_stem(name: str) -> str:
    """An archive's file name without its suffix: `set` of `a/set.tar.gz`, the folder that it unpacks into."""
    base = name.rpartition("/")[2]
    suffixes = [suffix for suffix in ARCHIVE_SUFFIXES if base.lower().endswith(suffix)]
    return base[: -len(max(suffixes, key=len))] if suffixes else base


def without_images(pdfs: int) -> str:
    """What is told of an archive that has no images, and so many PDFs."""
    told = f", but with {so_many(pdfs, 'PDF')}: pdf_folder reads their pages, in a folder of such archives"
    return f"an archive without images{told if pdfs else ''}"


def of_one_stem(archives: Iterable[str]) -> set[str]:
    """Those that unpack into a folder into which another of them does: `a/set.zip` beside `a/set.tar`."""
    folder_of = {key: f"{key.rpartition('/')[0]}/{archive_stem(key)}" for key in archives}
    count = Counter(folder_of.values())
    return {key for key, folder in folder_of.items() if count[folder] > 1}


def is_compressed_name(name: str) -> bool:
    """Whether a file name is that of a single compressed file."""
    return name.lower().endswith(COMPRESSED_SUFFIXES) and not is_archive_name(name)


def is_unread_archive(name: str) -> bool:
    """Whether a file name is that of an archive in a format that nothing here reads."""
    return _UNREAD.search(name) is not None


def is_junk(name: str) -> bool:
    """Whether a path is something an operating system left behind."""
    *folders, last = name.lower().split("/")
    named = last.startswith("._") or last.endswith(":zone.identifier") or last in _JUNK
    return named or any(part in _JUNK_FOLDERS for part in (*folders, last))


def is_hidden(name: str) -> bool:
    """Whether the name, or that of a folder above it, begins with a dot."""
    return name.startswith(".") or "/." in name


def safe_name(name: str) -> tuple[str, str]:
    """A member's path in NFC with `/`, and why it is unsafe ("" where it is not).

    Of an unsafe one, control characters are escaped: it can be encoded and printed.
    """
    plain = nfc(name[:_MAX_NAME_CHARS].replace("\\", "/"))
    shown = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", plain)
    if shown != plain:
        return shown, "control characters in the name"
    while plain.startswith("./"):
        plain = plain[2:].lstrip("/")
    if len(name) > _MAX_NAME_CHARS:
        return plain, f"a name of {len(name)} characters"
    if plain.startswith("/") or _DRIVE.match(plain):
        return plain, "an absolute path"
    if ".." in PurePosixPath(plain).parts:
        return plain, "leaves its folder"
    if not plain.strip("/."):
        return plain, "an empty name"
    return plain, ""


def decode_name(raw: bytes, encoding: Encodings) -> tuple[str, bool]:
    """The text of a name that nobody declared the encoding of, and whether it is a guess.

    UTF-8 where its bytes are that; else the first of `encoding` that it can be in; else cp437, which has a
    character for every byte and is what a zip's names are in (APPNOTE 4.4.4).
    """
    told = (encoding,) if isinstance(encoding, str) else encoding or ()
    for one in ("utf-8", *told):
        try:
            return raw.decode(one), False
        except UnicodeDecodeError:
            continue
    return raw.decode("cp437"), True
