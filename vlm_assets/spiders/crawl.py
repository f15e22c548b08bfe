"""Runs a crawl in a process of its own and reads what it found. Kill-safe: what is parsed is not asked for again."""

import importlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import vlm_assets
from vlm_assets.spiders.model import (
    ERRORS_FILE,
    INDEX_FILE,
    CrawlTask,
    Title,
    TitleLink,
    is_wanted,
    title_file,
)
from vlm_assets.transfer.proxies import Proxies
from vlm_assets.words.contexts import SourceSettings
from vlm_assets.words.disk import remove_tree
from vlm_assets.words.errors import SourceError

_STALE_S: Final = 86400.0
"""A crawl that was cut short longer ago is begun anew: the site may have changed since."""
_ROOT: Final = str(Path(vlm_assets.__file__).parent.parent)
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from vlm_assets.spiders import run; run.main(int(sys.argv[2]))"
)


def spiders() -> tuple[str, ...]:
    """Names of the spiders there are: modules of this package with an archive's name."""
    own = {"archive", "crawl", "dates", "model", "polite", "run"}
    found = (path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    return tuple(sorted(set(found) - own))


def default_base_url(spider: str) -> str:
    """Where the archive of a spider is, if the catalogue does not say."""
    return str(importlib.import_module(f"vlm_assets.spiders.{spider}").SPIDER.default_base_url)


def crawl(task: CrawlTask, settings: SourceSettings, *, force: bool = False) -> list[Title]:
    """All wanted titles with their issues, by slug. Asks for the index and one page a title.

    Pages that an earlier crawl of the last day had parsed before it was cut short are not asked for again (but
    with `force`). The log of the crawl lies beside its folder.

    Raises:
        SourceError: a page could not be had or does not look as expected: names every such page.
    """
    if force or _is_stale(task.folder):
        shutil.rmtree(task.folder, ignore_errors=True)
    task.folder.mkdir(parents=True, exist_ok=True)
    (task.folder / ERRORS_FILE).unlink(missing_ok=True)
    log = task.folder.parent / f"{task.folder.name}.log"
    with log.open("wb") as stream:
        ended = subprocess.run(
            [sys.executable, "-P", "-c", _PROGRAM, _ROOT, str(os.getpid())],
            input=json.dumps(task.to_json()).encode(),
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=_environment(settings),
            check=False,
        )
    try:
        errors = json.loads((task.folder / ERRORS_FILE).read_text("utf-8"))
    except FileNotFoundError:
        raise SourceError(
            f"the crawl of {task.spider} did not come to its end (exit status {ended.returncode}); see {log}"
        ) from None
    if errors:
        raise SourceError(f"the crawl of {task.spider} failed: " + "; ".join(errors))
    links = [TitleLink(**values) for values in json.loads((task.folder / INDEX_FILE).read_text("utf-8"))]
    titles = [
        Title.from_json(json.loads(title_file(task.folder, link.slug).read_text("utf-8")))
        for link in links
        if is_wanted(link, task.titles)
    ]
    remove_tree(task.folder)
    return titles


def _is_stale(folder: Path) -> bool:
    """Whether the index in a folder is older than a day, or of a clock that ran ahead, or there is none."""
    try:
        return not 0 <= time.time() - (folder / INDEX_FILE).stat().st_mtime <= _STALE_S
    except FileNotFoundError:
        return True


def _environment(settings: SourceSettings) -> Mapping[str, str]:
    """The child's environment: the settings' proxies; the extra CA certificates beside the system's own."""
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    kept |= Proxies.of(settings).environment()
    if settings.ca_bundle is not None:
        paths = ssl.get_default_verify_paths()
        kept["SSL_CERT_FILE"] = str(settings.ca_bundle)
        kept.setdefault("SSL_CERT_DIR", paths.capath or "/etc/ssl/certs")
    return kept
