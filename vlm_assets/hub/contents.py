"""Data files whose names say nothing: what their first bytes say. Content only adds items, it takes none away."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import orjson

from vlm_assets.archives.contents import is_image_head
from vlm_assets.archives.forms import SEVEN_ZIP, ZIP, form_of
from vlm_assets.archives.names import is_hidden, is_junk, is_unread_archive, suffix_of
from vlm_assets.archives.tars import looks_like_tar
from vlm_assets.hub.client import HubRepo, RepoFile
from vlm_assets.hub.left_out import is_companion
from vlm_assets.hub.splits import format_of

HEAD_BYTES: Final = 4096
LOOKED_AT: Final = 1000
"""Files without a known suffix that a listing asks for the first bytes of: the first by path, on every machine."""
_AT_ONCE: Final = 8
_OTHER: Final = frozenset(
    {
        ".txt",
        ".md",
        ".rst",
        ".html",
        ".htm",
        ".xml",
        ".svg",
        ".yaml",
        ".yml",
        ".toml",
        ".ini",
        ".cfg",
        ".py",
        ".sh",
    }
    | {
        ".ipynb",
        ".js",
        ".css",
        ".pdf",
        ".doc",
        ".docx",
        ".ppt",
        ".pptx",
        ".xls",
        ".xlsx",
        ".tex",
        ".bib",
        ".log",
    }
    | {
        ".mp3",
        ".wav",
        ".flac",
        ".ogg",
        ".m4a",
        ".mp4",
        ".mkv",
        ".avi",
        ".mov",
        ".webm",
        ".npy",
        ".npz",
        ".h5",
    }
    | {
        ".pt",
        ".pth",
        ".ckpt",
        ".safetensors",
        ".onnx",
        ".pkl",
        ".caption",
        ".lock",
        ".gitignore",
        ".gitattributes",
    }
)
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


def unnamed_files(tree: Mapping[str, RepoFile]) -> list[RepoFile]:
    """Files whose names tell nothing, by path."""
    return [file for path, file in sorted(tree.items()) if file.size_bytes and is_unnamed(path)]


def formats_by_content(
    repo: HubRepo, sha: str, tree: Mapping[str, RepoFile], cache_dir: Path
) -> dict[str, str]:
    """Formats of files whose names tell none, by path: the first `LOOKED_AT` of them, kept in the cache.

    Raises:
        SourceError: one cannot be read.
    """
    unnamed = unnamed_files(tree)[:LOOKED_AT]
    if not unnamed:
        return {}
    kept = cache_dir / "heads.json"
    known: dict[str, str] = orjson.loads(kept.read_bytes()) if kept.exists() else {}
    unknown = [file for file in unnamed if file.identity not in known]

    def look(file: RepoFile) -> str:
        return format_of_head(repo.read_range(file, sha, 0, min(file.size_bytes, HEAD_BYTES))) or ""

    if unknown:
        at_once = min(repo.guest.limits.concurrency or 1, _AT_ONCE)
        with ThreadPoolExecutor(at_once, thread_name_prefix="hub-heads") as pool:
            known |= dict(zip([file.identity for file in unknown], pool.map(look, unknown), strict=True))
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".tmp")
        partial.write_bytes(orjson.dumps(known))
        partial.replace(kept)
    return {file.path: form for file in unnamed if (form := known.get(file.identity))}


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
