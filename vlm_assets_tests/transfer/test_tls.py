import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from vlm_assets.transfer.download import Fetched, UrlItem, fetch_urls
from vlm_assets.transfer.politeness import HostLimits
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.transfer.conftest import jpeg, quick_settings


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "cert.pem"
    pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password) + made.public_bytes(pem)
    )
    return path


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
