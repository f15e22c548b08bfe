"""What a page worker says, asked in this process."""

from pathlib import Path
from typing import Any

from vlm_assets.pdf import worker
from vlm_assets.pdf.facts import PageOptions

Answers = list[dict[str, Any]]
PAGES = 99


def answers_of(folder: Path, path: Path, **options: Any) -> Answers:
    """All messages about a document but its steps. With the fixture `unbounded`, which no processor time ends."""
    said: Answers = []
    (folder / "pages").mkdir(exist_ok=True)
    serve = worker.page_worker(PageOptions(**{"dpi": 60, **options}), folder / "pages")
    serve({"path": str(path), "start": 0, "stop": PAGES}, said.append)
    return [answer for answer in said if "step" not in answer]
