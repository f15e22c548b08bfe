"""Test mode has a data root of its own, and neither can be mistaken for the other."""

from typing import Any

import pytest
from typer.testing import CliRunner

from vlm_assets.cli import app
from vlm_assets.installation.opening import open_installation
from vlm_assets.installation.trial import check_instance, make_test_root
from vlm_assets.operate.status import read_status
from vlm_assets.settings import Settings, load_settings
from vlm_assets.words.errors import ConfigError
from vlm_assets_tests.workplace import STREET, expect_error, fill, install


@pytest.fixture
def real(tmp_path, monkeypatch):
    for folder in ("day", "night"):
        fill(tmp_path / "street" / folder, 6, start=len(folder) * 10)
    installation = install(tmp_path, {**STREET, "path": tmp_path / "street"}, corpus={"targets": {"5": 5}})
    monkeypatch.setenv("VLM_CATALOG", str(installation.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(installation.root.path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    return installation


def settings(**more: Any) -> Settings:
    return load_settings(None, **more)


@pytest.mark.usefixtures("real")
def test_a_build_in_test_mode_leaves_the_real_root_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("VLM_TEST_MODE_ROWS", "3")
    before = sorted(tmp_path.joinpath("data").rglob("*"))
    done = CliRunner().invoke(app, ["build", "--test-mode", "--source", "street"])
    assert done.exit_code == 0, done.output
    assert f"at most 3 rows a slice, in {tmp_path}/data-test" in done.stderr
    trial = open_installation(settings(test_mode=True))
    [street] = read_status(trial).sources
    assert (street.rows, street.rejects) == (6, {"test_mode": 6})
    assert sorted(tmp_path.joinpath("data").rglob("*")) == before
    assert not (tmp_path / "home").exists(), "the real instance knows nothing of it"
    assert (trial.root.path / ".dagster" / "dagster.yaml").exists()


def test_the_setting_is_the_option(real):
    confined = settings(test_mode=True, remote="s3://bucket/prefix", nightly=True)
    assert confined.data_root == real.root.path.with_name("data-test")
    assert (confined.remote, confined.nightly) == (None, False)
    assert "vlm-assets build --test-mode" in expect_error(lambda: confined.root, ConfigError)
    make_test_root(confined)
    assert confined.root.path == confined.data_root
    assert settings(test_mode=True, data_root=confined.data_root).root.path == confined.data_root


@pytest.mark.usefixtures("real")
def test_each_refuses_the_others_root():
    confined = settings(test_mode=True)
    make_test_root(confined)
    told = expect_error(lambda: settings(data_root=confined.data_root).root, ConfigError)
    assert "is of test mode: set VLM_TEST_MODE=true too" in told
    (confined.root.test_marker).unlink()
    assert "is no root of test mode" in expect_error(lambda: confined.root, ConfigError)


def test_a_service_in_test_mode_has_an_instance_of_its_own(real, monkeypatch):
    confined = settings(test_mode=True)
    check_instance(settings())
    assert f"set DAGSTER_HOME={confined.data_root}/.dagster" in expect_error(
        lambda: check_instance(confined), ConfigError
    )
    monkeypatch.setenv("DAGSTER_HOME", f"{real.root.path}-test/.dagster")
    check_instance(confined)


@pytest.mark.usefixtures("real")
def test_another_folder_of_that_name_is_refused(tmp_path):
    fill(tmp_path / "data-test", 1)
    told = expect_error(lambda: make_test_root(settings(test_mode=True)), ConfigError)
    assert "it holds something else" in told


def test_an_unmounted_real_root_is_refused(real):
    real.root.marker.unlink()
    assert "Is the volume mounted?" in expect_error(
        lambda: make_test_root(settings(test_mode=True)), ConfigError
    )


@pytest.mark.usefixtures("real")
def test_a_dry_run_is_the_plan(tmp_path):
    before = sorted(tmp_path.rglob("*"))
    shown = [CliRunner().invoke(app, words).output for words in (["plan"], ["build", "--dry-run"])]
    assert "What a build of 5 would fetch" in shown[0]
    assert shown[0] == shown[1]
    assert CliRunner().invoke(app, ["build", "--dry-run", "--test-mode"]).exit_code == 2
    written = {p.relative_to(tmp_path).parts[:2] for p in set(tmp_path.rglob("*")) - set(before)}
    assert written <= {("data", "logs"), ("data", ".locks")}
