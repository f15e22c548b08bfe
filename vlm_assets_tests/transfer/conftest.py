import ipaddress
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from vlm_assets.settings import Settings
from vlm_assets.words.contexts import FetchContext
from vlm_assets_tests.transfer.gate_log import GateLog
from vlm_assets_tests.transfer.patience import be_brisk
from vlm_assets_tests.waiting import HANG_S

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"


def jpeg(name: str, size_bytes: int = 2000) -> bytes:
    """Bytes that begin like a JPEG and differ by name."""
    return (JPEG + name.encode() * (size_bytes // max(len(name), 1) + 1))[:size_bytes]


def quick_settings(**changes: Any) -> Settings:
    """Settings for loopback. What is slow is waited for; a test of what is silent names a timeout of its own."""
    values: dict[str, Any] = {
        "allow_private_hosts": ("127.0.0.1", "::1", "localhost"),
        "http_timeout_s": HANG_S,
        "http_attempts": 4,
        "obey_opt_outs": False,  # requests of their own, which `test_opt_outs` looks at
        **changes,
    }
    return Settings(_env_file=None, **values)


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are short, whatever the timeout."""
    be_brisk(monkeypatch.setattr)


@pytest.fixture
def gate_log(monkeypatch: pytest.MonkeyPatch) -> GateLog:
    """What the gates of this process decide."""
    log = GateLog()
    log.watch(monkeypatch.setattr)
    return log


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., FetchContext]:
    """A fetch context in the test's folder; keyword arguments replace its fields."""

    def make(settings: Settings | None = None, **changes: Any) -> FetchContext:
        base = FetchContext(
            settings=settings or quick_settings(),
            source="web",
            slice_name="0000-of-0001",
            revision="r",
            attributes={},
            cache_dir=tmp_path / "cache",
            spool_dir=tmp_path / "spool",
            locks_dir=tmp_path / "locks",
            cancelled=threading.Event(),
        )
        return replace(base, **changes)

    return make


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
