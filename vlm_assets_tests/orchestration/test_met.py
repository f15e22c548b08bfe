"""A fetch run that meets what was taken down: its words are in no file and in no stored version when it is over."""

from hashlib import sha256
from pathlib import Path

import pytest

from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.orchestration.names import BACKUP_KEY
from vlm_assets.remote import bucket as bucket_module
from vlm_assets_tests.faults.place import GONE, SECRET, files_that_say, says
from vlm_assets_tests.orchestration.kit import Line, failure_of, instance_in
from vlm_assets_tests.remote.s3 import BUCKET, REMOTE, Fault, FaultProxy, S3Server
from vlm_assets_tests.workplace import STREET, fill, install, picture


def captioned(base: Path, endpoint: str) -> Installation:
    folder = fill(base / "in", 3)
    lines = [f"{number:04d}.jpeg,{SECRET if number == GONE else 'a tram'}" for number in range(3)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,text", *lines]), "utf-8")
    (base / "here").mkdir()
    source = {**STREET, "path": folder, "text": "metadata.csv"}
    return install(
        base / "here", source, workers=1, remote=REMOTE, remote_endpoint=endpoint, remote_concurrency=2
    )


def bucket_says(server: S3Server) -> list[str]:
    """Keys of stored versions, those that were replaced or deleted too."""
    client = server.client()
    found = client.list_object_versions(Bucket=BUCKET).get("Versions", ())
    return [
        one["Key"]
        for one in found
        if says(client.get_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])["Body"].read())
    ]


def test_its_words_go_with_the_run_that_meets_it(
    tmp_path: Path, made_home: Path, monkeypatch: pytest.MonkeyPatch
):
    home = tmp_path / "here" / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setattr(bucket_module, "_FIRST_WAIT_S", 0.01)
    with S3Server() as server, FaultProxy(server) as proxy:
        server.new_bucket()
        installation = captioned(tmp_path, proxy.endpoint)
        take_down(installation, TakedownOrder(sha256=sha256(picture(GONE)).hexdigest()))
        with instance_in(home, made_home) as instance:
            line = Line(installation, instance)
            assert line.list_sources("street").success
            assert len(bucket_says(server)) == 1  # its image was never listed: nobody can know
            # A remote that does not delete is told, and what is here is done.
            proxy.fault = lambda asked: (
                Fault(status=403, code="AccessDenied") if "delete" in asked.query else None
            )
            fetched = line.fetch("street")
            assert fetched.success, failure_of(fetched)
            assert files_that_say(tmp_path / "here") == []
            proxy.fault = lambda asked: None  # noqa: ARG005 - none
            assert line.run(BACKUP_KEY).success
        assert bucket_says(server) == []
