"""A quarantined address is released by a run's tag, as the build command sets it; the nightly leaves it alone."""

import time

from vlm_assets.ingest.due import Due
from vlm_assets.ingest.slice import SliceOptions
from vlm_assets.orchestration.assets.metadata import slice_metadata
from vlm_assets.orchestration.names import ACCEPT_DRIFT_TAG, dataset_key
from vlm_assets.orchestration.run.pending import due_slices
from vlm_assets_tests.orchestration.kit import Line, instance_in, rows_of
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.workplace import STREET, ingest, install, picture


def test_the_tag_releases_and_the_nightly_does_not(tmp_path):
    with FaultServer({f"/{n}.jpg": Reply(body=picture(n)) for n in range(2)}) as web:
        (tmp_path / "urls.txt").write_text("\n".join(web.url(f"/{n}.jpg") for n in range(2)))
        source = {**STREET, "kind": "image_urls", "urls": tmp_path / "urls.txt", "reject_tolerance": 0.5}
        installation = install(tmp_path, source, allow_private_hosts="127.0.0.1")
        ingest(installation)
        web.script["/0.jpg"] = Reply(body=picture(77))
        [outcome] = ingest(installation, options=SliceOptions(force=True)).values()
        assert rows_of(slice_metadata(outcome)["rejects by reason"].value) == [["drifted", "1", "100.0 %"]]
        spec, now = installation.catalog.source("street"), time.time() + 365 * 86400
        assert due_slices(installation, spec, now=now) == {}
        [(key, why)] = due_slices(installation, spec, now=now, accept_drift=True).items()
        assert why is Due.RELEASED
        with instance_in(tmp_path / "home") as instance:
            line = Line(installation, instance)
            assert line.list_sources("street").success
            assert line.fetch("street").success
            assert line.facts(dataset_key("street"), key)["rows"] == 1
            assert line.fetch("street", **{ACCEPT_DRIFT_TAG: "true"}).success
            facts = line.facts(dataset_key("street"), key)
            assert (facts["rows"], facts["rejects"], facts["why"]) == (2, 0, "released")
