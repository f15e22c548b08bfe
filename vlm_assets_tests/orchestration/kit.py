"""A line on a temporary installation: real instances, real folders, runs in this process."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile, copytree
from typing import Any

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.define import build_definitions
from vlm_assets.orchestration.names import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    dataset_key,
    listing_key,
    slices_partitions,
)

TOP = Path(__file__).parents[2]


@contextmanager
def instance_in(home: Path, template: Path | None = None) -> Iterator[dg.DagsterInstance]:
    """An instance on disk with the project's own dagster.yaml; a copy of `template` spares making its databases."""
    if template is not None:
        copytree(template, home)
    home.mkdir(parents=True, exist_ok=True)
    copyfile(TOP / "dagster.yaml", home / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


class Line:
    """Runs assets of one installation on one instance."""

    def __init__(self, installation: Installation, instance: dg.DagsterInstance) -> None:
        self.installation = installation
        self.instance = instance
        self.defs = build_definitions(installation)

    def run(self, *keys: dg.AssetKey, **options: Any) -> dg.ExecuteInProcessResult:
        """Materialises assets in one run; failures do not raise."""
        job = self.defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance, asset_selection=list(keys), raise_on_error=False, **options
        )

    def list_sources(self, *sources: str, **options: Any) -> dg.ExecuteInProcessResult:
        return self.run(*map(listing_key, sources), **options)

    def slices(self, source: str) -> list[str]:
        return list(self.instance.get_dynamic_partitions(slices_partitions(source)))

    def fetch(self, source: str, keys: Sequence[str] | None = None, **tags: str) -> dg.ExecuteInProcessResult:
        """One run over a range of slices, by default all."""
        keys = keys or self.slices(source)
        range_tags = {RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]}
        return self.run(dataset_key(source), tags={**range_tags, **tags})

    def materialized(self, source: str) -> dict[str, int]:
        """Events of each partition."""
        return dict(Counter(event.partition or "" for event in self.events(dataset_key(source))))

    def facts(self, key: dg.AssetKey, partition: str | None = None) -> dict[str, Any]:
        """Metadata of the newest materialization as plain values."""
        return {name: value.value for name, value in self.events(key, partition)[0].metadata.items()}

    def events(self, key: dg.AssetKey, partition: str | None = None) -> list[dg.AssetMaterialization]:
        """Materializations, newest first."""
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None)
        records = self.instance.fetch_materializations(wanted, limit=1000).records
        found = [record.asset_materialization for record in records]
        return [event for event in found if event is not None]


def rows_of(value: Any) -> list[list[Any]]:
    """Rows of a table in metadata, as its page shows them; none where it says so."""
    return (
        []
        if isinstance(value, str)
        else [[record.data[column.name] for column in value.schema.columns] for record in value.records]
    )


class Ticks:
    """Evaluates a sensor as the daemon does, keeping its cursor."""

    def __init__(self, line: Line, name: str) -> None:
        self._line = line
        self._name = name
        self._cursor: str | None = None

    def tick(self) -> tuple[list[dg.RunRequest], str]:
        """Run requests, and the reason where there are none."""
        repository = self._line.defs.get_repository_def()
        context = dg.build_sensor_context(
            self._line.instance, cursor=self._cursor, repository_def=repository, sensor_name=self._name
        )
        data = repository.get_sensor_def(self._name).evaluate_tick(context)
        self._cursor = data.cursor
        return list(data.run_requests or ()), data.skip_message or ""


def failure_of(result: dg.ExecuteInProcessResult, node: str = "dataset__street") -> str:
    """Message of a step's failure with its causes."""
    failure = result.failure_data_for_node(node)
    error = failure.error if failure else None
    told = []
    while error is not None:
        told.append(error.message)
        error = error.cause
    return "\n".join(told)
