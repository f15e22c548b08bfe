"""The outgoing proxy, the same for every client: by setting, or by `http_proxy`, `https_proxy` and `no_proxy`.

A proxy looks names up by itself. What is asked through it is checked here before, on this machine's own answer; a
name that does not resolve here is left to the proxy, whose own rules are then the guard.
"""

import os
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Final

from yarl import URL

from vlm_assets.words.contexts import SourceSettings
from vlm_assets.words.errors import ConfigError, Problem

NO_PROXY: Final = "none"
"""The value of the setting that leaves the environment's proxies alone."""
_VARIABLES: Final = {"http": ("http_proxy", "HTTP_PROXY"), "https": ("https_proxy", "HTTPS_PROXY")}


class Proxies:
    """Which proxy a URL is asked through."""

    def __init__(self, by_scheme: Mapping[str, URL], no_proxy: str = "") -> None:
        self._by_scheme = by_scheme
        self._no_proxy = no_proxy

    @classmethod
    def of(cls, settings: SourceSettings, environment: Mapping[str, str] | None = None) -> "Proxies":
        """Those of the settings, else of the environment (None: this process's).

        Raises:
            ConfigError: one that is no http(s) URL.
        """
        environment = os.environ if environment is None else environment
        given = settings.proxy.get_secret_value().strip() if settings.proxy is not None else ""
        if not given:
            return cls.of_environment(environment)
        if given.lower() == NO_PROXY:
            return cls({})
        return cls(dict.fromkeys(_VARIABLES, _proxy_url(given, "VLM_PROXY")), _no_proxy(environment))

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> "Proxies":
        """Those of `http_proxy`, `https_proxy` and `no_proxy`, in lower or upper case.

        Raises:
            ConfigError: one that is no http(s) URL.
        """
        found = {}
        for scheme, names in _VARIABLES.items():
            name = next((name for name in names if environment.get(name, "").strip()), None)
            if name is not None:
                found[scheme] = _proxy_url(environment[name].strip(), name)
        return cls(found, _no_proxy(environment))

    def __bool__(self) -> bool:
        return bool(self._by_scheme)

    def for_url(self, url: URL) -> URL | None:
        """The proxy, perhaps with its credentials; None: none."""
        proxy = self._by_scheme.get(url.scheme)
        if proxy is None or self._bypassed(url):
            return None
        return proxy

    def _bypassed(self, url: URL) -> bool:
        host = (url.raw_host or "").rstrip(".").lower()
        entries = (entry.strip().lower() for entry in self._no_proxy.split(","))
        return any(_names(entry, host, url.port) for entry in entries if entry)

    @property
    def endpoints(self) -> frozenset[tuple[str, int]]:
        """Host and port of each proxy: the operator named them, wherever they are."""
        return frozenset((proxy.raw_host or "", proxy.port or 80) for proxy in self._by_scheme.values())

    def environment(self) -> dict[str, str]:
        """Variables that tell a child process the same."""
        if not self:
            return {}
        told = {f"{scheme}_proxy": str(proxy) for scheme, proxy in self._by_scheme.items()}
        return told | ({"no_proxy": self._no_proxy} if self._no_proxy else {})


def _no_proxy(environment: Mapping[str, str]) -> str:
    return environment.get("no_proxy") or environment.get("NO_PROXY", "")


def _names(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of `no_proxy` means a host: `*`, a domain with all below it, an address, a network, a port."""
    if entry == "*" or host == entry.lstrip(".") or host.endswith(f".{entry.lstrip('.')}"):
        return True
    name, colon, last = entry.rpartition(":")
    if colon and last.isdigit() and ":" not in name:
        return int(last) == port and _names(name, host, port)
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except (ValueError, TypeError):
        return False


def _proxy_url(text: str, name: str) -> URL:
    try:
        url = URL(text if "://" in text else f"http://{text}")
        fine = url.scheme in {"http", "https"} and bool(url.raw_host) and url.port
    except ValueError:
        fine = False
    if not fine:
        # The value may hold a password.
        message = "not the URL of an http or https proxy, as http://proxy.example:3128, nor `none`"
        raise ConfigError(Problem("settings", name, message))
    return url
