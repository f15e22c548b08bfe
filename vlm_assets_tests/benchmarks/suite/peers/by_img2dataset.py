"""img2dataset without re-encoding, its fastest way: `INPUTS OUT UNITS ADDRESS`."""

import sys

from clock import timed  # type: ignore[import-not-found]  # beside this script, which is no module of the project
from img2dataset import download

if __name__ == "__main__":
    folder, out = sys.argv[1:3]
    timed(
        lambda: download(
            url_list=f"{folder}/urls.csv", output_folder=f"{out}/shards",
            output_format="parquet", input_format="csv", url_col="url", resize_mode="no", processes_count=2,
            thread_count=32, number_sample_per_shard=2500, disable_all_reencoding=True, retries=2, enable_wandb=False,
        )
    )  # fmt: skip
