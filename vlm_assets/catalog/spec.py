"""What a catalogue says, as frozen specs: the source base, the quota tree, the corpus."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from vlm_assets.catalog.annotations import AnnotationSpec
from vlm_assets.catalog.base import Name, Spec
from vlm_assets.catalog.filters import MAX_FILTERS, FilterSpec
from vlm_assets.catalog.fractions import Share
from vlm_assets.catalog.labels import SubcategoryFrom
from vlm_assets.catalog.place_forms import PlaceForm
from vlm_assets.hub.columns import LabelRule
from vlm_assets.images.facts import DEFAULT_FORMATS, FORMATS
from vlm_assets.images.plugins import missing_plugins
from vlm_assets.words.hosts import HostSpec
from vlm_assets.words.tolerance import Tolerance

_ALSO_CALLED = {
    "HEIC": "HEIF",
    "JPG": "JPEG",
    "TIF": "TIFF",
    "JP2": "JPEG2000",
    "JPEGXL": "JXL",
    "JPEG XL": "JXL",
}

BENCHMARK_CATEGORY: Final = "benchmark"
"""Of benchmarks that say none; no quota has a part in it."""
KEYS_OF_SUPPLY: Final = ("weight", "max_samples")
"""Keys of a source that mean something only where rows go into a corpus."""

_SIZE = re.compile(r"^(\d{1,15}(?:\.\d{1,15})?)\s*([kKmMgGtT]?)(i?)[bB]?$")


def parse_size(value: Any) -> int:
    """`2GB` (powers of 1000), `32MB`, `1GiB` (powers of 1024) or a plain number, as bytes.

    Raises:
        ValueError: not a size.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.match(str(value).strip())
    if not match:
        raise ValueError(f"expected a size such as 2GB or 32MiB, got {str(value)[:60]!r}")
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    return int(Fraction(number) * base ** (" kmgt".index(prefix.lower()) if prefix else 0))


_SIZE_SCHEMA = {
    "anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": _SIZE.pattern}]
}
Size = Annotated[
    int, BeforeValidator(parse_size), Field(gt=0), WithJsonSchema(_SIZE_SCHEMA, mode="validation")
]


class TermsSpec(Spec):
    """Terms behind a source: where they stand, and who accepted them, where and when, in words for the record."""

    url: str = Field(min_length=1)
    """Where the terms stand."""
    accepted: str = ""
    """Who accepted them, in which account, when; empty: still to accept."""


