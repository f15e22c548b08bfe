"""Data files whose names say nothing: what their first bytes say. Content only adds items, it takes none away."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from vlm_assets.archives.contents import is_image_head
from vlm_assets.archives.forms import SEVEN_ZIP, ZIP, form_of
from vlm_assets.archives.names import is_hidden, is_junk, is_unread_archive, suffix_of
from vlm_assets.archives.tars import looks_like_tar
from vlm_assets.hub.left_out import is_companion
from vlm_assets.hub.splits import format_of

HEAD_BYTES: Final = 4096
_TEXTS: Final = {".txt", ".md", ".rst", ".html", ".htm", ".css", ".xml", ".svg", ".tex", ".bib", ".log"}
_DOCUMENTS: Final = {".pdf", ".doc", ".docx", ".ppt", ".pptx", ".xls", ".xlsx", ".caption"}
_CODE: Final = {".py", ".sh", ".js", ".ipynb", ".yaml", ".yml", ".toml", ".ini", ".cfg"}
_GIT: Final = {".lock", ".gitignore", ".gitattributes"}
_MEDIA: Final = {".mp3", ".wav", ".flac", ".ogg", ".m4a", ".mp4", ".mkv", ".avi", ".mov", ".webm"}
_ARRAYS: Final = {".npy", ".npz", ".h5", ".pt", ".pth", ".ckpt", ".safetensors", ".onnx", ".pkl"}
_OTHER: Final = frozenset(_TEXTS | _DOCUMENTS | _CODE | _GIT | _MEDIA | _ARRAYS)
"""Suffixes of what is no image, table or archive: nobody looks into such a file."""
_ARROW_STREAM: Final = b"\xff\xff\xff\xff"


def format_of_head(head: bytes) -> str | None:
    """The reader of a data file by its first bytes; None where there is none."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", _ARROW_STREAM)):
        return "arrow"
    if is_image_head(head):
        return "imagefolder"
    if form_of(head) in {ZIP, SEVEN_ZIP}:
        return "archive"
    return "webdataset" if looks_like_tar(head) else None


def is_unnamed(path: str) -> bool:
    """Whether a file's name tells nothing of what is in it."""
    if format_of(path) or is_companion(path) or is_junk(path) or is_hidden(path) or is_unread_archive(path):
        return False
    return suffix_of(path) not in _OTHER


def local_formats(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """The same of files on this disk, all of them; those that cannot be read have none."""
    found: dict[str, str] = {}
    for path in filter(is_unnamed, paths):
        try:
            with (root / path).open("rb") as file:
                form = format_of_head(file.read(HEAD_BYTES))
        except OSError:
            continue
        if form is not None:
            found[path] = form
    return found


def with_contents(contents: Mapping[str, str]) -> Callable[[str], str | None]:
    """`format_of` for files whose names tell nothing too."""
    return lambda path: format_of(path) or contents.get(path)
