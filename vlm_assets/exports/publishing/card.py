"""The card of a published repository: the corpus's own, with the files, configs and the call that opens them here."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.exports.manifest import MANIFEST
from vlm_assets.exports.publishing.plan import PlannedFile, configs, rows_by_config
from vlm_assets.exports.where import Where
from vlm_assets.images.plugins import READER_LINES
from vlm_assets.store.papers import CARD_FILE

_FENCE = "---\n"


def repo_card(
    version: Path, corpus: CorpusManifest, repo: str, files: Sequence[PlannedFile], where: Where | None
) -> str:
    """The card as Markdown with the Hub's header. Sections of the corpus's card follow where it has one."""
    header, body = _corpus_card(version)
    header = {**header, "configs": configs(files)}
    header.setdefault("pretty_name", f"{corpus.corpus} {corpus.target}")
    told = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    parts = [
        f"{_FENCE}{told}{_FENCE}",
        f"# {corpus.corpus} {corpus.target}\n",
        _opening(corpus, repo, files, where, body),
    ]
    if body:
        parts.append(body)
    return "\n".join(parts)


def _opening(
    corpus: CorpusManifest, repo: str, files: Sequence[PlannedFile], where: Where | None, body: str
) -> str:
    rows = rows_by_config(files)
    lines = "".join(f"| `{name}` | {count:,} |\n" for name, count in rows.items())
    chosen = f" Of the corpus those rows where `{where.text}`." if where else ""
    plugins = "".join(f"{line}\n" for form, line in READER_LINES.items() if f"| {form} |" in body)
    return (
        f"The corpus with root hash `{corpus.root_hash}`.{chosen} Rows of a file stand source by source, so that "
        "growth changes little of it: shuffle them before training.\n\n"
        f"```python\nfrom datasets import load_dataset\n{plugins}\n"
        f'corpus = load_dataset("{repo}", split="train")\n```\n\n'
        f"| config | rows |\n|---|---|\n{lines}\n`{MANIFEST}` lists the files with their hashes.\n"
    )


def _corpus_card(version: Path) -> tuple[dict[str, Any], str]:
    """Header of the corpus's card and its sections; both empty where there is none yet.

    Without what is of the corpus's own files (columns, sizes), and without samples: these may be rows that are not
    published, and would stay in the repository's history.
    """
    try:
        text = (version / CARD_FILE).read_text("utf-8")
    except FileNotFoundError:
        return {}, ""
    _, head, body = text.split(_FENCE, 2) if text.startswith(_FENCE) else ("", "", text)
    sections = body.find("\n## ")
    header = yaml.safe_load(head) or {}
    header.pop("dataset_info", None)
    kept = body[sections + 1 :] if sections >= 0 else ""
    return header, re.sub(r"^## Samples\n.*?(?=^## |\Z)", "", kept, flags=re.MULTILINE | re.DOTALL)
