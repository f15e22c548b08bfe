"""The rows of an allocation by DuckDB, in one statement, on all cores: `INPUTS OUT UNITS ADDRESS`."""

import json
import sys

import duckdb
from clock import timed  # type: ignore[import-not-found]  # beside this script, which is no module of the project

_STATEMENT = """
COPY (
    WITH eligible AS (
        SELECT position, rank, second, source, cell, granted
        FROM read_parquet('{folder}/rows.parquet') AS rows
        JOIN read_parquet('{folder}/cells.parquet') AS cells USING (source, label)
        WHERE min_side_px >= {min_side_px}
    ),
    lowest AS (
        SELECT source, rank FROM (SELECT DISTINCT source, rank, second FROM eligible WHERE source IN ({capped}))
        QUALIFY row_number() OVER (PARTITION BY source ORDER BY rank) = CASE source {most} END
    ),
    kept AS (
        SELECT rank, min(position) AS position, arg_min(cell, position) AS cell, arg_min(granted, position) AS granted
        FROM eligible
        WHERE NOT EXISTS (SELECT 1 FROM lowest WHERE lowest.source = eligible.source AND eligible.rank > lowest.rank)
        GROUP BY rank, second
    )
    SELECT position FROM kept
    QUALIFY row_number() OVER (PARTITION BY cell ORDER BY rank) <= granted
    ORDER BY position
) TO '{out}/granted.parquet' (FORMAT parquet)
"""


def granted(folder, out):
    """Writes the granted rows: of each key the first, of each cell those of lowest rank."""
    with open(f"{folder}/rules.json") as file:  # noqa: PTH123 - one line, one read
        rules = json.load(file)
    most = " ".join(f"WHEN '{source}' THEN {count}" for source, count in rules["most"].items())
    capped = ", ".join(f"'{source}'" for source in rules["most"])
    duckdb.sql(
        _STATEMENT.format(folder=folder, out=out, min_side_px=rules["min_side_px"], most=most, capped=capped)
    )


if __name__ == "__main__":
    timed(lambda: granted(*sys.argv[1:3]))
