"""The rows of an allocation by Polars, lazily and on all cores: `INPUTS OUT UNITS ADDRESS`."""

import json
import sys

import polars as pl
from clock import timed  # type: ignore[import-not-found]  # beside this script, which is no module of the project


def granted(folder, out):
    """Writes the granted rows: of each key the first, of each cell those of lowest rank."""
    with open(f"{folder}/rules.json") as file:  # noqa: PTH123 - one line, one read
        rules = json.load(file)
    cells = pl.scan_parquet(f"{folder}/cells.parquet")
    eligible = (
        pl.scan_parquet(f"{folder}/rows.parquet")
        .filter(pl.col("min_side_px") >= rules["min_side_px"])
        .with_columns(pl.col("source", "label").cast(pl.String))
        .join(cells, on=["source", "label"], maintain_order="left")
        .select("position", "rank", "second", "source", "cell", "granted")
        .collect()
    )
    for source, most in rules["most"].items():
        of_source = pl.col("source") == source
        lowest = eligible.lazy().filter(of_source).select("rank", "second").unique().bottom_k(most, by="rank")
        last = lowest.select(pl.col("rank").max()).collect().item()
        eligible = eligible.filter(~of_source | (pl.col("rank") <= last))
    (
        eligible.lazy()
        .unique(subset=["rank", "second"], keep="first", maintain_order=False)
        .filter(pl.col("rank").rank("ordinal").over("cell") <= pl.col("granted"))
        .select(pl.col("position").sort())
        .collect()
        .write_parquet(f"{out}/granted.parquet")
    )


if __name__ == "__main__":
    timed(lambda: granted(*sys.argv[1:3]))
