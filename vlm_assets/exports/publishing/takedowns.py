"""Repositories that a corpus was published to, after a takedown: the rows go there too, and what is left is told."""

from collections.abc import Callable
from dataclasses import dataclass, field

from vlm_assets.exports.places import ExportPlace, exports_before, place_record
from vlm_assets.exports.publishing.run import publish_corpus
from vlm_assets.exports.where import Where
from vlm_assets.hub.writer import OldFiles, RepoWriter
from vlm_assets.installation.opening import Installation
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import VlmAssetsError


@dataclass(slots=True)
class PublishedAgain:
    """What became of repositories, in words."""

    deleted: list[str] = field(default_factory=list)
    outstanding: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def publish_again(
    installation: Installation, takedown: str, progress: Callable[[str], None]
) -> PublishedAgain:
    """Publishes, without what was taken down, whatever was published before that takedown was on record.

    A repository that cannot be reached, or a corpus that cannot be read, is outstanding.
    """
    result = PublishedAgain()
    for place in exports_before(installation.root, takedown):
        if place.repo is not None:
            progress(f"publishing {place.repo} again")
            try:
                _again(installation, place, place.repo, result)
            except VlmAssetsError as error:
                result.outstanding.append(f"{place.out} still holds the rows: {error}. `{place.again}`")
    return result


def _again(installation: Installation, place: ExportPlace, repo: str, result: PublishedAgain) -> None:
    with RepoWriter(repo, installation.settings, installation.root.locks) as writer:
        state = writer.look()
    if state is None:
        record = place_record(installation.root, place)
        result.outstanding.append(
            f"{place.out} is not there, or the token may not see it: `{place.again}`; "
            f"if it was deleted, remove {record}"
        )
        return
    where = Where.parse(place.where) if place.where else None
    done = publish_corpus(installation, place.target, repo, where=where, public=not state.private)
    result.deleted.append(
        f"{place.out}: {so_many(done.sent, 'file')} replaced, {done.removed} removed, commit {done.sha[:12]}"
    )
    old = files_of_earlier_commits(installation, repo)
    if old.sha256:
        result.remarks.append(
            f"{place.out}: the Hub keeps {so_many(len(old.sha256), 'file')} ({old.size_bytes:,} bytes) of "
            f"earlier commits, "
            f"among them those with the rows: `{place.again} --forget-history` has it delete them for good. Copies "
            "that others downloaded are theirs"
        )


def files_of_earlier_commits(installation: Installation, repo: str, *, forget: bool = False) -> OldFiles:
    """Large files that the Hub keeps for earlier commits alone; with `forget` it deletes them for good.

    Raises:
        RemoteError: the Hub refuses, or cannot be reached.
    """
    with RepoWriter(repo, installation.settings, installation.root.locks) as writer:
        state = writer.look()
        old = writer.old_files(state) if state is not None else OldFiles((), 0)
        if forget and old.sha256:
            writer.forget(old)
    return old
