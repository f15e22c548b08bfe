"""Page workers that die over the second page of a document, where they look at it, or cannot write."""

import os
import signal
from pathlib import Path
from typing import Any

from vlm_assets.pdf import worker
from vlm_assets.pdf.facts import PageOptions
from vlm_assets.workers.far_end import Handler


def crashing(options: PageOptions, folder: Path) -> Handler:
    """Of a fault of its own."""
    return _dying(options, folder, signal.SIGSEGV)


def killed(options: PageOptions, folder: Path) -> Handler:
    """By somebody outside."""
    return _dying(options, folder, signal.SIGKILL)


def once(options: PageOptions, folder: Path) -> Handler:
    """By its limit of processor time, over each page of each document when that is looked at first."""
    module: Any = worker
    decide = module.decide

    def look(document: Any, page: int, *more: Any, **named: Any) -> Any:
        try:
            Path(os.environ["PAGE_DEATHS"], f"{document.path.name}-{page}").touch(exist_ok=False)
        except FileExistsError:
            return decide(document, page, *more, **named)
        os.kill(os.getpid(), signal.SIGXCPU)
        raise AssertionError("it lives")

    module.decide = look
    return worker.page_worker(options, folder)


def _dying(options: PageOptions, folder: Path, deadly: int) -> Handler:
    module: Any = worker
    decide = module.decide

    def look(document: Any, page: int, *more: Any, **named: Any) -> Any:
        if page == 1:
            os.kill(os.getpid(), deadly)
        return decide(document, page, *more, **named)

    module.decide = look
    return worker.page_worker(options, folder)


def unable(_options: PageOptions, _folder: Path) -> Handler:
    """Tells of a disk that takes nothing, and of no page."""

    def serve(_request: Any, say: Any) -> float:
        say({"pages": 3})
        say({"error": "/x: cannot be written", "full": True})
        return 0.0

    return serve
