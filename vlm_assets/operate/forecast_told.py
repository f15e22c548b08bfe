"""What a plan says of a target in sentences, behind its tables: how the build would end, which others there are."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from vlm_assets.words.counts import so_many

if TYPE_CHECKING:
    from vlm_assets.catalog.spec import CorpusSpec
    from vlm_assets.operate.forecast import Forecast


def forecast_told(plan: "Forecast", corpus: "CorpusSpec", *, named: bool) -> list[str]:
    """Lines for a person. `named`: whether the target was asked for by name."""
    return [*_shortage(plan, corpus), *([] if named else _others(plan.target, corpus))]


def _shortage(plan: "Forecast", corpus: "CorpusSpec") -> list[str]:
    granted = sum(one.granted for one in plan.nodes if "/" not in one.path)
    sources = {one.name for one in plan.sources}
    parts = {one.path for one in plan.nodes if one.shortfall and not _is_source(one.path, sources)}
    if plan.hints or (granted and (corpus.shortfall is not None or not parts)):
        return []
    far = "" if plan.exact else ", as far as is known"
    have = "is" if granted == 1 else "are"
    told = f"{plan.target}: {so_many(granted, 'row')} of the {plan.target_rows:,} asked for {have} there{far}"
    if granted == plan.target_rows:
        told = f"{plan.target}: not all quotas can be met{far} ({', '.join(sorted(parts)[:4])})"
    allow = (
        " `shortfall: redistribute` or `shortfall: report` in corpus.yaml says that less is fine;"
        if granted
        else ""
    )
    mend = "a smaller target in corpus.yaml, other quotas or more sources mend it"
    return [f"{told}: build will end with exit code 1.{allow} {mend}"]


def _is_source(path: str, sources: Collection[str]) -> bool:
    """Whether a node is a source in a subcategory: a build is fine where another source gives what it lacks."""
    return path.count("/") > 1 and path.rpartition("/")[2] in sources


def _others(target: str, corpus: "CorpusSpec") -> list[str]:
    others = [name for name in corpus.targets if name != target]
    if not others:
        return []
    return [f"This is {target}, the largest target; --target shows another: {', '.join(others)}"]
