import ssl

import pytest

from vlm_assets.transfer.download import Fetched, UrlItem, fetch_urls
from vlm_assets.transfer.politeness import HostLimits
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.transfer.conftest import jpeg, quick_settings


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_is_verified_with_the_extra_bundle(certificate, context, trusted):
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)
    settings = quick_settings(ca_bundle=certificate if trusted else None)
    with FaultServer({"/a": Reply(body=jpeg("a"))}, tls=server_side) as server:
        url = server.url("/a")
        (result,) = fetch_urls([UrlItem(url, url)], context(settings), HostLimits())
        if trusted:
            assert isinstance(result, Fetched)
        else:
            assert isinstance(result, Reject)
            assert (result.reason, result.transient, len(server.log)) == (RejectReason.UNREACHABLE, True, 0)
            assert "certificate refused" in result.detail
