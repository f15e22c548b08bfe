"""What an audit says: findings. Imports nothing heavy, so the orchestration makes one check a name from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

MAX_EXAMPLES: Final = 10


class Severity(StrEnum):
    """`error` blocks the corpus; `warning` is for a person to look at."""

    ERROR = "error"
    WARNING = "warning"


class FindingName(StrEnum):
    """What is checked. Public: asset checks, README, `audit --json`."""

    MANIFESTS = "manifests"
    """Manifests of corpus, allocation and slices are readable, hash to their folders' names, and agree."""
    SHARD_FILES = "shard_files"
    """The folder holds exactly the files of the manifest, with their sizes and hashes, none over the cap."""
    ROOT_HASH = "root_hash"
    """`root_hash` and `rows_hash`, computed again, are those of the manifest."""
    COUNTS = "counts"
    """Rows and bytes in the manifest are those in the files: per shard, source, category, subcategory."""
    SCHEMA = "schema"
    """Every data and index file has the declared schema, the Hugging Face features included."""
    LOADABLE = "loadable"
    """`datasets` opens the folder with all its rows and features."""
    ROW_VALUES = "row_values"
    """The data files say what the index says, row for row, and each row has its digest."""
    IMAGE_BYTES = "image_bytes"
    """Image bytes hash to the sha256 beside them."""
    DECODES = "decodes"
    """A sample of images decodes to the format and size on record."""
    LINEAGE = "lineage"
    """Every row is a row of a committed slice, with the same content."""
    CORPUS_SUMS = "corpus_sums"
    """Selected rows = present rows + holes, per source and slice; no row is there twice."""
    ALLOCATION_SUMS = "allocation_sums"
    """Admitted rows = selected + excluded by reason + not selected, per source and slice, as the plan claims."""
    SLICE_LEDGERS = "slice_ledgers"
    """Items = fetched + rejected, records = rows + rejected, per slice, counted from the ledgers."""
    UPSTREAM = "upstream"
    """What upstream shows = items + companions + left out, per listing and inside containers, from the tables."""
    RECORDS_WHOLE = "records_whole"
    """Every row has all the images that its record had upstream."""
    SLICE_CONTENT = "slice_content"
    """Each slice's index has the rows, bytes and content hash of its manifest."""
    SOURCES_LANDED = "sources_landed"
    """Every declared source has exactly its granted rows less holes in the corpus, or it is said why none."""
    QUOTAS = "quotas"
    """Grants are the optimum of the divisor method between all siblings of the quota tree, and the target is met."""
    RANKS = "ranks"
    """In every cell no selected row has a higher rank than a row that was left out."""
    LABELS = "labels"
    """Category and subcategory of every row are what the catalogue makes of its source and label."""
    LICENCES = "licences"
    """Every row has its source's licence, and the policy admits it."""
    EXCLUSIONS = "exclusions"
    """No row is selected that is unmapped, too small, too large, or beyond its source's `max_samples`."""
    FILTERS = "filters"
    """Values that filters read are those of the plan and of the slices' content; no row is selected that fails."""
    DUPLICATES = "duplicates"
    """No two rows are duplicates under the declared policy, and the copy of highest precedence stayed."""
    DECONTAMINATION = "decontamination"
    """No row has images, pictures or words of a benchmark, and what was excluded for each is as the plan claims."""
    TOMBSTONES = "tombstones"
    """Nothing that was taken down is there, in the corpus or with its content in a slice."""
    STALENESS = "staleness"
    """Slices, sources and catalogue still are those that the corpus was built from."""
    DRIFT = "drift"
    """No unchanged address gave another picture when it was fetched again."""
    SLICE_HEALTH = "slice_health"
    """No slice shrank, or has many more rejects, against its version before."""
    RENDERER = "renderer"
    """What was drawn here was drawn under one renderer identity: in every slice, and (a warning) in the corpus."""
    FONTS = "fonts"
    """No page of the corpus lacks a glyph that it asks for; those drawn with other fonts are counted."""
    PAPERS = "papers"
    """Card, Croissant, summary and report say what the ledgers say, and show nothing that was taken down."""
    RIGHTS = "rights"
    """Every licence in the corpus names terms; no declared source waits for terms to be accepted."""


WARNINGS: Final = frozenset(
    {
        FindingName.STALENESS,
        FindingName.DRIFT,
        FindingName.SLICE_HEALTH,
        FindingName.FONTS,
        FindingName.RIGHTS,
    }
)
"""Names whose severity is `warning`: they are about what to do next, not about what is wrong here."""


def finding_names() -> tuple[FindingName, ...]:
    """Every name, in the order in which findings are given."""
    return tuple(FindingName)


def severity_of(name: FindingName) -> Severity:
    """The fixed severity of a name."""
    return Severity.WARNING if name in WARNINGS else Severity.ERROR


@dataclass(frozen=True, slots=True)
class Finding:
    """One result. `judged` is False where something else that is broken kept it from being checked."""

    name: FindingName
    passed: bool
    severity: Severity
    expected: str
    observed: str
    examples: Sequence[str] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    judged: bool = True
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Judged, and not passed."""
        return self.judged and not self.passed

    def to_json(self) -> dict[str, Any]:
        """The stable JSON form: name, passed, judged, severity, expected, observed, examples, figures, seconds."""
        return {
            "name": str(self.name),
            "passed": self.passed,
            "judged": self.judged,
            "severity": str(self.severity),
            "expected": self.expected,
            "observed": self.observed,
            "examples": list(self.examples),
            "figures": dict(self.figures),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check returns: it passed where `faults` is empty.

    `faults` may be cut to the first examples; `count` is then how many there are. `milder`: what was found is for a
    person to look at, although the check's severity is error.
    """

    expected: str
    observed: str
    faults: Sequence[str] = ()
    count: int | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    milder: bool = False

    @property
    def fault_count(self) -> int:
        """All faults, shown or not."""
        return len(self.faults) if self.count is None else self.count


def exit_code(findings: Sequence[Finding]) -> int:
    """0 where nothing of severity error failed or went unjudged, else 1."""
    return int(any(not f.passed and f.severity is Severity.ERROR for f in findings))
