"""Files of a repository whose names say nothing: their first bytes, asked for once."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import orjson

from vlm_assets.hub.client import HubRepo
from vlm_assets.hub.contents import HEAD_BYTES, format_of_head, is_unnamed
from vlm_assets.hub.repo_files import RepoFile
from vlm_assets.words.layout import temporary_beside

LOOKED_AT: Final = 1000
"""Files without a known suffix that a listing asks for the first bytes of: the first by path, on every machine."""
_AT_ONCE: Final = 8


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
        beside = temporary_beside(kept)
        beside.write_bytes(orjson.dumps(known))
        beside.replace(kept)
    return {file.path: form for file in unnamed if (form := known.get(file.identity))}
