"""What connections trust: the system's certificates, and those of the settings' bundle."""

import ssl
from functools import lru_cache
from pathlib import Path


def tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """Verification against the system's certificates and those of the bundle.

    Raises:
        OSError: the bundle cannot be read.
        ssl.SSLError: it holds no certificates.
    """
    context = ssl.create_default_context()
    if ca_bundle is not None:
        context.load_verify_locations(ca_bundle)
    return context


def shared_tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """The same, read once a process and version of the bundle; for clients that leave a context as it is.

    Reading takes some 30 ms, and every slice opens connections of its own.
    """
    return _read(ca_bundle, 0 if ca_bundle is None else ca_bundle.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(ca_bundle: Path | None, _modified_ns: int) -> ssl.SSLContext:
    return tls_context(ca_bundle)
