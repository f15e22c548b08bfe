"""Every hash on disk against the bytes: slices, listings, plans, corpora, takedowns. Writes its progress only.

Hashing runs in threads: blake3 releases the GIL and is several times faster than the disk, so processes add nothing.
A file with many names (shards shared by corpus versions) is read once.
"""

import mmap
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Literal

import orjson
from blake3 import blake3

from vlm_assets.annotate.files import read_annotation
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.operate.prune import left_half_done
from vlm_assets.operate.takedown import litter, unfinished_takedowns
from vlm_assets.store.away import away
from vlm_assets.store.met import unsettled
from vlm_assets.store.slices import REJECTS_FILE, RUN_FILE
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import AnnotationError, DataAwayError
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot
from vlm_assets.words.manifest import VERSION_HASH_LENGTH

PROGRESS_FILE: Final = "verify.progress.jsonl"
_BLOCK: Final = 8 * 2**20


@dataclass(frozen=True, slots=True)
class VerifyProblem:
    """One thing on disk that is not what a manifest says."""

    path: str
    """Below the data root."""
    what: Literal["missing", "size", "hash", "manifest"]
    expected: str
    observed: str
    advice: str

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.path}: {self.what}: expected {self.expected}, found {self.observed}. {self.advice}"


@dataclass(slots=True)
class VerifyReport:
    """What was verified. `resumed_files` were read by an earlier, cut run and have not changed since."""

    files: int = 0
    size_bytes: int = 0
    resumed_files: int = 0
    away_files: int = 0
    """Data files that are on record as lying at the remote alone: no problem, and not read."""
    away_bytes: int = 0
    seconds: float = 0.0
    problems: list[VerifyProblem] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    """What a cut write or deletion left and nobody works on; shown by no name, removed by `prune`."""
    unfinished: list[str] = field(default_factory=list)
    """Takedowns on record that this machine has not carried out to the end, and slices of a fetch that was cut as it
    met what is taken down."""

    @property
    def exit_code(self) -> Literal[0, 1]:
        """0 all as the manifests say and nothing is to be taken down, 1 not."""
        return 1 if self.problems or self.unfinished else 0

    def to_json(self) -> dict[str, Any]:
        """Stable JSON: the fields, and exit_code."""
        return {
            "files": self.files,
            "size_bytes": self.size_bytes,
            "resumed_files": self.resumed_files,
            "away_files": self.away_files,
            "away_bytes": self.away_bytes,
            "seconds": round(self.seconds, 3),
            "problems": [
                {name: getattr(one, name) for name in ("path", "what", "expected", "observed", "advice")}
                for one in self.problems
            ],
            "leftovers": self.leftovers,
            "unfinished": self.unfinished,
            "exit_code": self.exit_code,
        }


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file and what it must be."""

    path: Path
    blake3: str
    size_bytes: int | None
    advice: str


Progress = Callable[[VerifyReport, int], None]
"""Told the report so far and the bytes of all files in it."""


@named_disk_errors
def verify(
    installation: Installation,
    *,
    workers: int = 0,
    fresh: bool = False,
    progress: Progress = lambda report, total: None,  # noqa: ARG005 - does nothing
) -> VerifyReport:
    """Hashes every file that a manifest names; each problem tells what to do about it.

    Cut short, the next call goes on after the files that are done, unless `fresh`: done ones stand in
    `verify.progress.jsonl` under the data root with size, mtime and inode. The file goes when a run reaches its end.
    Data that lies at the remote alone is counted: `verify --remote` looks at it there.
    Versions that vanish while this runs (a seal removes old ones) are no problem.

    Raises:
        LockHeldError: another `verify` runs on this data root.
    """
    root = installation.root
    clock = time.monotonic()
    report = VerifyReport()
    with hold_lock(root.locks / "verify", "verify"):
        path = root.path / PROGRESS_FILE
        if fresh:
            path.unlink(missing_ok=True)
        done = _read_progress(path)
        wanted = list(_everything(root, report))
        with path.open("ab") as notes:
            _hash_all(
                root, wanted, done, notes, report, workers or installation.settings.worker_count, progress
            )
        path.unlink(missing_ok=True)
    _look_at_annotations(root, report)
    report.problems.sort(key=lambda one: one.path)
    report.leftovers += [_name(root, path) for path in litter(root)]
    report.leftovers += [_name(root, one.path) for one in left_half_done(root) if one.abandoned]
    report.unfinished = [
        *unfinished_takedowns(root),
        *(f"{one.source}/{one.slice}" for one in unsettled(root)),
    ]
    report.seconds = time.monotonic() - clock
    return report


def _everything(root: DataRoot, report: VerifyReport) -> Iterator[_Wanted]:
    """Every file with a hash somewhere. Manifests are checked against their folders' names on the way."""
    for listing in sorted(root.listings.glob("*.json")):
        content = _json(root, listing, report, "List the source again.")
        if content is not None:
            advice = "List the source again with --force."
            for table in ("items", "left_out"):
                if name := content.get(f"{table}_file"):
                    yield _Wanted(root.listings / name, str(content.get(f"{table}_blake3")), None, advice)
    for kind, advice in (
        ("datasets", "Fetch the slice again (build --force-redownload), or restore it."),
        ("allocations", "Delete the plan and build the target again."),
        ("corpora", "Restore the version, or build the target again; do not train on it."),
    ):
        for folder in sorted((root.path / kind).glob(f"*/{VERSIONS}/*")):
            yield from _version(root, folder, report, advice)
    for path in sorted(root.tombstones.glob("*.json")):
        found = blake3(path.read_bytes()).hexdigest()[:VERSION_HASH_LENGTH]
        if found != path.stem:
            report.problems.append(
                VerifyProblem(
                    _name(root, path), "manifest", path.stem, found, "A takedown was edited: give it again."
                )
            )


