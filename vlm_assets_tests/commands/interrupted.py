"""Every command with the place deep inside at which it is interrupted, and a program that stops there.

The place gives the code of a sleeping function to the one that the command is to reach, whoever has a name for it:
the process is the real one, and Ctrl-C finds it at work.
"""

from dataclasses import dataclass
from typing import Final

STOPPED: Final = """
import importlib, inspect, sys
module, name = sys.argv.pop(1).split(":")
def stop(*args, **kwargs):
    import sys, time
    print("begun", file=sys.stderr, flush=True)
    time.sleep(600)
target = importlib.import_module(module)
for part in name.split("."):
    target = getattr(target, part)
inspect.unwrap(target).__code__ = stop.__code__
from vlm_assets.cli import main
main()
"""
"""`python -c STOPPED module:function words…`"""


@dataclass(frozen=True, slots=True)
class Try:
    """The words of a command, where it is interrupted, and what the same words end with then (None: not tried)."""

    words: tuple[str, ...]
    place: str
    afterwards: int | None = 0
    cheap: bool = False
    """Tried in every run of the tests."""


TRIES: Final[dict[str, Try]] = {
    "add": Try(("add", "client_folder", "in", "--category", "photos", "--subcategory", "street"),
               "vlm_assets.operate.authoring.looks:look_at", None),
    "annotate": Try(("annotate",), "vlm_assets.annotate.run:annotate"),
    "audit": Try(("audit", "--target", "10"), "vlm_assets.audit.run:_judge"),
    "backup": Try(("backup",), "vlm_assets.remote.bucket:open_remote", None),
    "build": Try(("build", "--target", "10"), "vlm_assets.ingest.slice:build_slice"),
    "check": Try(("check",), "vlm_assets.operate.renderers:examine_renderers"),
    "demo": Try(("demo", "--folder", "demo", "--port", "28600"), "vlm_assets.demo.prepare:prepare_demo", None),
    "diff": Try(("diff", "10", "20"), "vlm_assets.corpus.diff:diff_versions"),
    "docs": Try(("docs", "--out", "reference.md"), "vlm_assets.operate.authoring.reference:reference_page"),
    "export": Try(("export", "--target", "10", "--out", "out"), "vlm_assets.exports.parquet:write_parquet"),
    "init": Try(("init", "new", "--catalog", "new_catalog"), "vlm_assets.operate.authoring.schemas:write_schemas"),
    "lock": Try(("lock",), "vlm_assets.operate.lock:_write_items"),
    "migrate": Try(("migrate",), "vlm_assets.operate.migration:outdated"),
    "pin": Try(("pin", "--target", "10"), "vlm_assets.corpus.pins:pin_version"),
    "plan": Try(("plan", "--target", "10"), "vlm_assets.operate.forecast:forecast"),
    "prune": Try(("prune",), "vlm_assets.operate.prune:_planned_versions"),
    "publish": Try(("publish", "--repo", "owner/name", "--target", "10"),
                   "vlm_assets.commands.takedowns:finish_quietly", None),
    "reconcile": Try(("reconcile",), "vlm_assets.orchestration.command.reconcile:reconcile"),
    "rename": Try(("rename", "old", "street"), "vlm_assets.operate.rename:_move_slice"),
    "report": Try(("report", "10"), "vlm_assets.papers.write:write_papers"),
    "restore": Try(("restore",), "vlm_assets.remote.bucket:open_remote", None),
    "show": Try(("show", "street/root/0000.jpeg"), "vlm_assets.operate.lineage:show_row"),
    "status": Try(("status",), "vlm_assets.operate.status:read_status", cheap=True),
    "takedown": Try(("takedown", "--id", "street/root/0001.jpeg", "--yes"),
                    "vlm_assets.operate.takedown.slices:empty_slices"),
    "unpin": Try(("unpin", "10"), "vlm_assets.corpus.pins:unpin_version", None),
    "verify": Try(("verify",), "vlm_assets.operate.verify:verify"),
}  # fmt: skip
"""By name."""
