"""URLs as they are sent, as they are shown, and the host that limits count for."""

import re
from typing import Final
from urllib.parse import quote, urlsplit

from yarl import URL

from vlm_assets.transfer.addresses import literal_address

_PARTS: Final = re.compile(r"^(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_HOST: Final = re.compile(r"^(?:[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)$")
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SAFE: Final = "/?:@!$&'()*+,;=-._~%[]"
_MAX_LENGTH: Final = 8000


class UrlError(ValueError):
    """Not a URL that can be asked for; the message says why in a few words."""


def wire_url(text: str, *, base: URL | None = None) -> URL:
    """The URL as it goes over the wire: IDN host in punycode, other characters percent-encoded as UTF-8, no fragment.

    What is already valid under RFC 3986 is left exactly as it is: signed URLs break when re-quoted.

    Raises:
        UrlError: not http(s), no host, credentials inside, control characters, too long.
    """
    text = text.strip()
    if base is not None and not _PARTS.match(text):
        text = _joined(text, base)
    if len(text) > _MAX_LENGTH:
        raise UrlError(f"longer than {_MAX_LENGTH} characters")
    if _CONTROL.search(text):
        raise UrlError("control characters in it")
    match = _PARTS.match(text)
    if match is None:
        raise UrlError("not an http or https URL")
    scheme, authority, rest = match[1].lower(), match[2], match[3]
    if "@" in authority:
        raise UrlError("credentials in it")
    try:
        site = URL(f"{scheme}://{authority}/")
        host, port = _canonical(site.raw_host or ""), site.explicit_port
        rest = quote(_STRAY_PERCENT.sub("%25", rest), safe=_SAFE)
        shown = f"[{host}]" if ":" in host else host
        tail = rest if rest.startswith("/") else f"/{rest}"
        url = URL(f"{scheme}://{shown}{f':{port}' if port else ''}{tail}", encoded=True)
    except ValueError as error:
        raise UrlError(str(error)[:200]) from None
    if not _HOST.match(host):
        raise UrlError("no valid host name in it")
    return url


def _canonical(host: str) -> str:
    """`127.1`, `0x7f.1`, `2130706433` mean an address to every resolver; sent, checked and shown as that address."""
    address = None if ":" in host else literal_address(host)
    return host if address is None else str(address)


def _joined(text: str, base: URL) -> str:
    if re.match(r"^[A-Za-z][A-Za-z0-9+.-]*:", text):
        raise UrlError("not an http or https URL")
    if text.startswith("//"):
        return f"{base.scheme}:{text}"
    if text.startswith("/"):
        return f"{base.origin()}{text}"
    folder = base.raw_path if text.startswith("?") else base.raw_path.rpartition("/")[0] + "/"
    path, mark, query = f"{folder}{text}".partition("?")
    return f"{base.origin()}{_without_dots(path)}{mark}{query}"


def _without_dots(path: str) -> str:
    """RFC 3986 5.2.4 for an absolute path."""
    out: list[str] = []
    parts = path.split("/")[1:]
    for part in parts:
        if part == "..":
            del out[-1:]
        elif part != ".":
            out.append(part)
    if parts[-1] in {".", ".."}:
        out.append("")
    return "/" + "/".join(out)


def normal_url(url: str) -> str:
    """One spelling of a URL, so that a takedown meets every way to write it."""
    try:
        return str(wire_url(url))
    except UrlError:
        return url


def host_key(url: URL) -> str:
    """The host that limits count for: its name, with the port where that is neither 80 nor 443."""
    host = (url.raw_host or "").rstrip(".").lower()
    return host if url.port in {80, 443} else f"{host}:{url.port}"


def origin_of(url: URL) -> str:
    """`scheme://host:port`: what robots.txt and credentials are bound to."""
    return f"{url.scheme}://{(url.raw_host or '').lower()}:{url.port}"


def shown_url(url: str | URL) -> str:
    """A URL for logs and messages: without credentials, query and fragment, at most 200 characters."""
    text = str(url)
    try:
        parts = urlsplit(text)
    except ValueError:
        return "(unreadable URL)"
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{host}{parts.path}" if host else f"{parts.scheme}:{parts.path}"[:40]
    shown = _CONTROL.sub("?", shown) + ("?…" if parts.query else "")
    return shown if len(shown) <= 200 else f"{shown[:199]}…"
