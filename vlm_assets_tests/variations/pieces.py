"""`python -m vlm_assets_tests.variations.pieces FOLDER`: pieces of what decides bytes, as digests in JSON.

For machines that are too slow for a build. All in one process, but for Poppler: an emulator keeps its processor for
one program, and what that starts is begun by whatever `pdftoppm` is first in PATH.
"""

import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from PIL import Image

from vlm_assets.allocation.apportion import Child, apportion
from vlm_assets.corpus.order import row_hashes, window_order
from vlm_assets.images.decode import probe_decoded
from vlm_assets.images.facts import FORMATS, BadImageError, ProbePolicy
from vlm_assets.images.png import encode_image
from vlm_assets.images.sniff import sniff
from vlm_assets.pdf.facts import PageOptions, Renderer
from vlm_assets.pdf.fonts import renderer_environment
from vlm_assets.pdf.reference import DPI, PAGES, reference_document
from vlm_assets.pdf.worker import page_worker
from vlm_assets.words.keys import ranks_of, splitmix64
from vlm_assets_tests.images.pictures import picture

_MODES = ("1", "L", "I;16", "P", "RGB", "LA", "RGBA")
_PATIENT_S = 36_000.0
"""An emulated processor takes its time."""


def pieces(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and digest of each; `folder` has pictures, which were encoded elsewhere."""
    pictures = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".txt"}
    for mode in _MODES:
        yield f"png {mode}", digest(encode_image(picture(200, 150, mode)))
    yield from _orders()
    yield "arrow stream", digest(_arrow_stream(list(pictures.values())))
    yield from _decoded(pictures)
    for renderer in get_args(Renderer):
        yield from _drawn(renderer)


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:16]


def _orders() -> Iterator[tuple[str, str]]:
    numbers = np.arange(20_000, dtype=np.uint64)
    words = np.array([splitmix64(number) for number in range(2_000)], dtype=np.uint64)
    hashes = row_hashes(7, words, np.arange(2_000, dtype=np.uint64))
    children = [Child(f"c{n}", Fraction(n % 7 + 1, 3 + n % 5), n % 4, 40 + 13 * n) for n in range(60)]
    yield "splitmix64", digest(words.astype("<u8").tobytes())
    yield "ranks", digest(ranks_of(numbers, 20260115).astype("<u8").tobytes())
    yield "row hashes", digest(hashes.astype("<u8").tobytes())
    yield "window order", digest(np.asarray(window_order(hashes)).astype("<i8").tobytes())
    yield (
        "apportion",
        digest(json.dumps([apportion(seats, children) for seats in range(0, 9_000, 97)]).encode()),
    )


def _arrow_stream(images: list[bytes]) -> bytes:
    table = pa.table({
        "images": [[image] for image in images], "text": ["ışık"] * len(images),
        "n": pa.array([None, *range(1, len(images))], pa.int32()),
    })  # fmt: skip
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _decoded(pictures: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """Facts of every picture, dhash included, or why it is none."""
    policy = ProbePolicy(frozenset(FORMATS))
    for name, data in pictures.items():
        sniffed = sniff(data)
        if sniffed is None or not sniffed.is_image:
            continue
        try:
            told = repr(probe_decoded(sniffed.name, data, policy, in_process=False))
        except BadImageError as fault:
            told = str(fault.reason)
        yield f"probe {name}", digest(told.encode())


def _drawn(renderer: Renderer) -> Iterator[tuple[str, str]]:
    """The reference pages, by bytes and by pixels, as `check` has them."""
    options = PageOptions(
        dpi=DPI, embedded="always", renderer=renderer, page_cpu_s=_PATIENT_S, hang_s=_PATIENT_S
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.update(renderer_environment(folder / "fonts"))
        document = folder / "reference.pdf"
        document.write_bytes(reference_document())
        told: list[dict[str, Any]] = []
        page_worker(options, folder)({"path": str(document), "start": 0, "stop": len(PAGES)}, told.append)
        for answer in sorted((one for one in told if "page" in one), key=lambda one: int(one["page"])):
            what = f"{renderer} {PAGES[answer['page']]}"
            if "file" not in answer:
                yield what, str(answer["fault"])
                continue
            data = Path(answer["file"]).read_bytes()
            with Image.open(io.BytesIO(data)) as opened:
                pixels = f"{opened.mode} {opened.size}".encode() + opened.convert("RGB").tobytes()
            yield f"{what}: bytes", digest(data)
            yield f"{what}: pixels", digest(pixels)


if __name__ == "__main__":
    print(json.dumps(dict(pieces(Path(sys.argv[1])))))
