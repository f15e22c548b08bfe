"""The `corpus.lock` that a run works by, as its tag names it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.names import LOCKED_TAG
from vlm_assets.remote.line import line_remote

if TYPE_CHECKING:  # loads pyarrow, which the code location does without
    from vlm_assets.store.corpus_lock import Locked


def locked_by(installation: Installation, tags: Mapping[str, str]) -> "Locked | None":
    """The lock; None in an ordinary run.

    Raises:
        StoreError: it is kept neither here nor at the remote.
    """
    name = tags.get(LOCKED_TAG)
    if name is None:
        return None
    from vlm_assets.store.corpus_lock import kept_lock

    line_remote(installation).before_locked(name)
    return kept_lock(installation.root, name)
