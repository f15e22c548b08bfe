"""A corpus published to a repository of the Hub: files that changed are sent, then one commit shows them all."""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from pydantic import ValidationError

from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.corpus.manifest import CorpusManifest, data_name
from vlm_assets.exports.destinations import DATA
from vlm_assets.exports.files import write_file
from vlm_assets.exports.formats import Format
from vlm_assets.exports.manifest import MANIFEST, ExportedShard, ExportManifest
from vlm_assets.exports.places import HUB, ExportPlace, own_work, remember_place
from vlm_assets.exports.publishing.card import repo_card
from vlm_assets.exports.publishing.order import BlockOrder
from vlm_assets.exports.publishing.plan import PlannedFile, file_batches, plan_files
from vlm_assets.exports.rows import check_hash
from vlm_assets.exports.run import FORMAT_VERSION, sealed_corpus
from vlm_assets.exports.where import Where
from vlm_assets.hub.writer import RepoState, RepoWriter, Sent
from vlm_assets.installation.opening import Installation
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.counts import so_many
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import ConfigError, Problem, RemoteError, StoreError
from vlm_assets.words.layout import VERSIONS

_CARD: Final = "README.md"
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,94}(?<![.-])", re.ASCII)
_OF_THE_HUB: Final = frozenset({".gitattributes", _CARD})
"""What a repository has that somebody made by hand and nobody filled."""
_THREADS: Final = 2
"""One file is written while another goes out."""

Progress = Callable[[int, int], None]
"""Told bytes of the corpus done and in all, after each file."""


def no_progress(done: int, total: int) -> None:
    """Tells nobody."""
    del done, total


@dataclass(frozen=True, slots=True)
class Decision:
    """What a publication would do. `kept` are there as they would be; `removed` are of no use any more."""

    repo: str
    state: RepoState | None
    files: tuple[PlannedFile, ...]
    kept: dict[str, ExportedShard]
    removed: tuple[str, ...]
    public: bool
    """Whether a repository that has to be made would be."""

    @property
    def missing(self) -> list[PlannedFile]:
        """Files that have to be sent."""
        return [one for one in self.files if one.path not in self.kept]

    @property
    def rows(self) -> int:
        """Of the repository when it is done."""
        return sum(one.rows for one in self.files)


@dataclass(frozen=True, slots=True)
class Published:
    """What came of it: the repository's commit, and how many files went."""

    repo: str
    sha: str
    manifest: ExportManifest
    sent: int
    kept: int
    removed: int
    before: str | None
    """The commit that it replaced; None where there was none, or nothing changed."""


def decide(
    installation: Installation, target: str, repo: str, *, where: Where | None = None, public: bool = False
) -> Decision:
    """Looks at the corpus and the repository, changes neither.

    Raises:
        ConfigError: no repository's name, or test mode.
        CorpusError: nothing is sealed, or no row of it is wanted.
        StoreError: the repository holds something else, or shows to everybody what shall be private.
        RemoteError: the Hub refuses, or cannot be reached.
    """
    with _publication(installation, target, repo, where, public=public) as publication:
        return publication.decision


@named_disk_errors
def publish_corpus(
    installation: Installation,
    target: str,
    repo: str,
    *,
    where: Where | None = None,
    public: bool = False,
    progress: Progress = no_progress,
) -> Published:
    """Makes the repository hold the target's sealed corpus, or those of its rows for which `where` is true.

    A new repository is private unless `public`. Files of unchanged shards stay, others are written and sent; one
    commit then shows them, the card and the manifest, so that nobody sees half of it. What an interrupted run sent is
    not sent again. The data root remembers the repository, so that a takedown reaches it.

    Raises:
        As `decide`, and DiskFullError: no room for the files that are on their way.
    """
    with _publication(installation, target, repo, where, public=public) as publication:
        return publication.carry_out(progress)


def _publication(
    installation: Installation, target: str, repo: str, where: Where | None, *, public: bool
) -> "_Publication":
    if installation.settings.test_mode:
        raise ConfigError(Problem("settings", "VLM_TEST_MODE", "a trial publishes nothing"))
    _check_name(repo)
    takedowns = read_tombstones(installation.root)
    version, corpus = sealed_corpus(installation, target, takedowns)
    place = ExportPlace(
        out=f"{HUB}{repo}",
        format=Format.PARQUET,
        corpus=corpus.corpus,
        target=corpus.target,
        where=where.text if where else None,
        takedowns=takedowns.names,
    )
    writer = RepoWriter(repo, installation.settings, installation.root.locks)
    return _Publication(installation, version, corpus, place, where, writer, public=public)


def _check_name(repo: str) -> None:
    if not _NAME.fullmatch(repo) or "--" in repo or ".." in repo:
        raise ConfigError(
            Problem("--repo", "", f"{repo!r} is not of the form owner/name, as the Hub has them")
        )


