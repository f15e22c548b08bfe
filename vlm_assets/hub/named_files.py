"""Which listed file a table's row means by a name: inside its repository or folder, never outside. Pure."""

import posixpath
import re
from collections.abc import Container
from typing import Final
from urllib.parse import unquote

from vlm_assets.captions.names import listed_name

_HUB: Final = re.compile(r"hf://(?:datasets/)?(?P<repo>[^/@]+/[^/@]+)(?:@[^/]+)?/(?P<path>.+)")
_RESOLVE: Final = re.compile(
    r"https?://[^/]+/datasets/(?P<repo>[^/]+/[^/]+)/(?:resolve|blob|raw)/[^/]+/(?P<path>[^?#]+)"
)
_SCHEME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")
OUTSIDE: Final = "which lies outside; only files of the same {} are followed"
URL: Final = "a URL; kind hf_image_urls or image_urls fetches those"


class NamedFiles:
    """The files that the rows of one table may name."""

    def __init__(
        self, listed: Container[str], table: str, *, repo: str | None = None, root: str = ""
    ) -> None:
        """`listed`: NFC keys; `table`: the table's own. `repo` or `root`: what absolute names may begin with."""
        self._listed = listed
        self._folder = table.rpartition("/")[0]
        self._repo = repo
        self._root = root.rstrip("/")

    def key_of(self, name: str) -> str | None:
        """The file that a name means; None where it means none, or two.

        `hf://` names and absolute ones count from the root; others from the table's folder and from the root, and
        where both lead to a file, neither is certain.
        """
        inner = self._inner(name)
        if inner is None:
            return None
        if inner != name:
            return listed_name(inner, "", self._listed)
        found = {listed_name(name, folder, self._listed) for folder in (self._folder, "")} - {None}
        return found.pop() if len(found) == 1 else None

    def why_not(self, name: str) -> str:
        """Why a name means no file, in words that go on after it."""
        place = "repository" if self._repo else "folder"
        if self._inner(name) is None:
            return URL if name.lower().startswith(("http://", "https://")) else OUTSIDE.format(place)
        beside = listed_name(name, self._folder, self._listed)
        if beside is not None and self.key_of(name) is None:
            return f"which is two files: beside the table and in the {place}'s root"
        plain = posixpath.normpath(posixpath.join(self._folder, name.replace("\\", "/")))
        if plain.startswith("../"):
            return OUTSIDE.format(place)
        return f"which is not in the {place}"

    def _inner(self, name: str) -> str | None:
        """A name without what leads to the root; itself where it is relative, None where it leads elsewhere."""
        if self._repo and (found := _HUB.fullmatch(name) or _RESOLVE.fullmatch(name)):
            if found["repo"].lower() != self._repo.lower():
                return None
            return unquote(found["path"]) if name.startswith("http") else found["path"]
        if self._root and name.startswith(f"{self._root}/"):
            return name[len(self._root) + 1 :]
        return None if name.startswith(("/", "\\")) or _SCHEME.match(name) else name
