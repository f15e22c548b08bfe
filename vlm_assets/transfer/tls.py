"""What connections trust: the system's certificates, and those of the settings' bundle."""

import ssl
from functools import lru_cache
from pathlib import Path

from vlm_assets.words.plain_files import open_plain


def tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """Verification against the system's certificates and those of the bundle.

    Raises:
        OSError: the bundle cannot be read.
        ssl.SSLError: it holds no certificates.
    """
    context = ssl.create_default_context()
    if ca_bundle is not None:
        open_plain(ca_bundle).close()  # a pipe in its place would never open
        context.load_verify_locations(ca_bundle)
    return context


def shared_tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """The same, read once a process and version of the bundle; for clients that leave a context as it is.

    Reading takes some 30 ms, and every slice opens connections of its own.
    """
    return _read(ca_bundle, _version_of(ca_bundle), "")


def tls_context_of_requests(ca_bundle: Path | None) -> ssl.SSLContext:
    """The same for all sessions of `requests`, and for no other client.

    Its urllib3 writes into the context of each connection what it trusts besides (certifi) and speaks (ALPN).
    """
    return _read(ca_bundle, _version_of(ca_bundle), "requests")


def _version_of(ca_bundle: Path | None) -> int:
    return 0 if ca_bundle is None else ca_bundle.stat().st_mtime_ns


@lru_cache(maxsize=4)
def _read(ca_bundle: Path | None, _modified_ns: int, _writer: str) -> ssl.SSLContext:
    return tls_context(ca_bundle)
