import shutil
from pathlib import Path

import pytest

from vlm_assets.operate.lock import write_lock
from vlm_assets_tests.operate.lock.locked import CORPUS, SOURCE, Again, Made, corpus_of, upstream
from vlm_assets_tests.workplace import install


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    base = tmp_path_factory.mktemp("made")
    installation = install(base, {**SOURCE, "path": upstream(base / "in")}, corpus=CORPUS)
    manifest = corpus_of(installation)
    steps: list[tuple[str, int, int]] = []
    report = write_lock(installation, ["10"], lambda *step: steps.append(step))
    assert [(number, of) for _, number, of in steps] == [(n, report.slices) for n in range(report.slices)]
    return Made(base, installation, manifest)


@pytest.fixture
def again(made: Made, tmp_path: Path) -> Again:
    shutil.copytree(made.base / "in", tmp_path / "in")
    shutil.copytree(made.base / "catalog", tmp_path / "catalog")
    installation = install(tmp_path, {**SOURCE, "path": tmp_path / "in"}, corpus=CORPUS)
    return Again(installation, tmp_path / "in")
