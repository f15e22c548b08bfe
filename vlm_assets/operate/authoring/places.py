"""Where a new source is, as somebody wrote it: taken apart, or refused with the form that its kind has."""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from vlm_assets.archives.names import is_archive_name
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.load import unreadable
from vlm_assets.sources.registry import kinds, source_of
from vlm_assets.words.errors import ConfigError, Problem

_FORMS: Final = {
    "repo": re.compile(r"[\w.-]+/[\w.-]+"),
    "handle": re.compile(r"[\w-]+/[\w-]+(/versions/[1-9]\d*)?"),
    "base_url": re.compile(r"https?://[^/\s]+\S*"),
}
_SAID: Final = {
    "repo": "owner/name",
    "handle": "owner/dataset or owner/dataset/versions/1",
    "base_url": "an address, https://HOST",
}
_FOLDER: Final = "a folder on this machine is read by: vlm-assets add client_folder"
_ARCHIVE: Final = "an archive on this machine is read by: vlm-assets add client_folder"


@dataclass(frozen=True, slots=True)
class Place:
    """`key`: of the kind, that says where; `value`: as the entry has it; `where`: as seen from here."""

    key: str
    value: str
    where: str
    more: Mapping[str, str] = field(default_factory=dict)
    """The revision or tag that an address names."""
    doubt: str = ""
    """What reads the path of this name that is on this machine, where there is one."""


def place_of(kind: str, text: str, catalog: Path) -> Place:
    """The place of a source. A path inside the catalogue becomes relative to it, others absolute.

    Raises:
        ConfigError: it is of another form than the kind's places, or a path where nothing can be read.
    """
    key = _place_key(kind)
    if not text.strip():
        raise _refused(f"empty; {kind} is read from {_SAID.get(key, 'a path on this machine')}")
    if source_of(kind).spec_type.model_fields[key].annotation is Path:
        return _path(kind, key, text, catalog)
    text = text.strip()
    name, more = text, {}
    form = source_of(kind).spec_type.PLACE
    if form.page is not None and (found := form.page.fullmatch(text)):
        name = found[1]
        more = {form.beside: unquote(found[2])} if form.beside and found[2] else {}
    if not _FORMS[key].fullmatch(name) or _is_relative(name) or (key == "base_url" and _is_elsewhere(text)):
        raise _refused(f"not {_SAID[key]}; {_rather(kind, text)}")
    doubt = "" if _there(text) is None else f"{text} is on this machine, too; {_rather(kind, text)}"
    return Place(key, name, name, more, doubt)


def _place_key(kind: str) -> str:
    """The kind's own key that says where: the one that is mandatory."""
    fields = source_of(kind).spec_type.model_fields
    own = [name for name, one in fields.items() if one.is_required() and name not in SourceSpec.model_fields]
    return own[0] if own else "base_url"


def _is_relative(text: str) -> bool:
    """Whether it is a path for certain, though it has the form of `owner/name`."""
    return text.startswith(("./", "../"))


def _is_elsewhere(text: str) -> bool:
    """Whether it is an address on one of the sites that other kinds read."""
    return any(page.fullmatch(text) for page in _pages().values())


@cache
def _pages() -> dict[str, re.Pattern[str]]:
    """The addresses of people's pages, by kind."""
    forms = {kind: source_of(kind).spec_type.PLACE.page for kind in kinds()}
    return {kind: page for kind, page in forms.items() if page is not None}


def _refused(told: str) -> ConfigError:
    return ConfigError(Problem("add", "WHERE", told))


def _rather(kind: str, text: str) -> str:
    """What reads such a text: the kind of its address, or of what is on this machine."""
    if address := _of_address(text):
        return address
    rather = source_of(kind).spec_type.PLACE.here or _FOLDER
    there = _there(text)
    if there is not None and there.is_file() and is_archive_name(there.name):
        rather = _ARCHIVE
    return f"{rather} {'PATH' if there is None else shlex.quote(text)}"


def _of_address(text: str) -> str:
    """What reads an address; "" of what is none."""
    for kind, page in _pages().items():
        if page.fullmatch(text):
            return f"that address is read by: vlm-assets add {kind} {shlex.quote(text)}"
    if re.match(r"(?:https?://)?(?:huggingface\.co|hf\.co)/", text):
        return "the page of a dataset on the Hub is https://huggingface.co/datasets/owner/name"
    if text.startswith("file://"):
        return f"write the path alone: {unquote(text.removeprefix('file://'))}"
    if re.match(r"https?://", text):
        return "images behind addresses are read by: vlm-assets add image_urls FILE, an address a line"
    return "no kind reads such an address; copy it to this machine" if re.match(r"\w+://", text) else ""


def _there(text: str) -> Path | None:
    path = Path(_at_home(text))
    return None if unreadable(path) else path


def _path(kind: str, key: str, text: str, catalog: Path) -> Place:
    path = Path(_at_home(text)).absolute()
    if why := unreadable(path):
        if address := _of_address(text):
            raise _refused(f"not a path on this machine; {address}")
        hub = ""
        if _FORMS["repo"].fullmatch(text) and not _is_relative(text):
            hub = f" Or was a dataset of the Hub meant? It is read by: vlm-assets add hf_dataset {text}"
        raise _refused(f"{kind} is read from a path on this machine, and {why}{hub}")
    if (
        key == "path"
        and path.is_file()
        and not (source_of(kind).spec_type.PLACE.archive and is_archive_name(path.name))
    ):
        raise _refused(f"{path} is a file; give the folder that holds it")
    plain = _plain(path)
    inside = plain.is_relative_to(catalog.absolute())
    return Place(key, str(plain.relative_to(catalog.absolute()) if inside else plain), str(plain))


def _at_home(text: str) -> str:
    """The text with `~` written out; as it is where nobody has that name."""
    return os.path.expanduser(text)  # noqa: PTH111 - pathlib raises for a name that nobody has


def _plain(path: Path) -> Path:
    """The path without `..`, links unresolved; as it stands where `..` behind a link leads elsewhere."""
    plain = Path(os.path.normpath(path))
    return plain if plain.resolve() == path.resolve() else path
