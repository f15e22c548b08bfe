"""What was measured, from its JSON: as tables of Markdown, in the README, and beside an earlier run."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

Told = Mapping[str, Any]
"""A case, or a whole run, as `--json` writes it."""

WAY_COLUMNS: Final = ("way", "rate", "s", "spread", "CPU-s", "peak MiB", "read MiB", "written MiB")
JUDGED_COLUMNS: Final = ("case", "way", "beside", "times as fast", "rounds", "must", "")
BEGIN: Final = "<!-- measured: what stands here is written by --write-readme -->"
END: Final = "<!-- measured: end -->"


def rows_of_ways(case: Told) -> Iterator[list[str]]:
    """A line a way, and one for each that was not run or failed."""
    for name, way in case["ways"].items():
        of = {figure: [run[figure] for run in way["runs"]] for figure in way["runs"][0]}
        median = {figure: statistics.median(values) for figure, values in of.items()}
        yield [
            name, f"{way['units'] / median['seconds']:,.0f} {case['unit']}/s", f"{median['seconds']:.2f}",
            f"{min(of['seconds']):.2f}-{max(of['seconds']):.2f}", f"{median['cpu_s']:.1f}",
            f"{max(of['peak_mib']):,.0f}", f"{median['read_mib']:,.0f}", f"{median['written_mib']:,.0f}",
        ]  # fmt: skip
    for what in ("left_out", "failed"):
        for name, why in case[what].items():
            told = " ".join(why.split())[-200:]
            yield [name, f"{what.replace('_', ' ')}: {told}", *[""] * 6]


def rows_of_judged(cases: Mapping[str, Told]) -> Iterator[list[str]]:
    """A line a bar, with whether it is reached; seconds where there is nothing beside it."""
    for name, case in cases.items():
        for one in case["judged"]:
            unit, most = ("", "") if one["beside"] else (" s", "at most ")
            missed = "" if one["met"] else ": ".join(filter(None, ["missed", one["why"]]))
            yield [
                name, one["way"], one["beside"], f"{one['median']:.2f}{unit}",
                f"{one['least']:.2f}-{one['most']:.2f}", f"{most}{one['must']:g}{unit}", missed,
            ]  # fmt: skip


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def described(run: Told) -> str:
    """The machine and the run, in a sentence or two."""
    on = run["machine"]
    packages = ", ".join(f"{name} {one}" for name, one in on["packages"].items())
    return (
        f"{run['day']}, {on['cpus']} CPUs ({on['model']}, {on['arch']}), {on['memory_gib']} GiB, load {on['load']} "
        f"before. The {run['size']} size, {run['rounds']} rounds. Python {on['python']}, {packages}."
    )


def versions(cases: Mapping[str, Told]) -> str:
    """The peers that have environments of their own."""
    return ", ".join(dict.fromkeys(one for case in cases.values() for one in case["versions"].values()))


def page_of(run: Told) -> str:
    """What the README says of a run: the machine, every bar, every way."""
    cases = run["cases"]
    ways = (
        [f"{name} ({case['units']:,} {case['unit']})", *row]
        for name, case in cases.items()
        for row in rows_of_ways(case)
    )
    return "\n\n".join([
        f"Measured {described(run)} Peers: {versions(cases)}.", markdown(JUDGED_COLUMNS, rows_of_judged(cases)),
        "What each way took; medians, of memory the most:", markdown(("case", *WAY_COLUMNS), ways),
    ])  # fmt: skip


def write_between(page: Path, text: str) -> None:
    """Puts the text between the page's two marks, in place of what stands there.

    Raises:
        ValueError: the page has no such marks.
    """
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no lines {BEGIN!r} and {END!r}, between which the table would stand")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")


def merged(before: Told | None, now: Told) -> dict[str, Any]:
    """The run, with those cases of an earlier one of its size that it did not run."""
    kept = before["cases"] if before is not None and before["size"] == now["size"] else {}
    return {**now, "cases": {**kept, **now["cases"]}}


def fallen(before: Told, now: Told, tolerance: float) -> Iterator[str]:
    """What fell by more than the tolerance (a share of it), or was measured before and is not now.

    Cases that `now` did not run are not looked at.
    """
    if before["size"] != now["size"]:
        yield f"nothing to compare: the {before['size']} size before, the {now['size']} size now"
        return
    for name, case in now["cases"].items():
        found = {one["name"]: one for one in case["judged"]}
        for one in before["cases"].get(name, {"judged": ()})["judged"]:
            here = found.get(one["name"])
            if here is None:
                yield f"{name}: {one['name']}: {one['median']:.2f} before, not measured now"
            elif here["worth"] < one["worth"] * (1 - tolerance):
                yield f"{name}: {one['name']}: {one['median']:.2f} before, {here['median']:.2f} now"
