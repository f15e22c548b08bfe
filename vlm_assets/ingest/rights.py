"""Rights as data: what stands under which licence, whose terms are accepted by whom, what was taken down.

Read from catalogue, listings, summaries and takedowns on record: opens no data file. The corpus's own rows and bytes
per licence are counted by its card and, independently, by the audit.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.ingest.summary import SourceSummary
from vlm_assets.installation.opening import Installation
from vlm_assets.store.tombstones import read_tombstones

NO_TERMS = frozenset({"unknown", "other", "noassertion", ""})
"""Licences, in lower case, that name no terms."""


class LicenceRights(BaseModel):
    """What lies in committed slices under one licence of the catalogue."""

    sources: list[str]
    rows: int
    data_bytes: int


class SourceTerms(BaseModel):
    """Terms of one source. `open`: declared in the catalogue, and nobody has accepted them; or never listed."""

    source: str
    kind: str
    url: str
    accepted: str
    """Who accepted them, where and when, as the catalogue says."""
    state: Literal["accepted", "open", "never listed"]


class Takedowns(BaseModel):
    """Takedowns on record."""

    names: list[str]
    """Files under `tombstones/`, without `.json`."""
    images: int
    rows: int
    urls: int


class Rights(BaseModel):
    """Everything that `status --json` says about rights."""

    licences: dict[str, LicenceRights]
    terms: list[SourceTerms]
    takedowns: Takedowns


def read_rights(installation: Installation, summaries: Iterable[tuple[SourceSpec, SourceSummary]]) -> Rights:
    """Rights over these sources, each with what of it is committed and in force."""
    licences: dict[str, LicenceRights] = {}
    for spec, summary in summaries:
        one = licences.setdefault(spec.licence, LicenceRights(sources=[], rows=0, data_bytes=0))
        one.sources.append(spec.name)
        one.rows += sum(slice_.rows for slice_ in summary.slices.values())
        one.data_bytes += sum(slice_.data_bytes for slice_ in summary.slices.values())
    stored = read_tombstones(installation.root)
    return Rights(
        licences=dict(sorted(licences.items())),
        terms=source_terms(installation),
        takedowns=Takedowns(
            names=list(stored.names),
            images=len(stored.image_sha256),
            rows=len(stored.ids),
            urls=len(stored.urls),
        ),
    )


def source_terms(installation: Installation) -> list[SourceTerms]:
    """Sources and benchmarks with terms, and those that were never listed: there may be terms to accept first."""
    found = []
    for spec in installation.catalog.fetched:
        listed = not spec.active or installation.root.listing(spec.name).is_file()
        if spec.terms is None and listed:
            continue
        url, accepted = (spec.terms.url, spec.terms.accepted) if spec.terms else ("", "")
        state: Literal["accepted", "open", "never listed"] = "accepted" if accepted else "open"
        found.append(
            SourceTerms(
                source=spec.name,
                kind=spec.kind,
                url=url,
                accepted=accepted,
                state=state if spec.terms else "never listed",
            )
        )
    return found