class SourceSpec(Spec):
    """Keys that every kind of source has. A kind adds its own in its file under `sources`."""

    BYTES_KEYS: ClassVar[tuple[str, ...]] = ()
    """The kind's own keys that change the bytes of an unchanged item (identities cover the rest)."""
    COLUMNS: ClassVar[frozenset[str] | None] = None
    """All that `subcategory_from.column` can name; None: upstream has columns of its own."""
    DEFAULT_TOLERANCE: ClassVar[float] = 0.05
    """Of rejects, where `reject_tolerance` says nothing."""
    PLACE: ClassVar[PlaceForm] = PlaceForm()
    """How `add` is told where a source of the kind is."""
    CHECKS_LABELS: ClassVar[bool] = False
    """Whether the kind holds labels against the map while it lists, for they stand in tables that it reads then."""

    name: Name
    """Unique in the catalogue; it names folders, assets and ids."""
    kind: str
    """One of the kinds below."""
    category: Name
    """A category of `quotas` in corpus.yaml."""
    subcategory: str | None = None
    """A subcategory of it, deeper ones as `street/night`; or `subcategory_from`."""
    subcategory_from: SubcategoryFrom | None = None
    """Where the rows' labels come from, if their subcategories differ."""
    licence: str = Field(min_length=1)
    """SPDX id, `proprietary` or `unknown`."""
    terms: TermsSpec | None = None
    """Where upstream asks for it: a gated Hub repository, a Kaggle dataset or competition, a client's contract."""
    weight: Share | None = None
    """Share among the sources of a subcategory: all of them have one, or none; none: by supply."""
    max_samples: int | None = Field(None, ge=0)
    """So many distinct rows at most, those of lowest rank, before quotas."""
    reject_tolerance: float | None = Field(None, ge=0, le=1)
    """A slice with a larger share of rejects fails, and nothing of it is committed. Unset: 0.05, and of few records
    also up to 3 rejects that are at most a third."""
    shrink_tolerance: float = Field(0.10, ge=0, le=1)
    """A listing that loses a larger share of its items is an error until `--accept-shrink`."""
    enabled: bool = True
    """`false`: neither listed nor fetched, and not in the supply."""
    hold: bool = False
    """`true`: neither listed nor fetched, but what is committed stays in the supply."""
    verify: Literal["decode", "header"] = "decode"
    """`header` looks at headers alone: quicker, no dhash, and damage in a body goes unnoticed."""
    multi_frame: Literal["first", "pages", "reject"] = "first"
    """Of a picture of several frames: the first, each page of a TIFF, or a reject."""
    buckets: int | None = Field(None, ge=1)
    """Number of buckets that loose items are cut into; unset: by their number, at the first listing."""
    cooldown_s: float = Field(0, ge=0)
    """Seconds between two requests to a host, at least."""
    max_concurrency: int | None = Field(None, ge=1)
    """Requests to a host at once, at most."""
    requests_per_second: float | None = Field(None, gt=0)
    """Requests to a host a second, at most."""
    hosts: dict[str, HostSpec] = Field(default_factory=dict)
    """Other limits for single hosts (`images.example.org`, with `:port` where it is neither 80 nor 443)."""
    nightly_bytes: Size | None = None
    """What the nightly refresh fetches in one night, at most."""
    nightly_requests: int | None = Field(None, ge=1)
    """What the nightly refresh asks for in one night, at most."""

    @model_validator(mode="after")
    def _one_subcategory(self) -> Self:
        if (self.subcategory is None) == (self.subcategory_from is None):
            raise ValueError("needs exactly one of subcategory and subcategory_from")
        return self

    @model_validator(mode="after")
    def _column_there(self) -> Self:
        column = self.subcategory_from.column if self.subcategory_from else None
        if column is not None and self.COLUMNS is not None and column not in self.COLUMNS:
            raise ValueError(
                f"no column {column!r} (subcategory_from.column): {self.kind} has no tables; its records have: "
                f"{', '.join(sorted(self.COLUMNS))}; `folder: 1` takes the first folder of the path"
            )
        return self

    @property
    def label_rule(self) -> LabelRule | None:
        """Where the labels come from, and what the map knows of them."""
        return self.subcategory_from.rule if self.subcategory_from else None

    @property
    def active(self) -> bool:
        """Listed and fetched: neither disabled nor held."""
        return self.enabled and not self.hold

    def subcategory_of(self, label: str | None) -> str | None:
        """Subcategory of a row with this label under the present catalogue; None: unmapped."""
        if self.subcategory is not None:
            return self.subcategory
        return self.subcategory_from.subcategory_of(label) if self.subcategory_from else None

    def words_only(self) -> bool:
        """Whether its records have no images: only those of benchmarks may lack them."""
        return False

    def quarantines_drift(self) -> bool:
        """Whether an item is the stable name of one picture, so that another one under it is quarantined."""
        return False

    def at_revision(self, revision: str) -> Self:
        """The spec that lists upstream as it was at that revision, where upstream keeps revisions; else as it is."""
        del revision
        return self

    def upstream_url(self) -> str | None:
        """Upstream's page for people; None where it has none."""
        return None

    def drawn_by(self) -> str | None:
        """The renderer that draws this source's images; None where they are taken as they are."""
        return None

    @property
    def tolerance(self) -> Tolerance:
        """How many rejects of a slice and unread files of a listing pass."""
        said = self.reject_tolerance
        return Tolerance(self.DEFAULT_TOLERANCE, said=False) if said is None else Tolerance(said)

    def label_selector(self) -> str | None:
        """The selector part of `subcategory_from`, if any."""
        return self.subcategory_from.selector if self.subcategory_from else None

    def byte_config(self) -> dict[str, Any]:
        """The keys of this source that change the bytes of an unchanged item, but for `formats`."""
        own = self.model_dump(mode="json", include=set(self.BYTES_KEYS))
        return {
            "verify": self.verify,
            "multi_frame": self.multi_frame,
            "selector": self.label_selector(),
            **{key: own[key] for key in sorted(own)},
        }


