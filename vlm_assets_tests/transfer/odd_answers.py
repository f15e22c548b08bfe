"""Answers as real servers send them, by name: each holds the body that it is made of, however it is wrapped."""

import gzip
import zlib
from collections.abc import Callable, Mapping
from typing import Final

import brotli  # type: ignore[import-untyped]  # ships none
from backports import zstd

from vlm_assets_tests.odd_servers import Raw, answer

Wrap = Callable[[bytes], Raw]
_JPEG: Final = "Content-Type: image/jpeg"


def _chunked(
    body: bytes, *headers: str, end: bytes = b"0\r\n\r\n", size: str = "{:x}", eol: bytes = b"\r\n"
) -> Raw:
    half = len(body) // 2
    parts = [size.format(len(part)).encode() + eol + part + eol for part in (body[:half], body[half:])]
    head = answer(b"", _JPEG, "Transfer-Encoding: chunked", *headers, length=False).data
    return Raw(head + b"".join(parts) + end)


def _encoded(name: str, pack: Callable[[bytes], bytes]) -> Wrap:
    return lambda body: answer(pack(body), _JPEG, f"Content-Encoding: {name}")


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def _with(*headers: str | bytes) -> Wrap:
    return lambda body: answer(body, _JPEG, *headers)


def _first(*headers: str | bytes) -> Wrap:
    """The odd lines stand before the one that says how long the body is."""
    return lambda body: answer(body, *headers, f"Content-Length: {len(body)}", _JPEG, length=False)


def _status(status: str, *headers: str) -> Wrap:
    return lambda body: answer(body, _JPEG, *headers, status=status)


def _range(status: str, text: str) -> Wrap:
    def wrap(body: bytes) -> Raw:
        named = text.format(last=len(body) - 1, size=len(body))
        return answer(body, _JPEG, f"Content-Range: {named}", status=status)

    return wrap


def _after(*statuses: str) -> Wrap:
    """Answers 1xx come before."""
    before = b"".join(
        answer(b"", "Link: </a.css>; rel=preload", status=one, length=False).data for one in statuses
    )
    return lambda body: Raw(before + answer(body, _JPEG).data)


def _reworded(body: bytes) -> Raw:
    plain = answer(body, _JPEG).data
    return Raw(plain.replace(b"OK", "Tamam çok iyi".encode("cp1254"), 1))


