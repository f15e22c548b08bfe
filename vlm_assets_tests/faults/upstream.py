"""What two machines fetch from: every picture that upstream ever has, and where bytes of one are found."""

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from vlm_assets_tests.faults.place import TARGET, Servers
from vlm_assets_tests.remote.s3 import BUCKET
from vlm_assets_tests.workplace import STREET, picture, write_catalog

FILES, FORMS, _MEMBERS, _URLS = 5, 3, range(60, 63), 3


@cache
def pictures() -> dict[str, bytes]:
    """Every picture that upstream ever has: name to bytes."""
    loose = {
        f"loose{n}.{form}": picture(1_000 + 10 * n + form) for n in range(FILES) for form in range(FORMS)
    }
    members = {f"member{n}": picture(n) for n in _MEMBERS}
    return {**loose, **members, **{f"web{n}": picture(100 + n) for n in range(_URLS)}}


def words_of(name: str) -> str:
    """The caption that a loose picture has; it goes with it."""
    return f"seen-{sha256(name.encode()).hexdigest()[:20]}"


@cache
def digest(name: str) -> str:
    return sha256(pictures()[name]).hexdigest()


def found_in(content: bytes) -> frozenset[str]:
    """Pictures of which these bytes hold the image or the words, packed in Parquet or not."""
    if content[:4] == content[-4:] == b"PAR1":
        content += str(pq.read_table(BytesIO(content)).to_pylist()).encode()
    return frozenset(
        name
        for name, image in pictures().items()
        if image[-80:-16] in content or words_of(name).encode() in content
    )


@dataclass(slots=True)
class Seen:
    """What was found where, read once for each state of a file or object."""

    _known: dict[tuple[Any, ...], frozenset[str]] = field(default_factory=dict)

    def below(self, root: Path) -> dict[str, frozenset[str]]:
        """Of each file of a data root."""
        found = {}
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder, name)
                stat = path.lstat()
                if not path.is_symlink():
                    key = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
                    found[path.relative_to(root).as_posix()] = self._once(key, path.read_bytes)
        return found

    def objects(self, client: Any, prefix: str) -> dict[str, frozenset[str]]:
        """Of each object of the bucket, old versions too."""
        pages = client.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        found = {}
        for page in pages:
            for one in page.get("Versions", ()):
                key, version = one["Key"], one["VersionId"]
                found[f"{key} {version}"] = self._once((key, version), partial(read, client, key, version))
        return found

    def _once(self, key: tuple[Any, ...], read: Callable[[], bytes]) -> frozenset[str]:
        if key not in self._known:
            self._known[key] = found_in(read())
        return self._known[key]


def read(client: Any, key: str, version: str = "") -> bytes:
    asked = {"Bucket": BUCKET, "Key": key, **({"VersionId": version} if version else {})}
    return bytes(client.get_object(**asked)["Body"].read())


def make(base: Path, servers: Servers) -> None:
    """What upstream has at first, and the catalogue of both machines."""
    folder = base / "in"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        for number in _MEMBERS:
            archive.writestr(f"{number}.jpeg", picture(number))
    for number in range(FILES):
        put(base, number, 0)
    urls = base / "urls.txt"
    urls.write_text("".join(f"{servers.pictures}{number}.jpg\n" for number in range(_URLS)), "utf-8")
    street = {**STREET, "path": folder, "text": "metadata.csv", "reject_tolerance": 1}
    web = {**STREET, "name": "web", "kind": "image_urls", "urls": urls, "reject_tolerance": 1}
    shard = {"max_bytes": 90_000, "block_rows": 1}
    write_catalog(
        base / "catalog", street, web, corpus={"name": "tiny", "targets": {TARGET: 8}, "shard": shard}
    )


def put(base: Path, number: int, form: int) -> None:
    """A form of a picture as upstream's file of that number, its words beside it."""
    folder = base / "in"
    path = folder / f"{number:04d}.jpeg"
    path.with_suffix(".new").write_bytes(pictures()[f"loose{number}.{form}"])
    path.with_suffix(".new").replace(path)
    said = base / "words"
    said.mkdir(exist_ok=True)
    (said / f"{number:04d}.jpeg").write_text(words_of(f"loose{number}.{form}"))
    lines = [f"{one.name},{one.read_text()}" for one in sorted(said.iterdir())]
    (folder / "metadata.csv").write_text("\n".join(["file_name,text", *lines]), "utf-8")