@dataclass
class _Publication:
    """One publication under way."""

    installation: Installation
    version: Path
    corpus: CorpusManifest
    place: ExportPlace
    where: Where | None
    writer: RepoWriter
    public: bool = field(kw_only=True)

    def __enter__(self) -> Self:
        self.writer.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.__exit__(None, None, None)

    @cached_property
    def decision(self) -> Decision:
        state = self.writer.look()
        before = self._found(state)
        files = tuple(plan_files(self.version, self.corpus, self.where))
        kept = {
            file.path: told
            for file in files
            if state
            and before
            and (told := before.files.get(file.path))
            and self._is_kept(file, told, before, state)
        }
        names = {file.path for file in files}
        removed = () if state is None else tuple(
            sorted(path for path in state.files if path.startswith(DATA) and path not in names)
        )  # fmt: skip
        return Decision(self.writer.name, state, files, kept, removed, self.public)

    def _found(self, state: RepoState | None) -> ExportManifest | None:
        """What the repository says of itself; None where there is nothing in it.

        Raises:
            StoreError: it holds something else, or is public and shall not be.
        """
        if state is None:
            return None
        if not state.private and not self.public:
            raise StoreError(
                f"{self.writer} is public: everybody would see the corpus. Say --public, or make it private first"
            )
        if MANIFEST not in state.files:
            others = sorted(state.files.keys() - _OF_THE_HUB)
            if others:
                raise StoreError(
                    f"{self.writer} is not empty and holds no corpus ({others[0]}, without {MANIFEST}); name another"
                )
            return None
        try:
            return ExportManifest.model_validate_json(self.writer.read(MANIFEST, state))
        except ValidationError as error:
            raise StoreError(
                f"{self.writer}: {MANIFEST} is no manifest of an export; name another"
            ) from error

    def _is_kept(
        self, file: PlannedFile, told: ExportedShard, before: ExportManifest, state: RepoState
    ) -> bool:
        same = (before.format_version, before.where) == (FORMAT_VERSION, self.place.where)
        there = state.files.get(file.path)
        made_of = (told.shard_blake3, told.index_blake3)
        return bool(
            same and made_of == self._made_of(file) and there and told.sha256 and there.sha256 == told.sha256
        )

    def _made_of(self, file: PlannedFile) -> tuple[str, str]:
        shard = self.corpus.shards[file.bits]
        return shard.data.blake3, shard.index.blake3

    def carry_out(self, progress: Progress) -> Published:
        with own_work(self.installation.root, self.place.out) as work:
            decision, root = self.decision, self.installation.root
            if decision.state is None:
                self.writer.create(private=not self.public)
            remember_place(root, self.place.model_copy(update={"takedowns": ()}))
            done = dict(decision.kept)
            sent = self._send_all(decision, work, done, progress)
            published = self._commit(decision, sent, done)
            remember_place(root, self.place)
        return published

    def _send_all(
        self, decision: Decision, work: Path, done: dict[str, ExportedShard], progress: Progress
    ) -> list[Sent]:
        """Every missing file, written and sent; shards are proven before, once each."""
        for bits in sorted({file.bits for file in decision.missing}):
            check_hash(self.version / data_name(bits), self.corpus.shards[bits].data.blake3)
        total = sum(file.size_bytes for file in decision.files)
        read = sum(file.size_bytes for file in decision.files if file.path in done)
        progress(read, total)
        sent = []
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="publish") as pool:
            futures = {pool.submit(self._send, file, work): file for file in decision.missing}
            try:
                for future in as_completed(futures):
                    one, entry = future.result()
                    sent.append(one)
                    done[one.path] = entry
                    read += futures[future].size_bytes
                    progress(read, total)
            finally:
                pool.shutdown(cancel_futures=True)
        return sorted(sent, key=lambda one: one.path)

    @cached_property
    def _order(self) -> BlockOrder:
        plans = self.installation.root.allocation(self.corpus.corpus, self.corpus.target).parent / VERSIONS
        return BlockOrder(read_manifest(plans / self.corpus.allocation_version, AllocationManifest))

    def _send(self, file: PlannedFile, work: Path) -> tuple[Sent, ExportedShard]:
        path = work / f"r{file.bits}-{file.category}.parquet"
        batches = file_batches(self.version, file, self.where, self._order)
        rows, entry = write_file(path, batches, Format.PARQUET, "")
        sent = self.writer.send(file.path, path)
        path.unlink()
        data, index = self._made_of(file)
        told = ExportedShard(shard_blake3=data, index_blake3=index, rows=rows, file=entry, sha256=sent.sha256)
        return sent, told

    def _commit(self, decision: Decision, sent: Sequence[Sent], done: dict[str, ExportedShard]) -> Published:
        manifest = ExportManifest(
            format=Format.PARQUET,
            format_version=FORMAT_VERSION,
            corpus=self.corpus.corpus,
            target=self.corpus.target,
            where=self.place.where,
            root_hash=self.corpus.root_hash,
            complete=True,
            rows=sum(one.rows for one in done.values()),
            files=dict(sorted(done.items())),
        )
        card = repo_card(self.version, self.corpus, self.writer.name, decision.files, self.where)
        small = {_CARD: card.encode(), MANIFEST: manifest.model_dump_json(indent=1).encode()}
        before = self.writer.look() if decision.state is None else decision.state
        if before is None:
            raise RemoteError(f"{self.writer} is gone; run it again")
        small = {
            path: data
            for path, data in small.items()
            if (there := before.files.get(path)) is None or not there.is_made_of(data)
        }
        message = (
            f"{manifest.corpus} {manifest.target}: {so_many(manifest.rows, 'row')}, {manifest.root_hash[:12]}"
        )
        changed = sent or small or decision.removed
        sha = (
            self.writer.commit(sent, small, decision.removed, message=message, parent=before.sha)
            if changed
            else before.sha
        )
        return Published(
            repo=self.writer.name,
            sha=sha,
            manifest=manifest,
            sent=len(sent),
            kept=len(decision.kept),
            removed=len(decision.removed),
            before=decision.state.sha if decision.state and sha != decision.state.sha else None,
        )
