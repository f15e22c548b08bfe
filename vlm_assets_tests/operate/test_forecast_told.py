from types import SimpleNamespace
from typing import Any

import pytest

from vlm_assets.operate.forecast_told import forecast_told

NODES = [("photos", 0), ("photos/street", 0), ("photos/street/pictures", 0)]
OTHERS = "This is 1k, the largest target; --target shows another: 100, full"


def told(granted: int, short: int, shortfall: str | None, *, named: bool = True) -> list[str]:
    nodes = [SimpleNamespace(path=path, granted=granted, shortfall=short) for path, _ in NODES]
    plan: Any = SimpleNamespace(
        target="1k",
        target_rows=1_000,
        exact=False,
        nodes=nodes,
        sources=[SimpleNamespace(name="pictures")],
        hints=(),
    )
    corpus: Any = SimpleNamespace(shortfall=shortfall, targets={"100": 100, "1k": 1_000, "full": "all"})
    return forecast_told(plan, corpus, named=named)


@pytest.mark.parametrize(
    ("granted", "short", "shortfall", "said"),
    [
        pytest.param(1_000, 0, None, "", id="met"),
        pytest.param(40, 960, "report", "", id="less-is-fine"),
        pytest.param(
            40, 960, None,
            "1k: 40 rows of the 1,000 asked for are there, as far as is known: build will end with exit code 1. "
            "`shortfall: redistribute` or `shortfall: report` in corpus.yaml says that less is fine;",
            id="less",
        ),
        pytest.param(0, 1_000, "report", "1k: 0 rows of the 1,000 asked for", id="nothing"),
        pytest.param(1_000, 5, None, "1k: not all quotas can be met", id="moved"),
    ],
)  # fmt: skip
def test_a_plan_says_how_the_build_would_end(granted, short, shortfall, said):
    lines = told(granted, short, shortfall)
    assert len(lines) == bool(said)
    assert "".join(lines).startswith(said)


def test_other_targets_are_named_where_none_was_asked_for():
    assert told(1_000, 0, None, named=False) == [OTHERS]
