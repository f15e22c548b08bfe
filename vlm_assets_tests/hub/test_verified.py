"""Whether a local copy is the tree's file: a disk that fails is no word on the file."""

import errno
from hashlib import sha1, sha256
from pathlib import Path

import pytest

from vlm_assets.hub.client import verified
from vlm_assets.hub.repo_files import RepoFile
from vlm_assets.transfer.files import FileHashes
from vlm_assets.words.errors import StoreError

BODY = b"a picture"
BLOB = sha1(b"blob %d\0" % len(BODY) + BODY, usedforsecurity=False).hexdigest()
FILES = {"lfs": RepoFile("x", len(BODY), "", sha256(BODY).hexdigest()), "git": RepoFile("x", len(BODY), BLOB)}


@pytest.mark.parametrize("kind", FILES)
def test_a_copy_is_the_file_or_is_not(tmp_path: Path, kind: str):
    path = tmp_path / "x"
    with FileHashes(tmp_path / "hashes.db") as hashes:
        assert not verified(path, FILES[kind], hashes)
        for body, fine in ((BODY, True), (b"a pictura", False), (b"short", False)):
            path.unlink(missing_ok=True)
            path.write_bytes(body)
            assert verified(path, FILES[kind], hashes) is fine


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE])
def test_a_disk_that_fails_rejects_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, code: int
):
    path = tmp_path / "x"
    path.write_bytes(BODY)

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, "said so")

    with FileHashes(tmp_path / "hashes.db") as hashes:
        monkeypatch.setattr(Path, "open", fail)
        monkeypatch.setattr(Path, "read_bytes", fail)
        with pytest.raises(StoreError, match="x: cannot be read: said so"):
            verified(path, FILES[kind], hashes)
