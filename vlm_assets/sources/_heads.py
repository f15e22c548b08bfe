"""What remote files are whose names tell nothing: by their first bytes, one ranged request a file, kept."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import orjson

from vlm_assets.archives.contents import HEAD_BYTES, is_image_head
from vlm_assets.archives.forms import is_archive_head
from vlm_assets.archives.names import suffix_of
from vlm_assets.images.sniff import sniff
from vlm_assets.transfer.client import Client
from vlm_assets.transfer.http import TransferError

IMAGE: Final = "image"
ARCHIVE: Final = "archive"


class Heads:
    """First bytes of files, each asked for once while its identity stays. `save` keeps them."""

    def __init__(self, client: Client, file: Path) -> None:
        """`file` keeps what was asked; it may be deleted at any time."""
        self._client = client
        self._file = file
        try:
            self._kept: Mapping[str, str] = orjson.loads(file.read_bytes())
        except (OSError, ValueError):
            self._kept = {}
        self._asked: dict[str, str] = {}

    def what(self, name: str, identity: str, url: str, headers: Mapping[str, str]) -> tuple[str, str]:
        """`IMAGE`, `ARCHIVE` (of files without any suffix) or "", and what else it is or why nobody knows.

        Raises:
            SourceError: the server cannot be asked for now.
        """
        try:
            head = self._head(identity, url, headers)
        except TransferError as error:
            if error.transient:
                raise error.told(name) from None
            return "", f"its first bytes cannot be had: {error}"[:300]
        if is_image_head(head):
            return IMAGE, ""
        if not suffix_of(name) and is_archive_head(head):
            return ARCHIVE, ""
        found = sniff(head)
        return "", found.name if found is not None else ""

    def save(self) -> None:
        """Keeps what was asked for, and of what was kept before only what was asked for again."""
        if self._asked == self._kept:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".tmp")
        partial.write_bytes(orjson.dumps(self._asked))
        partial.replace(self._file)

    def _head(self, identity: str, url: str, headers: Mapping[str, str]) -> bytes:
        known = self._asked.get(identity) or self._kept.get(identity)
        if known is None:
            ranged = {**headers, "Range": f"bytes=0-{HEAD_BYTES - 1}"}
            answer = self._client.request(url, headers=ranged, max_bytes=HEAD_BYTES)
            known = b64encode(answer.body).decode()
        self._asked[identity] = known
        return b64decode(known)
