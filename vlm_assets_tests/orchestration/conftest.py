from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from vlm_assets_tests.orchestration.kept_engines import keep_engines
from vlm_assets_tests.orchestration.kit import instance_in

keep_engines()


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("instance") / "home"
    with instance_in(home) as instance:
        instance.get_runs(limit=1)
        instance.get_dynamic_partitions("none")
        instance.all_instigator_state()
    return home


@pytest.fixture
def instance(tmp_path: Path, made_home: Path) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path / "home", made_home) as instance:
        yield instance
