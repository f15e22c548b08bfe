import asyncio
import socket
from ipaddress import ip_address

import pytest

from vlm_assets.transfer.addresses import (
    AddressPolicy,
    PrivateAddressError,
    is_public,
    literal_address,
)
from vlm_assets.transfer.guard import Guard
from vlm_assets.transfer.guarded_resolver import GuardedResolver
from vlm_assets.transfer.urls import UrlError, wire_url


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "192.0.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
        "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1::",
        "::ffff:0:127.0.0.1", "fe80::1%eth0", "2606:4700::5efe:a9fe:a9fe", "2606:4700::200:5efe:7f00:1", "3fff::1",
        "5f00::1", "100::1", "168.63.129.16", "::ffff:168.63.129.16", "100.100.100.200", "192.0.0.192",
    ],
)  # fmt: skip
def test_refused(text):
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "193.140.0.1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public(text):
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("0", "0.0.0.0"),
        ("127.0.0.1...", "127.0.0.1"),
        ("0177.0.0.0x1", "127.0.0.1"),
        ("127.65793", "127.1.1.1"),
        ("example.org", None),
        ("1.2.3.4.5", None),
        ("face", None),
    ],
)
def test_spellings_of_addresses(host, address):
    got = literal_address(host)
    assert got == (None if address is None else ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://[::1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://0xA9FEA9FE/x",
        "http://①⑥⑨。②⑤④。①⑥⑨。②⑤④/latest",
        "http://１２７.0.0.1/",
        "http://[fe80::1%25eth0]/",
        "http://[fd00:ec2::254]/latest",
        "http://127.0.0.1./",
    ],
)
def test_literal_urls_are_refused_before_any_connection(url):
    with pytest.raises(PrivateAddressError):
        AddressPolicy(["10.0.0.0/8"]).check_literal(wire_url(url))


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.0/8", "[127.0.0.1]"])
def test_listed_ones_pass(allowed):
    AddressPolicy([allowed]).check_literal(wire_url("http://127.1/"))


@pytest.mark.parametrize(
    "url",
    [
        "http://photos.example@127.0.0.1/",
        "http://127.0.0.1\\@photos.example/",
        "http://a b/",
        "http:///127.0.0.1",
    ],
)
def test_urls_that_readers_disagree_about_are_none(url):
    with pytest.raises((UrlError, PrivateAddressError)):
        AddressPolicy([]).check_literal(wire_url(url))


def resolve(policy: AddressPolicy, host: str, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    infos = [
        (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80))
        for a in addresses
    ]

    async def run() -> list[str]:
        return [found["host"] for found in await GuardedResolver(Guard(policy)).resolve(host, 80)]

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: list(infos))
    return asyncio.run(run())


def test_private_addresses_of_a_name_are_dropped(monkeypatch):
    got = resolve(AddressPolicy([]), "cdn.example", monkeypatch, "10.0.0.1", "8.8.8.8", "::ffff:10.0.0.2")
    assert got == ["8.8.8.8"]


def test_a_name_with_private_addresses_alone_is_refused(monkeypatch):
    with pytest.raises(PrivateAddressError, match="rebind"):
        resolve(AddressPolicy(["other.example"]), "rebind.example", monkeypatch, "169.254.169.254", "::1")


def test_a_listed_name_may_lead_anywhere(monkeypatch):
    got = resolve(AddressPolicy(["Photos.Internal"]), "photos.internal", monkeypatch, "10.0.0.1")
    assert got == ["10.0.0.1"]


def test_the_last_look_at_a_connection():
    resolver = GuardedResolver(Guard(AddressPolicy([])))
    with pytest.raises(PrivateAddressError):
        resolver.socket_for((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))


@pytest.mark.parametrize(
    ("host", "anonymous"),
    [("127.0.0.1", True), ("localhost", True), ("a.localhost", True), ("photos.internal", True), ("10.9.8.7", True),
     ("169.254.169.254", True), ("example.org", False), ("8.8.8.8", False)],
)  # fmt: skip
def test_whom_a_contact_concerns(host, anonymous):
    assert AddressPolicy(["photos.internal", "10.0.0.0/8"]).needs_no_contact(host) is anonymous
