"""A slice whose hosts were given up is not committed, and is the same as ever once they answer."""

from dataclasses import replace
from typing import Any

import pytest

from vlm_assets.ingest.slice import build_slice
from vlm_assets.store.versions import current_version
from vlm_assets.transfer.spool import Spool
from vlm_assets.words.errors import PostponedError
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.workplace import STREET, ingest, install, picture, relist


def test_a_slice_that_lost_a_host_waits_and_becomes_what_it_would_have_been(tmp_path):
    fine = {f"/{n}.jpg": Reply(body=picture(n)) for n in range(8)}
    with FaultServer(fine) as one, FaultServer({"/robots.txt": Reply(404)}) as other:
        urls = [server.url(f"/{n}.jpg") for n in range(8) for server in (one, other)]
        (tmp_path / "urls.txt").write_text("\n".join(urls))
        source = {**STREET, "kind": "image_urls", "urls": tmp_path / "urls.txt", "reject_tolerance": 0.6}
        settings: dict[str, Any] = {
            "allow_private_hosts": "127.0.0.1",
            "http_timeout_s": 1,
            "http_attempts": 2,
        }
        installation = install(tmp_path / "a", source, **settings)
        listing, spec = relist(installation), installation.catalog.source("street")
        [key] = listing.slices
        other.script |= {f"/{n}.jpg": Reply(500) for n in range(8)}

        with pytest.raises(PostponedError, match="8 of 16 URLs"):
            build_slice(installation, spec, listing, key)
        assert current_version(installation.root.slice("street", key)) is None

        other.script |= fine
        spool = Spool(installation.root.cache_of("street") / "spool" / key)
        [(host, note)] = spool.hosts.items()
        spool.note_host(host, replace(note, until=0.0))
        spool.close()
        late = build_slice(installation, spec, listing, key).manifest
        assert late.rows == 16
        assert one.counts.total() == 8
        [undisturbed] = ingest(install(tmp_path / "b", source, **settings)).values()
        assert late.to_bytes() == undisturbed.manifest.to_bytes()
