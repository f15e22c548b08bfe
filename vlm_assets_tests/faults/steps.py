"""The steps that change the disk: each with what lies there before it, the command, and what must hold at its end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.annotate.run import annotate
from vlm_assets.catalog.annotations import AnnotationSpec
from vlm_assets.corpus.build import write_shards
from vlm_assets.corpus.seal import seal
from vlm_assets.corpus.shards import plan_shards
from vlm_assets.ingest.listing import refresh_listing
from vlm_assets.ingest.slice import SliceOptions, build_slice
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown import TakedownOrder, finish_takedowns, take_down
from vlm_assets.remote.line import line_remote
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import STAGING
from vlm_assets_tests.faults.place import GONE, TARGET, Act, command, core
from vlm_assets_tests.operate.schema_1_root import make_old
from vlm_assets_tests.workplace import picture


@dataclass(frozen=True, slots=True)
class Step:
    """`act` from `before`, a kept data root; `remote`: none, an own prefix of the bucket, or one that is full."""

    name: str
    before: str
    act: Act
    remote: str = ""
    points: int = 4
    """Of the default run."""
    by_kind: bool = False
    """One call of each kind stands for all: a whole build makes 26,000, most of them SQLite's."""
    gone: bool = False
    """Nothing may say what was taken down once the command says 0."""


def fetch(installation: Installation) -> None:
    for spec in installation.catalog.sources:
        listing = refresh_listing(installation, spec).listing
        for key in listing.slices:
            build_slice(installation, spec, listing, key)


def fetch_again(installation: Installation) -> None:
    for spec in installation.catalog.sources:
        listing = refresh_listing(installation, spec, force=True).listing
        for key in listing.slices:
            build_slice(installation, spec, listing, key, SliceOptions(force=True))


def say(installation: Installation) -> None:
    """Values of two annotators, which the catalogue of the other steps does not name."""
    named = tuple(AnnotationSpec(name=name) for name in ("aspect", "length"))
    corpus = installation.catalog.corpus.model_copy(update={"annotations": named})
    catalog = installation.catalog.model_copy(update={"corpus": corpus})
    report = annotate(replace(installation, catalog=catalog), workers=1)
    if report.failed:
        raise StoreError("; ".join(f"FAILED {name}: {told}" for name, told in report.failed.items()))


def plan(installation: Installation) -> None:
    allocate(installation, TARGET)


def write(installation: Installation) -> Path:
    target = installation.root.allocation("tiny", TARGET)
    staging, _ = plan_shards(target, installation.root, tombstones_in_force(installation.root))
    write_shards(staging, workers=1)
    return staging


def close(installation: Installation) -> None:
    waiting = sorted(installation.root.corpus("tiny", TARGET).parent.glob(f"{STAGING}/*/plan.json"))
    seal(waiting[0].parent if waiting else write(installation))


def whole(installation: Installation) -> None:
    for step in (fetch, plan, close):
        step(installation)


def warn(installation: Installation) -> None:
    """Takes down what was never here."""
    take_down(installation, TakedownOrder(sha256=sha256(picture(GONE)).hexdigest()))


def meet(installation: Installation) -> None:
    """Fetches what is on record, pushes as the assets do, and finishes; listed again, it is not said again."""
    remote = line_remote(installation)
    for spec in installation.catalog.sources:
        listing = refresh_listing(installation, spec).listing
        remote.after_listing(spec.name)
        for key in listing.slices:
            build_slice(installation, spec, listing, key)
            remote.after_slice(spec.name, key)
    finish_takedowns(installation)
    for spec in installation.catalog.sources:
        refresh_listing(installation, spec)
        remote.after_listing(spec.name)


def stale(installation: Installation) -> None:
    """Old versions, downloads and a cut run's leftovers, for `prune`."""
    for spec in installation.catalog.sources:
        cache = installation.root.cache_of(spec.name)
        (cache / "spool" / "x").mkdir(parents=True)
        (cache / "spool" / "x" / "1.jpg").write_bytes(b"download")
        for link in installation.root.source(spec.name).iterdir():
            if link.is_symlink():
                old = link.resolve().with_name("0123456789ab")
                old.mkdir(exist_ok=True)
                (old / "data-00000.arrow").write_bytes(b"left")


def outdated(installation: Installation) -> None:
    make_old(installation)


_TAKEDOWN = ("takedown", "--sha256", sha256(picture(GONE)).hexdigest(), "--yes")

STEPS = (
    Step("fetch", "empty", core(fetch), points=5),
    Step("refetch", "sealed", core(fetch_again), points=3),
    Step("annotate", "fetched", core(say), points=0),
    Step("allocation", "fetched", core(plan), points=3),
    Step("shards", "planned", core(write), points=3),
    Step("seal", "written", core(close), points=3),
    Step("takedown", "sealed", command(*_TAKEDOWN), points=5, gone=True),
    Step("takedown-remote", "sealed", command(*_TAKEDOWN), "backed up", points=3, gone=True),
    Step("meet", "warned", core(meet), "empty", points=3, gone=True),
    Step("backup", "sealed", command("backup"), "empty", points=3),
    Step("restore", "empty", command("restore"), "full", points=4),
    Step("prune", "stale", command("prune"), points=3),
    Step("migrate", "outdated", command("migrate", "--apply"), points=3),
    Step("build", "empty", command("build"), points=0, by_kind=True),
)  # fmt: skip

KEPT: tuple[tuple[str, str, Callable[[Installation], object]], ...] = (
    ("fetched", "empty", fetch),
    ("planned", "fetched", plan),
    ("written", "planned", write),
    ("sealed", "written", close),
    ("warned", "empty", warn),
    ("stale", "sealed", stale),
    ("outdated", "sealed", outdated),
)
"""Name, what it is made from, and by what."""
