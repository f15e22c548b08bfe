"""Parquet and Arrow files in a client's folder, on a machine that fails."""

import errno

import pytest

from vlm_assets.words.errors import MachineError
from vlm_assets_tests.captions.kit import parquet
from vlm_assets_tests.sources.test_client_folder import JPEG, listed, pictures, put, spec_of


def test_a_data_file_that_the_disk_does_not_give_is_not_left_out(tmp_path, monkeypatch):
    """It would be gone from the dataset, as if it had never held images."""
    folder = put(
        tmp_path / "in", {**pictures("a.jpg"), "rows.parquet": parquet({"image": [{"bytes": JPEG}]})}
    )

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("vlm_assets.hub.readers._parquet", fail)
    with pytest.raises(MachineError, match=r"rows\.parquet: cannot be read .*Too many open files"):
        listed(spec_of(folder, "none"), tmp_path)
