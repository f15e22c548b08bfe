"""MosaicML Streaming: `INPUTS OUT UNITS ADDRESS EPOCHS write|in-order|shuffled`.

`write` makes the shards beside the corpus: its images, nothing else, uncompressed, as its manual has it for encoded
images. The others read them, epoch after epoch, in this process.
"""

import sys
from pathlib import Path

import torch_names  # type: ignore[import-not-found]  # beside this script, which is no module of the project
from clock import timed  # type: ignore[import-not-found]

torch_names.install()

import streaming  # noqa: E402 - it imports torch


def write(folder):
    """Writes the images of the corpus."""
    import pyarrow as pa

    with streaming.MDSWriter(out=str(folder / "mds"), columns={"image": "bytes"}) as writer:
        for path in sorted(folder.glob("corpora/*/.versions/*/data-r*.arrow")):
            for batch in pa.ipc.open_stream(pa.memory_map(str(path))):
                for image in batch.column("images").flatten().field("bytes"):
                    writer.write({"image": image.as_py()})


def read(folder, out, epochs, shuffled):
    """Reads every image of every epoch."""
    total = seen = 0
    rows = streaming.StreamingDataset(local=str(folder / "mds"), shuffle=shuffled, batch_size=64)
    for _ in range(epochs):
        for row in rows:
            total += len(row["image"])
            seen += 1
    (out / "answer").write_text(f"{seen} images, {total} bytes")


def main():
    """Command line."""
    folder, out, epochs, what = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[5]), sys.argv[6]
    if what == "write":
        write(folder)
    else:
        streaming.base.util.clean_stale_shared_memory()
        timed(lambda: read(folder, out, epochs, what == "shuffled"))


if __name__ == "__main__":
    main()