class QuotaNode(Spec):
    """A node of the quota tree: `share` of its parent, or an absolute `count`; bounds are absolute."""

    share: Share | None = None
    """Part of its parent; those of siblings sum to 1."""
    min: int = Field(0, ge=0)
    """Rows at least, absolute."""
    max: int | None = Field(None, ge=0)
    """Rows at most, absolute."""
    count: int | None = Field(None, ge=0)
    """Exactly so many rows, taken off before the shares; in place of `share`."""
    subcategories: dict[str, "QuotaNode"] = Field(default_factory=dict)
    """Nodes below; a category has at least one."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.share is None) == (self.count is None):
            raise ValueError("needs exactly one of share and count")
        if self.count is not None and (self.min or self.max is not None):
            raise ValueError("count already is both min and max")
        if self.max is not None and self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}")
        return self

    def leaves(self, prefix: str = "") -> Iterator[str]:
        """Paths of the leaves below (`street/night`), the node's own `prefix` if it is one."""
        if not self.subcategories:
            yield prefix
        for name, child in self.subcategories.items():
            yield from child.leaves(f"{prefix}/{name}" if prefix else name)


class DedupSpec(Spec):
    """What counts as the same sample, and whose copy stays."""

    exact: Literal["record", "image", "none"] = "record"
    """`record`: equal images, text and messages; `image`: equal images, whatever is said about them."""
    near_bits: int | dict[str, int] = 0
    """Bits that dhashes of one picture may differ in; a number, or one a category. Needs `exact: image`."""
    precedence: tuple[str, ...] = ()
    """Sources whose copy stays, the first before all; others after these by name."""

    @field_validator("exact", mode="before")
    @classmethod
    def _renamed(cls, value: Any) -> Any:
        if value == "image_text":
            raise ValueError("image_text is called record now, and counts the messages too")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        bits = self.near_bits.values() if isinstance(self.near_bits, dict) else (self.near_bits,)
        if any(not 0 <= b <= 16 for b in bits):
            raise ValueError("near_bits is between 0 and 16")
        if self.exact != "image" and any(bits):
            raise ValueError(f"near_bits needs exact: image, exact is {self.exact}")
        return self

    def bits_of(self, category: str) -> int:
        """`near_bits` of a category; categories not named have 0."""
        return self.near_bits.get(category, 0) if isinstance(self.near_bits, dict) else self.near_bits


