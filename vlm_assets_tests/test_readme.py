import re
from pathlib import Path

import pytest
from typer.main import get_command

from vlm_assets.allocation.reasons import ExclusionReason
from vlm_assets.audit.findings import FindingName
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.cli import app
from vlm_assets.sources.registry import kinds, source_of
from vlm_assets.words.errors import LeftOutReason, RejectReason

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", [*RejectReason, *LeftOutReason, *ExclusionReason, *FindingName])
def test_every_reason_and_finding_is_explained(name):
    assert f"| `{name}` | " in README


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_has_its_line_and_its_keys(kind):
    line = next((line for line in README.splitlines() if line.startswith(f"| `{kind}` |")), "")
    own = source_of(kind).spec_type.model_fields.keys() - SourceSpec.model_fields
    missing = [key for key in own if f"`{key}" not in line]
    assert not missing, f"{kind}: {missing}"


def test_every_command_that_the_readme_names_exists():
    named = set(re.findall(r"vlm-assets ([a-z]+)", README))
    commands = get_command(app).commands  # type: ignore[attr-defined]  # a click group
    assert named <= set(commands), named - set(commands)
