"""GitHub's API, as far as a release goes: conditional requests, pages, and refusals that say what to do."""

import re
from collections.abc import Iterable, Mapping
from os import environ
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from yarl import URL

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.transfer.urls import origin_of, shown_url
from vlm_assets.words.contexts import ListContext, SourceSettings
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import SourceError
from vlm_assets.words.moving import moved

if TYPE_CHECKING:
    from vlm_assets.transfer.client import Client, Response
    from vlm_assets.transfer.http import TransferError

_PUBLIC_API: Final = "https://api.github.com"
_HEADERS: Final = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_MAX_PAGES: Final = 100
"""A release has 1,000 assets at most: ten pages."""
_NEXT: Final = re.compile(r'<([^>]+)>;\s*rel="next"')


class ReleaseSpec(SourceSpec):
    """What names a release."""

    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name.")
    tag: str | None = Field(None, description="Unset: the latest release.")
    api: str | None = Field(
        None, description="Base of the API: https://HOST/api/v3 for an Enterprise server."
    )

    def upstream_url(self) -> str | None:
        """The page of the release, or of all of them."""
        host = self.api.removesuffix("/").removesuffix("/api/v3") if self.api else "https://github.com"
        return f"{host}/{self.repo}/releases" + (f"/tag/{self.tag}" if self.tag else "")


class _Release(BaseModel):
    tag_name: str
    assets_url: str


class _Asset(BaseModel):
    id: int
    name: str = Field(min_length=1)
    size: int = Field(ge=0, le=2**53)
    updated_at: str
    url: str
    browser_download_url: str
    state: str = "uploaded"
    digest: str | None = None


class _Tag(BaseModel):
    tag_name: str