class LicencePolicy(Spec):
    """Licences that may enter: all but `deny`, or only `allow`."""

    allow: tuple[str, ...] | None = None
    """Only these may enter."""
    deny: tuple[str, ...] = ()
    """All but these may enter."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.allow is not None and self.deny:
            raise ValueError("give allow or deny, not both")
        return self

    def admits(self, licence: str) -> bool:
        """Whether rows under this licence may enter the corpus."""
        return licence in self.allow if self.allow is not None else licence not in self.deny


class ShardSpec(Spec):
    """Format constants of the corpus files: in the inputs hash, never derived from memory or cores."""

    max_bytes: Size = 2_000_000_000
    """No data file is larger."""
    block_rows: int = Field(64, ge=1, le=65536)
    """Rows that keep together as the corpus grows."""
    window_bytes: Size = 32_000_000
    """Bytes of images in one record batch."""


class PapersSpec(Spec):
    """What people say of the corpus in its papers (card, Croissant, summary, report); it decides nothing else."""

    languages: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")], ...] = ()
    """Languages of its words, as ISO 639 codes: tr, en."""
    description: str = ""
    """What it is, in a sentence or two."""
    controller: str = ""
    """Who answers for personal data in it: name and address."""
    contact: str = ""
    """Where people ask for a takedown; unset, the contact of the settings."""
    purpose: str = ""
    """What it is made and used for."""
    legal_basis: str = ""
    """On which personal data in it are processed."""
    retention: str = ""
    """How long it is kept."""
    recipients: str = ""
    """Whom it is handed to, and in which countries they are."""


ALL_ROWS: Final = 2**62
"""Size of a target that says `all`: more than any supply."""


def _target_size(value: Any) -> Any:
    if isinstance(value, str) and not value.isdecimal() and value != "all":
        raise ValueError(f"expected a number of rows, or all, got {value[:60]!r}")
    return ALL_ROWS if value == "all" else value


TargetSize = Annotated[
    int,
    BeforeValidator(_target_size),
    Field(ge=1, le=ALL_ROWS),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}]}),
]


class CorpusSpec(Spec):
    """`corpus.yaml`."""

    name: Name
    """Of the corpus; it names its folder."""
    seed: int = Field(ge=0, lt=2**63)
    """Decides which rows are chosen, and their order."""
    targets: dict[Name, TargetSize]
    """Rows by name; a smaller one is part of a larger one. `all`: every row there is, whatever the shares."""
    refresh_targets: tuple[str, ...] | None = None
    """Those that the nightly and a plain `build` make; unset: all."""
    quotas: dict[Name, QuotaNode]
    """Categories and their subcategories, each with its share."""
    shortfall: Literal["redistribute", "report", "fail"] | None = None
    """None: nobody has said what is fine. Grants as `redistribute`, and a quota that is not met is an exit code."""
    dedup: DedupSpec = Field(default_factory=DedupSpec)
    """What counts as the same sample."""
    licences: LicencePolicy = Field(default_factory=LicencePolicy)
    """Which licences may enter."""
    decontaminate: tuple[Path, ...] = ()
    """Parquet files of benchmarks, `image_sha256`, `dhash` and/or `text`: no row with one of these enters."""
    decontaminate_bits: int = Field(0, ge=0, le=16)
    """Bits that a dhash may differ in from one of those."""
    min_side_px: int = Field(0, ge=0)
    """Images with a shorter side stay out."""
    annotations: tuple[AnnotationSpec, ...] = ()
    """Values of records, computed or imported."""
    filters: dict[Name, FilterSpec] = Field(default_factory=dict, max_length=MAX_FILTERS)
    """Expressions over values of rows and images, by name; rows that fail one stay out."""
    formats: tuple[str, ...] = Field(DEFAULT_FORMATS, validate_default=True)
    """Admitted formats of images; others are rejects."""
    require_complete: bool = True
    """A declared slice that was never committed stops the allocation."""
    shard: ShardSpec = Field(default_factory=ShardSpec)
    """How the corpus is cut into files."""
    keep_versions: int = Field(2, ge=1)
    """Versions of a corpus that stay."""
    papers: PapersSpec = Field(default_factory=PapersSpec)
    """What its papers say that no ledger knows."""

    @field_validator("formats")
    @classmethod
    def _known_formats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        named = {_ALSO_CALLED.get(one, one) for one in value}
        if unknown := sorted(named.difference(FORMATS)):
            raise ValueError(f"unknown formats {', '.join(unknown)}; there are {', '.join(FORMATS)}")
        if missing := missing_plugins(named):
            raise ValueError("; ".join(missing))
        return tuple(sorted(named))

    def leaves(self) -> frozenset[tuple[str, str]]:
        """Every (category, subcategory) with a quota."""
        return frozenset(
            (category, leaf)
            for category, node in self.quotas.items()
            for leaf in (node.leaves() if node.subcategories else ())
        )


NO_SOURCE: Final = "no source is enabled: vlm-assets add KIND WHERE"


class Catalog(Spec):
    """One parsed catalogue: what a run works on, by hash, whatever is edited meanwhile."""

    corpus: CorpusSpec
    sources: tuple[SourceSpec, ...]
    """What a corpus is made of: sorted by name; of the kinds' own classes."""
    benchmarks: tuple[SourceSpec, ...] = ()
    """What no corpus may hold: listed, fetched and hashed as sources are, never in the supply. Sorted by name."""
    hash: str
    """sha256 hex over the parsed content."""

    @property
    def fetched(self) -> tuple[SourceSpec, ...]:
        """All that is listed and fetched, sources and benchmarks; sorted by name, which none shares."""
        return tuple(sorted((*self.sources, *self.benchmarks), key=lambda spec: spec.name))

    def lack(self) -> str:
        """What to do where no source is enabled, so that every corpus would be empty; "" where one is."""
        return "" if any(spec.enabled for spec in self.sources) else NO_SOURCE

    def is_benchmark(self, name: str) -> bool:
        """Whether a benchmark has this name."""
        return any(spec.name == name for spec in self.benchmarks)

    def source(self, name: str) -> SourceSpec:
        """The source or benchmark of that name.

        Raises:
            KeyError: none; the message lists the names there are.
        """
        for spec in self.fetched:
            if spec.name == name:
                return spec
        raise KeyError(f"no source {name!r}; there are: {', '.join(s.name for s in self.fetched)}")
