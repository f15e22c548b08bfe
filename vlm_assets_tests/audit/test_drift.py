from io import BytesIO

import pytest
from PIL import Image

from vlm_assets.audit.checks_state import drift_between
from vlm_assets.installation.opening import Installation
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture


@pytest.fixture
def fetched(tmp_path) -> tuple[Installation, object]:
    fill(tmp_path / "street", 6)
    installation = install(tmp_path, {**STREET, "path": tmp_path / "street"})
    return installation, ingest(installation)["root"].path


def test_another_encoding_is_told_from_another_picture(fetched, tmp_path):
    installation, before = fetched
    with Image.open(BytesIO(picture(1))) as image:
        image.save(tmp_path / "street" / "0001.jpeg", "JPEG", quality=40)
    (tmp_path / "street" / "0002.jpeg").write_bytes(picture(77))
    (tmp_path / "street" / "0003.jpeg").unlink()
    fill(tmp_path / "street", 1, start=50)
    now = ingest(installation)["root"].path
    counts, examples = drift_between(before, now)
    assert counts == {"same": 3, "encoded_again": 1, "another_picture": 1, "unknown": 0}
    assert [one.split(":")[0] for one in examples] == ["0002.jpeg"]


def test_without_a_dhash_nothing_is_claimed(tmp_path):
    fill(tmp_path / "street", 3)
    source = {**STREET, "path": tmp_path / "street", "verify": "header"}
    installation = install(tmp_path, source)
    before = ingest(installation)["root"].path
    (tmp_path / "street" / "0002.jpeg").write_bytes(picture(77))
    now = ingest(installation)["root"].path
    assert drift_between(before, now)[0] == {
        "same": 2,
        "encoded_again": 0,
        "another_picture": 0,
        "unknown": 1,
    }
