"""A dataset repository of the Hub that is written to: looked at, sent files, changed by one commit.

`huggingface_hub` sends large files by Xet, which keeps chunks once: of a file in which a few rows changed little goes
over the wire, and of what an interrupted run sent nothing. Where Xet is off (HF_HUB_DISABLE_XET) files go whole.
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from vlm_assets.hub.client import DEFAULT_ENDPOINT, as_guest, causes_of, one_line, prepare, status_of
from vlm_assets.hub.repo_files import RepoFile
from vlm_assets.transfer.sync_guest import SyncGuest
from vlm_assets.words.contexts import SourceSettings
from vlm_assets.words.errors import RemoteError, SourceError

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

_KIND: Final = "dataset"
_TRUE: Final = frozenset({"1", "ON", "YES", "TRUE"})  # as huggingface_hub reads its variables


@dataclass(frozen=True, slots=True)
class _OwnLimits:
    """No host is named: the machine's limits hold."""

    hosts: Mapping[str, Any] = field(default_factory=dict)
    cooldown_s: float = 0.0
    max_concurrency: int | None = None
    requests_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class RepoState:
    """A repository at the newest commit of its default branch."""

    sha: str
    private: bool
    files: Mapping[str, RepoFile]


@dataclass(frozen=True, slots=True)
class OldFiles:
    """Files of earlier commits that no newest one has. Sizes in bytes."""

    sha256: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A file that the Hub has and no commit names yet."""

    path: str
    sha256: str
    operation: "CommitOperationAdd"


class RepoWriter:
    """One dataset repository, `owner/name`. Use as a context manager; `send` may be called from several threads.

    Every call raises RemoteError where the Hub refuses or cannot be reached, with what to do.
    """

    def __init__(self, name: str, settings: SourceSettings, locks_dir: Path) -> None:
        prepare(settings.ca_bundle)
        self.name = name
        self.endpoint = os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")
        self._token = settings.hf_token.get_secret_value() if settings.hf_token else None
        self._guest = SyncGuest(settings, _OwnLimits(), locks_dir)
        self._xet_was_off = True

    def __enter__(self) -> Self:
        """Xet is on from here, unless the environment says that it shall not be."""
        from huggingface_hub import constants

        self._xet_was_off = constants.HF_HUB_DISABLE_XET
        constants.HF_HUB_DISABLE_XET = os.environ.get("HF_HUB_DISABLE_XET", "").upper() in _TRUE
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from huggingface_hub import constants

        constants.HF_HUB_DISABLE_XET = self._xet_was_off
        self._guest.close()

    def look(self) -> RepoState | None:
        """Its newest commit with all files; None where there is no such repository that the token may see."""

        def ask(api: "HfApi") -> RepoState | None:
            from huggingface_hub.errors import RepositoryNotFoundError
            from huggingface_hub.hf_api import RepoFile as HubFile

            try:
                info = api.dataset_info(self.name)
            except RepositoryNotFoundError:
                return None
            entries = api.list_repo_tree(self.name, recursive=True, revision=info.sha, repo_type=_KIND)
            files = {
                one.path: RepoFile(one.path, one.size, one.blob_id, one.lfs.sha256 if one.lfs else None)
                for one in entries
                if isinstance(one, HubFile)
            }
            return RepoState(str(info.sha), bool(info.private), files)

        state: RepoState | None = self._asked(ask, "looking at it")
        return state

    def read(self, path: str, state: RepoState) -> bytes:
        """A small file at that commit."""

        def ask(api: "HfApi") -> bytes:
            with tempfile.TemporaryDirectory() as folder:
                found = api.hf_hub_download(
                    self.name, path, repo_type=_KIND, revision=state.sha, cache_dir=folder
                )
                return Path(found).read_bytes()

        data: bytes = self._asked(ask, f"reading {path}")
        return data

    def create(self, *, private: bool) -> None:
        """Makes the repository where there is none; one that is there stays as it is."""
        self._asked(
            lambda api: api.create_repo(self.name, repo_type=_KIND, private=private, exist_ok=True),
            "creating it",
        )

    def send(self, path: str, file: Path) -> Sent:
        """Sends a file, of which what the Hub has already does not go again. No commit names it yet."""

        def ask(api: "HfApi") -> Sent:
            from huggingface_hub import CommitOperationAdd

            operation = CommitOperationAdd(path, file)
            api.preupload_lfs_files(self.name, [operation], repo_type=_KIND)
            return Sent(path, operation.upload_info.sha256.hex(), operation)

        sent: Sent = self._asked(ask, f"sending {path}")
        return sent

    def commit(
        self,
        sent: Sequence[Sent],
        small: Mapping[str, bytes],
        deleted: Sequence[str],
        *,
        message: str,
        parent: str | None,
    ) -> str:
        """Shows all that in one commit on top of `parent`; returns its sha. Refused where another came in between."""

        def ask(api: "HfApi") -> str:
            from huggingface_hub import CommitOperationAdd, CommitOperationDelete

            operations: list[Any] = [
                *(one.operation for one in sent),
                *(CommitOperationAdd(path, data) for path, data in small.items()),
                *(CommitOperationDelete(path) for path in deleted),
            ]
            info = api.create_commit(
                self.name, operations, commit_message=message, repo_type=_KIND, parent_commit=parent
            )
            return str(info.oid)

        sha: str = self._asked(ask, "committing", tries=1)
        return sha

    def old_files(self, state: RepoState) -> OldFiles:
        """Large files that the Hub keeps for earlier commits alone."""
        current = {one.sha256 for one in state.files.values()}
        found = self._asked(
            lambda api: list(api.list_lfs_files(self.name, repo_type=_KIND)), "listing old files"
        )
        old = {one.file_oid: one.size for one in found if one.file_oid not in current}
        return OldFiles(tuple(sorted(old)), sum(old.values()))

    def forget(self, old: OldFiles) -> None:
        """Has the Hub delete them for good; the commits that named them are rewritten."""

        def ask(api: "HfApi") -> None:
            found = [
                one for one in api.list_lfs_files(self.name, repo_type=_KIND) if one.file_oid in old.sha256
            ]
            api.permanently_delete_lfs_files(self.name, found, rewrite_history=True, repo_type=_KIND)

        self._asked(ask, "deleting old files")

    def _asked(self, call: "Callable[[HfApi], Any]", what: str, *, tries: int | None = None) -> Any:
        """The answer; broken connections are tried again, refusals are not."""
        import httpx2
        from huggingface_hub import HfApi

        patience = self._guest.patience
        attempts = tries or patience.attempts
        api = HfApi(endpoint=self.endpoint, token=self._token)
        for number in range(1, attempts + 1):
            try:
                with as_guest(self._guest):
                    return call(api)
            except SourceError as error:
                raise RemoteError(f"{self}: {what}: {error}") from error
            except (httpx2.HTTPError, OSError, ValueError, RuntimeError) as error:
                chain = list(causes_of(error))
                cause = next((one for one in chain if status_of(one) is not None), chain[-1])
                passing = status_of(cause) is None and any(
                    isinstance(one, (httpx2.TransportError, ConnectionError)) for one in chain
                )
                if not passing or number == attempts:
                    raise self._refusal(cause, what) from None
                time.sleep(patience.backoff_s(number, 0.5))
        raise RemoteError(f"{self}: {what}: not tried")

    def _refusal(self, error: BaseException, what: str) -> RemoteError:
        """An error that says what to do and quotes no URL, header or token."""
        status = status_of(error)
        if status in (401, 403):
            told = "the token may not; set VLM_HF_TOKEN (or HF_TOKEN) to one that may write there"
        elif status == 404:
            told = "there is no such repository or owner, or the token may not see it"
        elif status in (409, 412):
            told = "another commit came in between; run it again"
        else:
            got = f"status {status}" if status else f"{type(error).__name__}: {one_line(str(error))}"
            told = f"{got}; run it again, what was sent is not sent twice"
        return RemoteError(f"{self}: {what}: {told}")

    def __str__(self) -> str:
        return f"Hugging Face dataset {self.name}"
