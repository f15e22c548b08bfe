"""Names on disk and in Dagster: slice keys, sample ids, hashes of keys, paths under the data root.

Pure: builds paths, touches none of them.
"""

import re
import secrets
import unicodedata
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

ROOT_MARKER: Final = ".vlm_root"
TEST_MARKER: Final = ".vlm_test_root"
VERSIONS: Final = ".versions"
STAGING: Final = ".staging"
ANNOTATING: Final = "annotate"
MANIFEST: Final = "metadata.json"

_RESERVED: Final = frozenset({"metadata.json", "dataset_dict.json", "con", "nul"})
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.=-]")
_LOOKS_ESCAPED: Final = re.compile(r"-[0-9a-f]{8}$")
_MAX_KEY: Final = 120


def temporary_beside(path: Path, ending: str = "tmp") -> Path:
    """A name beside `path` that nobody else takes, be it another thread: what is written there is renamed to it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{ending}")


def nfc(text: str) -> str:
    """The one form in which names and texts are kept and hashed: NFC (macOS hands out NFD), whole characters.

    Halves of surrogate pairs, which no UTF-8 file can hold, become U+FFFD.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return unicodedata.normalize("NFC", text)


def key_hash(key: str) -> int:
    """First 8 bytes of sha256 of the NFC key, big endian: the number that buckets and groups are cut from."""
    return int.from_bytes(sha256(nfc(key).encode()).digest()[:8], "big")


def bucket_of(key: str, buckets: int) -> int:
    """Bucket of an item key: depends on the key and the number of buckets alone."""
    return key_hash(key) % buckets


def bucket_name(index: int, buckets: int) -> str:
    """`0003-of-0012`, which sorts as it counts."""
    width = max(4, len(str(buckets)))
    return f"{index:0{width}d}-of-{buckets:0{width}d}"


def slice_key(name: str) -> str:
    """A name as a partition key, folder name and split name: `[A-Za-z0-9_.=-]{1,120}`.

    A name that is not safe as it stands (other characters, a leading dot, `...`, too long, reserved, or already
    looking escaped) is cleaned and ends in `-` and 8 hex digits of its hash, so two names never share a key.
    """
    name = nfc(name)
    safe = (
        name
        and not _UNSAFE.search(name)
        and not name.startswith(".")
        and "..." not in name
        and len(name) <= _MAX_KEY
        and name.lower() not in _RESERVED
        and not _LOOKS_ESCAPED.search(name)
    )
    if safe:
        return name
    digest = sha256(name.encode()).hexdigest()[:8]
    plain = _UNSAFE.sub("_", _ascii(name)).lstrip(".").replace("...", "_")[: _MAX_KEY - 9]
    return f"{plain or 'slice'}-{digest}"


_TURKISH: Final = str.maketrans("ıİşŞğĞçÇöÖüÜ", "iIsSgGcCoOuU")


def _ascii(name: str) -> str:
    folded = unicodedata.normalize("NFKD", name.translate(_TURKISH))
    return "".join(c for c in folded if not unicodedata.combining(c))


_ID_UNSAFE: Final = re.compile(r"[%\x00-\x1f\x7f\s]")


def sample_id(source: str, slice_name: str, key: str) -> str:
    """`<source>/<slice>/<key>`; `%`, white space and control characters of the key are percent-encoded."""
    escaped = _ID_UNSAFE.sub(lambda m: "".join(f"%{b:02X}" for b in m.group().encode()), nfc(key))
    return f"{source}/{slice_name}/{escaped}"


@dataclass(frozen=True, slots=True)
class DataRoot:
    """Paths under one data root."""

    path: Path

    @property
    def marker(self) -> Path:
        """A root without this file is refused: an unmounted volume looks like an empty folder."""
        return self.path / ROOT_MARKER

    @property
    def test_marker(self) -> Path:
        """A root with this file holds capped slices: nothing but test mode works on it, and test mode on no other."""
        return self.path / TEST_MARKER

    @property
    def listings(self) -> Path:
        """One JSON and one item table a source."""
        return self.path / "listings"

    def listing(self, source: str) -> Path:
        """The source's listing."""
        return self.listings / f"{source}.json"

    def source(self, source: str) -> Path:
        """Folder of a source's slices; opens as a DatasetDict."""
        return self.path / "datasets" / source

    def index_of_slice(self, source: str, slice_name: str, version: str) -> Path:
        """What lies here of a slice's version whose rows are read from the remote by range."""
        return self.path / ".remote" / "rows" / source / f"{slice_name}@{version}"

    def slice(self, source: str, slice_name: str) -> Path:
        """Symlink to the slice's current version."""
        return self.source(source) / slice_name

    @property
    def annotations(self) -> Path:
        """Values of records, by annotator, source and slice."""
        return self.path / "annotations"

    def annotation(self, name: str, source: str, slice_name: str) -> Path:
        """The values that one annotator gives the records of a slice."""
        return self.annotations / name / source / f"{slice_name}.parquet"

    def allocation(self, corpus: str, target: str) -> Path:
        """Symlink to the target's current plan."""
        return self.path / "allocations" / corpus / target

    def corpus(self, corpus: str, target: str) -> Path:
        """Symlink to the target's current corpus."""
        return self.path / "corpora" / corpus / target

    @property
    def tombstones(self) -> Path:
        """Takedowns, one file each."""
        return self.path / "tombstones"

    @property
    def cache(self) -> Path:
        """Downloads; may be emptied at any time between runs."""
        return self.path / "cache"

    def cache_of(self, source: str) -> Path:
        """Downloads of one source."""
        return self.cache / source

    def annotating(self, source: str, slice_name: str) -> Path:
        """What annotators have said of a slice so far, while it is annotated."""
        return self.cache_of(source) / ANNOTATING / slice_name

    @property
    def locks(self) -> Path:
        """Files behind the OS locks."""
        return self.path / ".locks"

    @property
    def budgets(self) -> Path:
        """What each source has asked for in each of the last nights."""
        return self.path / ".budgets"

    @property
    def logs(self) -> Path:
        """One rotating file a subsystem."""
        return self.path / "logs"