def _shaped(kind: Any, answer: Any, url: str) -> Any:
    """The answer, where it has the shape.

    Raises:
        SourceError: it has another; names the key.
    """
    try:
        TypeAdapter(kind).validate_python(answer, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise SourceError(
            f"{shown_url(url)}: the answer has another shape: {place}: {first['msg']}"
        ) from error
    return answer


def _origin(url: str) -> str:
    try:
        return origin_of(URL(url))
    except ValueError:
        return ""


def token_of(settings: SourceSettings) -> str:
    """GitHub's token by the settings or the environment; "" where there is none."""
    secret = settings.github_token
    return secret.get_secret_value() if secret else environ.get("GITHUB_TOKEN", "")


def check_unreplaced(
    client: "Client", settings: SourceSettings, spec: ReleaseSpec, fetched: Iterable[Mapping[str, Any]]
) -> None:
    """Returns where assets that have no digest, and were had by their public address, still are those listed.

    That address goes by name: an asset that was replaced gives other bytes under it, of as many bytes perhaps. An
    asset's id is never given to another. One request a hundred assets of the release; none where all have digests.

    Raises:
        SourceError: some are replaced or gone; the message names them.
        TransferError: GitHub cannot be asked.
    """
    held = {one["id"]: one for one in fetched if one.get("held_to") and not token_of(settings)}
    if not held:
        return
    now: dict[int, str] = {}
    for url in sorted({str(one["held_to"]["assets_url"]) for one in held.values()}):
        page: str | None = f"{url}?per_page=100"
        for _ in range(_MAX_PAGES):
            if page is None:
                break
            answer = client.request(page, headers=_HEADERS)
            now |= {asset["id"]: _state(asset) for asset in _shaped(list[_Asset], answer.json(), page)}
            page = _next_page(answer)
    other = sorted(str(one["name"]) for key, one in held.items() if now.get(key) != one["held_to"]["state"])
    if other:
        raise SourceError(
            f"source {spec.name}: {spec.repo}: replaced or removed since they were listed: {', '.join(other[:10])}"
            f"{', …' if len(other) > 10 else ''}; list it again"
        )


def hold_to(asset: Mapping[str, Any], assets_url: str) -> dict[str, Any]:
    """What `check_unreplaced` compares an asset with, for its payload; empty where it has a digest."""
    if str(asset.get("digest") or "").startswith("sha256:"):
        return {}
    return {"name": asset["name"], "held_to": {"assets_url": assets_url, "state": _state(asset)}}


def _state(asset: Mapping[str, Any]) -> str:
    return f"{asset['name']}:{asset['size']}:{asset['updated_at']}"


def _next_page(answer: "Response") -> str | None:
    found = _NEXT.search(answer.headers.get("Link", ""))
    return found[1] if found else None


class GithubApi:
    """Conditional GETs of one repository, answers kept below the source's cache."""

    def __init__(self, spec: ReleaseSpec, context: ListContext) -> None:
        self._spec = spec
        self._context = context
        base = spec.api or environ.get("GITHUB_API_URL") or _PUBLIC_API
        self._base = f"{base.rstrip('/')}/repos/{spec.repo}"
        self._kept = context.cache_dir / "github.json"

    def release_with_assets(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The pinned or latest release and all its assets, over all pages; `held_to` of each is for its payload.

        Raises:
            SourceError: no such repository, release or token, or GitHub cannot be asked.
        """
        from vlm_assets.transfer.client import Client
        from vlm_assets.transfer.http import TransferError
        from vlm_assets.transfer.politeness import HostLimits

        limits = HostLimits.of(self._spec)
        with Client(self._context.settings, self._context.locks_dir, limits) as client:
            wanted = f"tags/{self._spec.tag}" if self._spec.tag else "latest"
            try:
                release, _ = self._get(client, f"{self._base}/releases/{wanted}", _Release)
                assets: list[dict[str, Any]] = []
                url: str | None = f"{release['assets_url']}?per_page=100"
                for _ in range(_MAX_PAGES):
                    if url is None:
                        break
                    page, url = self._get(client, url, list[_Asset])
                    assets += page
                    moved(len(page))
                else:
                    raise SourceError(
                        f"{shown_url(self._base)}: the release has over {so_many(_MAX_PAGES, 'page')} of assets"
                    )
            except TransferError as error:
                raise self._explain(client, error) from None
        for asset in assets:
            self._check_origin(asset["url"])
        url = str(release["assets_url"])
        return release, [{**asset, "held_to": hold_to(asset, url)} for asset in assets]

    def _check_origin(self, url: str) -> None:
        """Returns where the token may go to a URL that an answer names."""
        if _origin(url) != _origin(self._base):
            raise SourceError(
                f"source {self._spec.name}: the answers of {shown_url(self._base)} lead to {shown_url(url)}, another "
                "server, which is not asked; if it is yours too, set `api` to it"
            )

    def _get(self, client: "Client", url: str, shape: Any) -> tuple[Any, str | None]:
        """JSON at a URL and the next page's URL; from the kept answer where GitHub says 304."""
        self._check_origin(url)
        kept = self._read_kept()
        known = {} if self._context.force else kept.get(url, {})
        headers = dict(_HEADERS)
        token = token_of(self._context.settings)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer: Response = client.request(url, headers=headers, etag=known.get("etag", ""))
        if answer.status == 304:
            return _shaped(shape, known["body"], url), known["next"]
        kept[url] = {
            "etag": answer.etag,
            "body": _shaped(shape, answer.json(), url),
            "next": _next_page(answer),
        }
        self._kept.parent.mkdir(parents=True, exist_ok=True)
        partial = self._kept.with_suffix(".tmp")
        partial.write_bytes(orjson.dumps(kept))
        partial.replace(self._kept)
        return kept[url]["body"], kept[url]["next"]

    def _read_kept(self) -> dict[str, Any]:
        try:
            return dict(orjson.loads(self._kept.read_bytes()))
        except (OSError, ValueError, TypeError):
            return {}

    def _explain(self, client: "Client", error: "TransferError") -> SourceError:
        from vlm_assets.transfer.http import TransferError

        spec, signed_in = (
            self._spec,
            "with the given token" if token_of(self._context.settings) else "without a token",
        )
        where = f"source {spec.name}: {spec.repo}, release {spec.tag or 'latest'}"
        if error.status == 401:
            return SourceError(
                f"{where}: the token is refused; set VLM_GITHUB_TOKEN (or GITHUB_TOKEN) anew or unset it"
            )
        if error.status != 404:
            return error.told(where)
        try:
            releases, _ = self._get(client, f"{self._base}/releases", list[_Tag])
        except TransferError:
            return SourceError(
                f"{where}: no such repository, or it is private ({signed_in}); check the spelling, or set "
                "VLM_GITHUB_TOKEN (or GITHUB_TOKEN) to a token that may read it"
            )
        tags = ", ".join(one["tag_name"] for one in releases[:20]) or "none"
        return SourceError(
            f"{where}: no such release (drafts and pre-releases are never latest); there are: {tags}"
        )
