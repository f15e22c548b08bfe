"""Exports into a bucket: the same bytes as in a folder, nothing sent twice, nothing of anybody else's touched."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.exports import destinations
from vlm_assets.exports.formats import Format
from vlm_assets.exports.run import export_corpus
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.remote import bucket
from vlm_assets.words.errors import ConfigError, StoreError
from vlm_assets.words.manifest import FileEntry
from vlm_assets_tests.exports.corpora import COUNT, add_rows, corpus_rows, seal
from vlm_assets_tests.exports.reading import ROWS, contents
from vlm_assets_tests.remote.s3 import BUCKET, S3Server
from vlm_assets_tests.workplace import expect_error

OUT = f"s3://{BUCKET}/taken/away"


def at(installation: Installation, s3: S3Server) -> Installation:
    """The installation whose S3 is the one of the tests."""
    settings = installation.settings.model_copy(update={"remote_endpoint": s3.endpoint})
    return replace(installation, settings=settings)


def fetched(s3: S3Server, folder: Path) -> Path:
    """Everything that the bucket shows below `OUT`."""
    client = s3.client()
    for one in client.list_objects_v2(Bucket=BUCKET, Prefix="taken/away/").get("Contents", ()):
        path = folder / one["Key"].removeprefix("taken/away/")
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(BUCKET, one["Key"], str(path))
    return folder


class Cut(BaseException):
    """Ends an export where a kill would."""


@pytest.mark.parametrize("form", tuple(Format))
def test_a_bucket_holds_what_a_folder_would(sealed, s3, tmp_path, form, monkeypatch):
    export_corpus(sealed, "t", form, tmp_path / "folder")
    sent = []

    def cut(self: Any, key: str, *args: Any) -> None:
        sent.append(key)
        if len(sent) == 4:
            raise Cut
        plain(self, key, *args)

    plain = bucket.Bucket.send_file
    with monkeypatch.context() as patch:
        patch.setattr(bucket.Bucket, "send_file", cut)
        with pytest.raises(Cut):
            export_corpus(at(sealed, s3), "t", form, OUT)
    left = s3.client().create_multipart_upload(Bucket=BUCKET, Key="taken/away/data/rotten")
    done = export_corpus(at(sealed, s3), "t", form, OUT)
    assert (done.kept, done.written) == (3, len(done.manifest.files) - 3)
    assert contents(fetched(s3, tmp_path / "bucket")) == contents(tmp_path / "folder")
    assert ROWS[form](tmp_path / "bucket") == corpus_rows(sealed)
    assert "Uploads" not in s3.client().list_multipart_uploads(Bucket=BUCKET), left["UploadId"]
    again = export_corpus(at(sealed, s3), "t", form, OUT)
    assert (again.written, again.kept, again.manifest.complete) == (0, len(done.manifest.files), True)
    assert not [*(sealed.root.path / "exports").glob(".*")]


def test_an_object_that_somebody_replaced_is_sent_again(sealed, s3, tmp_path):
    done = export_corpus(at(sealed, s3), "t", Format.PARQUET, OUT)
    name, told = next(iter(done.manifest.files.items()))
    s3.client().put_object(Bucket=BUCKET, Key=f"taken/away/{name}", Body=b"x" * told.file.size_bytes)
    assert export_corpus(at(sealed, s3), "t", Format.PARQUET, OUT).written == 1
    assert ROWS[Format.PARQUET](fetched(s3, tmp_path / "bucket")) == corpus_rows(sealed)


def test_places_that_cannot_be_are_told(sealed, s3):
    s3.client().put_object(Bucket=BUCKET, Key="taken/away/holiday.jpg", Body=b"sea")
    told = expect_error(lambda: export_corpus(at(sealed, s3), "t", Format.PARQUET, OUT), StoreError)
    assert "holiday.jpg" in told


@pytest.mark.parametrize("out", ["s3://", "ftp://host/x"])
def test_an_address_that_is_none(sealed, out):
    told = expect_error(lambda: export_corpus(sealed, "t", Format.PARQUET, out), ConfigError)
    assert out in told


def test_a_takedown_names_the_bucket_and_clears_what_a_killed_export_left(s3, tmp_path):
    add_rows(tmp_path, range(COUNT), "a")
    installation = at(seal(tmp_path), s3)
    export_corpus(installation, "t", Format.PARQUET, OUT)
    left = installation.root.path / "exports" / ".0123456789ab"
    left.mkdir()
    (left / "data-r0.parquet").write_bytes(b"rows")
    gone = corpus_rows(installation)[0]["id"]
    receipt = take_down(installation, TakedownOrder(id=gone))
    assert [one for one in receipt.remarks if f"--out {OUT}" in one]
    assert not left.exists()
    export_corpus(installation, "t", Format.PARQUET, OUT)
    assert gone not in {row["id"] for row in ROWS[Format.PARQUET](fetched(s3, tmp_path / "bucket"))}


def test_a_file_larger_than_a_part_goes_in_parts(s3, tmp_path):
    place: Any = destinations.destination_of(
        type("Root", (), {"path": tmp_path, "locks": tmp_path})(),
        type(
            "Settings", (), {"remote_endpoint": s3.endpoint, "remote_concurrency": 2, "remote_mb_per_s": 0.0}
        )(),
        OUT,
    )
    with place.alone():
        path = place.temporary("data/r.parquet")
        path.write_bytes(b"0123456789" * 900_000)
        entry = FileEntry(size_bytes=9_000_000, blake3="00")
        place.put("data/r.parquet", entry)
        assert place.holds("data/r.parquet", entry)
    assert "-2" in s3.client().head_object(Bucket=BUCKET, Key="taken/away/data/r.parquet")["ETag"]
