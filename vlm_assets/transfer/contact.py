"""Nobody is visited anonymously: the internet wants somebody to write to."""

from collections.abc import Iterable

from vlm_assets.transfer.addresses import AddressPolicy
from vlm_assets.transfer.urls import UrlError, wire_url
from vlm_assets.words.contexts import SourceSettings
from vlm_assets.words.errors import ConfigError, Problem


def require_contact(settings: SourceSettings, urls: Iterable[str]) -> None:
    """Refuse to visit the internet anonymously: without a contact only loopback and listed hosts are asked.

    Raises:
        ConfigError: `contact` is empty and one of the URLs is elsewhere.
    """
    check = ContactCheck(settings)
    for url in urls:
        check(url)


class ContactCheck:
    """`require_contact`, one URL at a time; quick for many URLs of few hosts."""

    def __init__(self, settings: SourceSettings) -> None:
        self._given = bool(settings.contact.strip())
        self._policy = AddressPolicy(settings.allow_private_hosts)
        self._fine: set[str] = set()

    def __call__(self, url: str) -> None:
        """Refuse a URL that may not be asked for anonymously.

        Raises:
            ConfigError: it leads to the internet, and `contact` is empty.
        """
        if self._given:
            return
        scheme, colon, rest = url.partition("://")
        authority = rest.partition("/")[0]
        if not colon or authority in self._fine or scheme.lower() not in {"http", "https"}:
            return
        try:
            anonymous = self._policy.needs_no_contact(wire_url(url).raw_host or "")
        except UrlError:
            return  # never asked: a reject of its own
        if not anonymous:
            message = (
                f"not set; {authority.rpartition('@')[2]} is to know whom to write to when requests disturb it. "
                "Name an e-mail address or a page; it is sent in the User-Agent"
            )
            raise ConfigError(Problem("settings", "VLM_CONTACT", message))
        self._fine.add(authority)
