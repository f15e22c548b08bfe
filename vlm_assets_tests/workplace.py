"""A small installation in a temporary folder: pictures, catalogue, data root. One function a need."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from PIL import Image

from vlm_assets.images.png import encode_image
from vlm_assets.ingest.listing import refresh_listing
from vlm_assets.ingest.slice import SliceOptions, SliceOutcome, build_slice
from vlm_assets.installation.opening import Installation, open_installation
from vlm_assets.settings import load_settings
from vlm_assets.words.errors import SourceError
from vlm_assets.words.manifest import Listing

CORPUS: dict[str, Any] = {
    "name": "small",
    "seed": 20260115,
    "targets": {"10": 10, "20": 20, "1k": 1000},
    "quotas": {"photos": {"share": 1, "subcategories": {"street": {"share": 1}}}},
}
STREET: dict[str, Any] = {
    "name": "street",
    "kind": "client_folder",
    "category": "photos",
    "subcategory": "street",
    "licence": "CC0-1.0",
}


def picture(number: int, *, size: tuple[int, int] = (64, 48), form: str = "JPEG") -> bytes:
    """Encoded noise over a gradient: another picture for each number, always the same for one."""
    rng = np.random.default_rng(number)
    ramp = np.linspace(0, 255, size[0])[None, :, None] * np.ones((size[1], 1, 3))
    noise = rng.integers(0, 255, (6, 8, 3)).repeat(size[1] // 6, 0).repeat(size[0] // 8, 1)
    image = Image.fromarray(((ramp + noise) / 2).astype(np.uint8))
    if form == "PNG":
        return encode_image(image)
    out = BytesIO()
    image.save(out, form)
    return out.getvalue()


def fill(folder: Path, count: int, *, start: int = 0, form: str = "JPEG") -> Path:
    """Writes pictures `0000.jpg` … into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        (folder / f"{number:04d}.{form.lower()}").write_bytes(picture(number, form=form))
    return folder


def write_catalog(
    folder: Path,
    *sources: Mapping[str, Any],
    corpus: Mapping[str, Any] | None = None,
    benchmarks: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """A catalogue directory of these sources and benchmarks, on top of `CORPUS`."""
    (folder / "sources").mkdir(parents=True, exist_ok=True)
    (folder / "corpus.yaml").write_text(yaml.safe_dump({**CORPUS, **(corpus or {})}), "utf-8")
    (folder / "sources" / "all.yaml").write_text(yaml.safe_dump({"sources": _plain(list(sources))}), "utf-8")
    held = folder / "benchmarks" / "all.yaml"
    held.unlink(missing_ok=True)
    if benchmarks:
        held.parent.mkdir(exist_ok=True)
        held.write_text(yaml.safe_dump({"benchmarks": _plain(list(benchmarks))}), "utf-8")
    return folder


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def install(
    base: Path,
    *sources: Mapping[str, Any],
    corpus: Mapping[str, Any] | None = None,
    benchmarks: Sequence[Mapping[str, Any]] = (),
    **settings: Any,
) -> Installation:
    """An installation under `base` with these sources; called again, the same data root with the new catalogue."""
    root = base / "data"
    root.mkdir(parents=True, exist_ok=True)
    (root / ".vlm_root").touch()
    catalog = write_catalog(base / "catalog", *sources, corpus=corpus, benchmarks=benchmarks)
    return open_installation(load_settings(None, catalog=catalog, data_root=root, **settings))


def relist(installation: Installation, source: str = "street", **options: Any) -> Listing:
    """Lists one source."""
    return refresh_listing(installation, installation.catalog.source(source), **options).listing


def ingest(
    installation: Installation, source: str = "street", options: SliceOptions | None = None
) -> dict[str, SliceOutcome]:
    """Lists a source and builds all its slices; outcomes by slice key."""
    listing = relist(installation, source)
    spec = installation.catalog.source(source)
    return {key: build_slice(installation, spec, listing, key, options) for key in listing.slices}


def files_that_say(word: str, *folders: Path) -> list[str]:
    """Files below these folders with this text, compressed tables included; by their paths in the folder."""
    return [
        path.relative_to(folder).as_posix()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and _says(path, word)
    ]


def _says(path: Path, word: str) -> bool:
    packed = path.suffix == ".parquet" and word in str(pq.read_table(path).to_pylist())
    return packed or word.encode() in path.read_bytes()


def expect_error(action: Callable[[], object], kind: type[Exception] = SourceError) -> str:
    """Text of the error that the action raises."""
    try:
        action()
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")
