"""The audit must be able to disagree with what it judges: it shares no code with allocator and corpus writer."""

import ast
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import vlm_assets
from vlm_assets.audit import words
from vlm_assets.audit.findings import FindingName, Severity, finding_names, severity_of
from vlm_assets.words import keys

PACKAGE = Path(vlm_assets.__file__).parent
FORBIDDEN = (
    "vlm_assets.allocation",
    "vlm_assets.corpus",
    "vlm_assets.papers",
    "vlm_assets.words.keys",
    "vlm_assets.allocation.committed",
    "dagster",
)

# Vigna's splitmix64.c, state 1234567: the outputs that every port is checked against.
REFERENCE = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431)


def modules_of(name: str) -> set[str]:
    """A module and all of this package that it imports, at the top or inside functions."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        path = PACKAGE.parent.joinpath(*current.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if current in seen or not file.is_file():
            continue
        seen.add(current)
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
    return seen


@pytest.mark.parametrize(
    "module", sorted(p.stem for p in (PACKAGE / "audit").glob("*.py") if p.stem != "__init__")
)
def test_the_audit_reaches_neither_allocator_nor_corpus_writer(module):
    reached = modules_of(f"vlm_assets.audit.{module}")
    assert [name for name in sorted(reached) if name.startswith(FORBIDDEN)] == []


def test_the_names_are_cheap_to_import():
    code = "import sys, vlm_assets.audit.findings; print({'pyarrow', 'numpy', 'datasets', 'PIL'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )


def test_every_name_is_documented_and_has_a_severity():
    source = (PACKAGE / "audit" / "findings.py").read_text("utf-8")
    for name in finding_names():
        assert f'{name.name} = "{name}"\n    """' in source
    assert {str(n) for n in FindingName if severity_of(n) is Severity.WARNING} == {
        "staleness", "drift", "slice_health", "fonts", "rights"
    }  # fmt: skip


def test_ranks_against_the_reference_and_the_allocator():
    gamma = 0x9E3779B97F4A7C15
    assert tuple(words.seed_word((1234567 + n * gamma) % 2**64) for n in range(4)) == REFERENCE
    firsts = np.array([0, 1, 2**63, 2**64 - 1, 0xDEADBEEF], np.uint64)
    for seed in (0, 1, 20260115, 2**63 - 1):
        assert words.ranks(firsts, seed).tolist() == keys.ranks_of(firsts, seed).tolist()


def test_hex_words_are_the_bytes():
    digests = [sha256(bytes([n])).digest() for n in range(200)]
    column = pa.array([d.hex() for d in digests]).slice(3)
    assert words.hex_words(column).tobytes() == b"".join(d[:16] for d in digests[3:])
    assert (
        words.fixed_words(pa.array(digests, pa.binary(32)).slice(3)).tobytes()
        == words.hex_words(column).tobytes()
    )
    with pytest.raises(ValueError, match="64 hex digits"):
        words.hex_words(pa.array(["ab"]))