TAKEN: Final[Mapping[str, Wrap]] = {
    "plain": _with(),
    # the status line
    "created": _status("201 Created"),
    "accepted": _status("202 Accepted"),
    "from-a-cache": _status("203 Non-Authoritative Information"),
    "delta": _status("226 IM Used"),
    "unknown-2xx": _status("299 Miscellaneous Warning"),
    "whole-range": _range("206 Partial Content", "bytes 0-{last}/{size}"),
    "whole-range-of-unknown": _range("206 Partial Content", "bytes 0-{last}/*"),
    "range-without-header": _status("206 Partial Content"),
    "range-on-200": _range("200 OK", "bytes 0-{last}/{size}"),
    "no-reason": _status("200"),
    "no-reason-space": _status("200 "),
    "odd-reason": _reworded,
    "lower-case": lambda body: answer(body, _JPEG, version="http/1.1"),
    "icy": lambda body: answer(body, _JPEG, version="ICY", close=True),
    "two-spaces": lambda body: answer(body, _JPEG, status=" 200 OK"),
    "http-1.2": lambda body: answer(body, _JPEG, version="HTTP/1.2"),
    "http-2-on-the-line": lambda body: answer(body, _JPEG, version="HTTP/2", close=True),
    "http-1.0": lambda body: answer(body, _JPEG, version="HTTP/1.0", length=False, close=True),
    "http-1.0-keep-alive": lambda body: answer(body, _JPEG, "Connection: keep-alive", version="HTTP/1.0"),
    "until-close": lambda body: answer(body, _JPEG, "Connection: close", length=False, close=True),
    "until-close-unsaid": lambda body: answer(body, _JPEG, length=False, close=True),
    "empty-line-first": lambda body: Raw(b"\r\n" + answer(body, _JPEG).data),
    "early-hints": _after("103 Early Hints"),
    "continue": _after("100 Continue"),
    "two-informations": _after("102 Processing", "103 Early Hints"),
    # line ends
    "lf-only": lambda body: answer(body, _JPEG, eol=b"\n"),
    "lf-for-some": lambda body: Raw(answer(body, _JPEG).data.replace(b"jpeg\r\n", b"jpeg\n", 1)),
    "lf-before-body": lambda body: Raw(answer(body, "X-A: b").data.replace(b"b\r\n\r\n", b"b\r\n\n", 1)),
    # header lines
    "no-colon-first": _first("Powered by cache"),
    "no-colon-last": _with("Powered by cache"),
    "space-in-name": _first("X Cache Status: HIT"),
    "space-before-colon": _first("X-Cache : HIT"),
    "space-before-colon-of-length": lambda body: answer(
        body, f"Content-Length : {len(body)}", _JPEG, length=False
    ),
    "empty-name": _first(": nothing"),
    "empty-value": _first("X-Empty:"),
    "odd-name": _first("X-(Odd)@Name/1: x"),
    "latin-name": _first("X-Önbellek: x".encode("latin-1")),
    "utf-8-value": _first("X-Şehir: İstanbul".encode()),
    "latin-value": _first("X-Title: café".encode("latin-1")),
    "control-in-value": _first(b"X-Cookie: a\x01b\x7fc"),
    "nul-in-value": _first(b"X-Cookie: a\x00b"),
    "bare-cr-in-value": _first(b"X-Note: a\rb"),
    "folded": _first("X-Long: a", "  b", "\tc"),
    "fold-first": _first(" X-Lost: a"),
    "tab-after-colon": _first("X-A:\tb"),
    "header-12k": _first("Content-Security-Policy: " + "img-src https://a.example; " * 450),
    "header-60k": _first("Content-Security-Policy: " + "img-src https://a.example; " * 2250),
    "header-150k": _first("Content-Security-Policy: " + "img-src https://a.example; " * 5600),
    "long-name": _first("X-" + "a" * 9000 + ": b"),
    "cookies-60": _first(*(f"Set-Cookie: c{n}=" + "x" * 300 for n in range(60))),
    "headers-120": _first(*(f"X-Header-{n}: {n}" for n in range(120))),
    "headers-300": _first(*(f"X-Header-{n}: {n}" for n in range(300))),
    "server-header-junk": _first(
        "Server: \t ", "Date: yesterday", "Expires: 0", "Last-Modified: 1", "Age: -1"
    ),
    # content types
    "octet-stream": lambda body: answer(body, "Content-Type: application/octet-stream"),
    "text-html": lambda body: answer(body, "Content-Type: text/html; charset=utf-8"),
    "json-type": lambda body: answer(body, "Content-Type: application/json"),
    "no-type": answer,
    "empty-type": lambda body: answer(body, "Content-Type:"),
    "junk-type": lambda body: answer(body, "Content-Type: jpg"),
    "two-types": lambda body: answer(body, "Content-Type: text/html", _JPEG),
    "type-with-junk": lambda body: answer(body, 'Content-Type: image/jpeg; charset="UTF-8; a=b;;'),
    # lengths
    "length-twice": lambda body: answer(body, _JPEG, f"Content-Length: {len(body)}"),
    "length-list": lambda body: answer(
        body, _JPEG, f"Content-Length: {len(body)}, {len(body)}", length=False
    ),
    "length-plus": lambda body: answer(body, _JPEG, f"Content-Length: +{len(body)}", length=False),
    "length-zeros": lambda body: answer(body, _JPEG, f"Content-Length: 000{len(body)}", length=False),
    "length-junk-until-close": lambda body: answer(
        body, _JPEG, "Content-Length: unknown", length=False, close=True
    ),
    "length-empty-until-close": lambda body: answer(body, _JPEG, "Content-Length:", length=False, close=True),
    "length-negative-until-close": lambda body: answer(
        body, _JPEG, "Content-Length: -1", length=False, close=True
    ),
    "length-and-chunks": lambda body: _chunked(body, f"Content-Length: {len(body)}"),
    "wrong-length-and-chunks": lambda body: _chunked(body, "Content-Length: 17"),
    "bytes-after-the-body": lambda body: Raw(answer(body, _JPEG).data + b"\r\n\r\ntrailing junk", close=True),
    # chunks
    "chunks": _chunked,
    "chunks-trailers": lambda body: _chunked(
        body, "Trailer: X-Sum", end=b"0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n"
    ),
    "chunks-extensions": lambda body: _chunked(body, size='{:x};a=1;b="c d"'),
    "chunks-spaces": lambda body: _chunked(body, size="{:x}  "),
    "chunks-upper-padded": lambda body: _chunked(body, size="{:08X}"),
    "chunks-lf": lambda body: _chunked(body, eol=b"\n", end=b"0\n\n"),
    "chunks-named-in-capitals": lambda body: Raw(_chunked(body).data.replace(b"chunked", b"Chunked")),
    "chunks-said-twice": lambda body: _chunked(body, "Transfer-Encoding: chunked"),
    "chunks-identity-too": lambda body: Raw(
        _chunked(body).data.replace(b": chunked", b": identity, chunked")
    ),
    "chunks-close-after-zero": lambda body: Raw(_chunked(body, end=b"0\r\n").data, close=True),
    "identity-transfer": lambda body: answer(body, _JPEG, "Transfer-Encoding: identity"),
    # content encodings nobody asked for
    "gzip": _encoded("gzip", gzip.compress),
    "x-gzip": _encoded("x-gzip", gzip.compress),
    "gzip-in-capitals": _encoded("GZIP", gzip.compress),
    "gzip-chunked": lambda body: _chunked(gzip.compress(body), "Content-Encoding: gzip"),
    "gzip-members": _encoded("gzip", lambda body: gzip.compress(body[:99]) + gzip.compress(body[99:])),
    "gzip-twice": _encoded("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    "gzip-with-rest": _encoded("gzip", lambda body: gzip.compress(body) + b"\0" * 7),
    "deflate": _encoded("deflate", zlib.compress),
    "deflate-raw": _encoded("deflate", _raw_deflate),
    "brotli": _encoded("br", brotli.compress),
    "zstd": _encoded("zstd", zstd.compress),
    "gzip-that-is-none": _encoded("gzip", bytes),
    "deflate-that-is-none": _encoded("deflate", bytes),
    "brotli-that-is-none": _encoded("br", bytes),
    "encoding-none": _encoded("none", bytes),
    "encoding-utf-8": _encoded("utf-8", bytes),
    "encoding-identity": _encoded("identity", bytes),
    "encoding-empty": _encoded("", bytes),
    "encoding-is-a-type": _encoded("image/jpeg", bytes),
}
"""Every one of them is the whole body."""
