"""Private hosts of URL lists, told before anything is fetched."""

import pytest

from vlm_assets.settings import Settings
from vlm_assets.transfer.private_hosts import PrivateHosts


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:8765/a.jpg", "127.0.0.1"),
        ("http://10.1.2.3/a.jpg", "10.1.2.3"),
        ("http://[::1]:80/a.jpg", "[::1]"),
        ("http://localhost:1/a.jpg", "localhost"),
        ("http://2130706433/a.jpg", "127.0.0.1"),
        ("http://192.168.7.7/a.jpg", ""),
        ("http://127.org/a.jpg", ""),
        ("https://8.8.8.8/a.jpg", ""),
        ("http://images.example.org/127.0.0.1", ""),
        ("missing-url-1", ""),
        ("", ""),
    ],
)
def test_a_host_is_private_as_it_is_written(url, host, tmp_path):
    hosts = PrivateHosts(Settings(data_root=tmp_path, allow_private_hosts=["192.168.0.0/16"]))
    hosts(url)
    hosts(url)
    told = [hint.partition("VLM_ALLOW_PRIVATE_HOSTS=")[2] for hint in hosts.hints]
    assert told == ([host.strip("[]")] if host else [])
    assert all(hint.startswith("2 URLs lead to private hosts") for hint in hosts.hints)
