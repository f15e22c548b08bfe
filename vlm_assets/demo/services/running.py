"""All hosted services at once, filled, with the environment that leads untouched client libraries to them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from vlm_assets.demo.services.base import Service
from vlm_assets.demo.services.content import fill_github, fill_hub, fill_kaggle
from vlm_assets.demo.services.github import GitHubService
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.images import ImageSite
from vlm_assets.demo.services.kaggle import KaggleService

PORTS = 6
"""Ports that the hosted services take, from the first on."""


@dataclass(frozen=True, slots=True)
class RunningServices:
    """Services that answer now."""

    hub: HubService
    github: GitHubService
    kaggle: KaggleService

    def environment(self) -> dict[str, str]:
        """Variables that lead `huggingface_hub`, `kagglehub` and the GitHub kind here."""
        return {
            "HF_ENDPOINT": self.hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "FALSE",
            "GITHUB_API_URL": self.github.api_url,
            **self.kaggle.environment(),
        }

    def proxied(self) -> dict[str, str]:
        """`environment`, with the proxy as a setting of this program alone: what may stand in `.env`."""
        told = self.environment()
        proxy = told.pop("http_proxy")
        return {**told, "VLM_PROXY": proxy}

    def origins(self) -> dict[str, Service]:
        """Every origin by name, storage apart."""
        return {
            "hub": self.hub, "hub storage": self.hub.storage, "github": self.github,
            "github storage": self.github.storage, "kaggle": self.kaggle, "kaggle storage": self.kaggle.storage,
        }  # fmt: skip

    def counts(self) -> dict[str, Counter[tuple[str, str, int]]]:
        """Requests so far by origin, then by (method, path, status)."""
        return {name: service.counts() for name, service in self.origins().items()}

    def clear_logs(self) -> None:
        """Forget the requests so far."""
        for service in self.origins().values():
            service.clear_log()


@contextmanager
def start_services(site: ImageSite, port: int = 0) -> Iterator[RunningServices]:
    """Starts and fills the hosted services on `port` and the five after it (0: any free ones).

    `site` is where the URLs of `demo/links` lead.

    Raises:
        OSError: a port is taken.
    """
    ports = list(range(port, port + PORTS)) if port else [0] * PORTS
    with ExitStack() as stack:
        hub = stack.enter_context(HubService(ports[0], ports[1]))
        github = stack.enter_context(GitHubService(ports[2], ports[3]))
        kaggle = stack.enter_context(KaggleService(ports[4], ports[5]))
        fill_hub(hub, site)
        fill_github(github)
        fill_kaggle(kaggle)
        yield RunningServices(hub, github, kaggle)
