"""Files of `blur` with made values, for tests that look at no image."""

from collections.abc import Callable

import pyarrow as pa

from vlm_assets.allocation.committed import gather_supply
from vlm_assets.annotate.files import Header, write_annotation
from vlm_assets.installation.opening import Installation


def write_blur(installation: Installation, value: Callable[[int], float | None]) -> None:
    """Of every committed slice; `value` of a row's number, None where it has none."""
    for entry in gather_supply(installation).slices:
        with pa.OSFile(str(entry.path / "index.arrow")) as file:
            ids = pa.ipc.open_file(file).read_all().column("id")
        told = [value(number) for number in range(len(ids))]
        values = pa.array([None if one is None else [one] for one in told], pa.list_(pa.float32()))
        header = Header(
            annotator="blur", version="1", source=entry.source, slice=entry.slice,
            content_hash=entry.content_hash, rows=0, values_hash="",
        )  # fmt: skip
        path = installation.root.annotation("blur", entry.source, entry.slice)
        write_annotation(path, header, pa.table({"id": ids, "laplacian": values}))