def _look_at_annotations(root: DataRoot, report: VerifyReport) -> None:
    """Each file of values against the hash that it has of them."""
    for path in sorted(root.annotations.glob("*/*/*.parquet")):
        try:
            found = read_annotation(path)
        except AnnotationError as error:
            told = "vlm-assets annotate computes it anew."
            report.problems.append(
                VerifyProblem(_name(root, path), "hash", "its own values", str(error), told)
            )
            found = None
        report.files += 1
        report.size_bytes += path.stat().st_size if found is not None else 0


def _version(root: DataRoot, folder: Path, report: VerifyReport, advice: str) -> Iterator[_Wanted]:
    path = folder / MANIFEST
    if not path.is_file():
        if folder.is_dir():
            report.leftovers.append(_name(root, folder))
        return
    content = _json(root, path, report, advice)
    if content is None:
        return
    found = blake3(path.read_bytes()).hexdigest()[:VERSION_HASH_LENGTH]
    if found != folder.name:
        report.problems.append(VerifyProblem(_name(root, path), "manifest", folder.name, found, advice))
    for name, entry in sorted(content.get("files", {}).items()):
        yield _Wanted(folder / name, entry["blake3"], entry["size_bytes"], advice)
    if content.get("type") == "slice" and (folder / RUN_FILE).is_file():
        run = _json(root, folder / RUN_FILE, report, "It is history only; the next fetch writes it anew.")
        if run is not None and run.get("rejects_blake3"):
            yield _Wanted(folder / REJECTS_FILE, run["rejects_blake3"], None, advice)


def _json(root: DataRoot, path: Path, report: VerifyReport, advice: str) -> Mapping[str, Any] | None:
    try:
        content: Mapping[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError as error:
        report.problems.append(VerifyProblem(_name(root, path), "manifest", "JSON", str(error), advice))
        return None
    return content


def _name(root: DataRoot, path: Path) -> str:
    return path.relative_to(root.path).as_posix()


def _read_progress(path: Path) -> dict[str, str]:
    """Hash by the state of the file (size, mtime, inode) that it was read in. A torn last line is left out."""
    done = {}
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            state, digest = orjson.loads(line)
        except (orjson.JSONDecodeError, ValueError):
            continue
        done[str(state)] = str(digest)
    return done


def _state(stat: os.stat_result) -> str:
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"


def _hash_all(
    root: DataRoot,
    wanted: list[_Wanted],
    done: dict[str, str],
    notes: IO[bytes],
    report: VerifyReport,
    workers: int,
    progress: Progress,
) -> None:
    todo: dict[str, list[_Wanted]] = {}
    paths: dict[str, Path] = {}
    total = 0
    for one in wanted:
        try:
            stat = one.path.stat()
        except FileNotFoundError:
            if not _lies_away(root, report, one) and (
                (one.path.parent / MANIFEST).is_file() or one.path.parent == root.listings
            ):
                _problem(root, report, one, "missing", "a file", "none")
            continue
        report.files += 1
        if one.size_bytes is not None and stat.st_size != one.size_bytes:
            _problem(root, report, one, "size", f"{one.size_bytes} bytes", f"{stat.st_size} bytes")
            continue
        state = _state(stat)
        if state in done:
            report.resumed_files += 1
            _judge(root, report, one, done[state])
            continue
        if state not in todo:
            total += stat.st_size
        todo.setdefault(state, []).append(one)
        paths[state] = one.path
    with ThreadPoolExecutor(workers) as pool:
        waiting: dict[Future[str | None], str] = {}
        pending = iter(paths.items())
        while True:
            for state, path in pending:
                waiting[pool.submit(_hash, path)] = state
                if len(waiting) >= 2 * workers:
                    break
            if not waiting:
                return
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                state, digest = waiting.pop(future), future.result()
                if digest is None:
                    continue  # deleted meanwhile
                notes.write(orjson.dumps([state, digest]) + b"\n")
                notes.flush()
                report.size_bytes += int(state.split(":")[2])
                for one in todo[state]:
                    _judge(root, report, one, digest)
            progress(report, total)


def _lies_away(root: DataRoot, report: VerifyReport, one: _Wanted) -> bool:
    """Whether a file is on record as lying at the remote alone, as what its manifest says."""
    try:
        found = away(one.path)
    except DataAwayError as error:
        _problem(root, report, one, "missing", "a file, or a note where it lies", str(error))
        return True
    if found is None:
        return False
    report.away_files += 1
    report.away_bytes += found.entry.size_bytes
    _judge(root, report, one, found.entry.blake3)
    return True


def _hash(path: Path) -> str | None:
    digest = blake3()
    try:
        # Memory of its own, which goes back at once: each thread's heap would keep as much for good.
        with path.open("rb", buffering=0) as file, mmap.mmap(-1, _BLOCK) as block, memoryview(block) as view:
            while count := file.readinto(view):
                digest.update(view[:count])
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def _judge(root: DataRoot, report: VerifyReport, one: _Wanted, digest: str) -> None:
    if digest != one.blake3:
        _problem(root, report, one, "hash", f"blake3 {one.blake3[:16]}…", f"{digest[:16]}…")


def _problem(
    root: DataRoot,
    report: VerifyReport,
    one: _Wanted,
    what: Literal["missing", "size", "hash", "manifest"],
    expected: str,
    observed: str,
) -> None:
    report.problems.append(VerifyProblem(_name(root, one.path), what, expected, observed, one.advice))
