"""An import inside a function is there for start-up: it spares one something, or loads a library that is heavy."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import vlm_assets
from vlm_assets.sources.protocol import Requests
from vlm_assets.sources.registry import kinds, traits_of

PACKAGE = Path(vlm_assets.__file__).parent
HANDLER = re.compile(r'"(vlm_assets\.[a-z_.]+):[a-z_]+"')


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PARTS = frozenset({"pyarrow.compute"})
"""Parts of a library that take as long to load as a library."""
COMMAND_LINE = "vlm_assets.commands.command_line"
KINDS = tuple(f"vlm_assets.sources.{kind}" for kind in kinds())


@cache
def imports(module: str) -> tuple[tuple[str, int, bool], ...]:
    """(what, line, whether in a function) of each import that runs."""
    return tuple(_imports(ast.parse(MODULES[module].read_text("utf-8")), inside=False))


def _imports(node: ast.AST, *, inside: bool) -> Iterator[tuple[str, int, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr) or (
            isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        ):
            continue
        if isinstance(child, ast.Import):
            yield from ((one.name, child.lineno, inside) for one in child.names)
        elif isinstance(child, ast.ImportFrom):
            full = [f"{child.module}.{one.name}" for one in child.names]
            yield from (
                (name if name in MODULES else str(child.module), child.lineno, inside) for name in full
            )
        else:
            yield from _imports(
                child, inside=inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            )


@cache
def loaded(*modules: str) -> frozenset[str]:
    """These modules and everything that loads with them, functions aside."""
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        parts = waiting.pop().split(".")
        for name in {".".join(parts[: n + 1]) for n in range(len(parts))} - seen:
            seen.add(name)
            if name in MODULES:
                waiting += [what for what, _, inside in imports(name) if not inside]
    return frozenset(seen)


def libraries(modules: frozenset[str]) -> set[str]:
    return {one if one in PARTS else one.split(".")[0] for one in modules} - {"vlm_assets"}


@cache
def starts() -> tuple[frozenset[str], ...]:
    """What is loaded by whatever is started often: the program, the code location, a kind's keys, a child."""
    handlers = {found for path in MODULES.values() for found in HANDLER.findall(path.read_text("utf-8"))}
    children = [
        "vlm_assets.spiders.run",
        "vlm_assets.archives.seven_zip_child",
        *sorted(handlers & MODULES.keys()),
    ]
    alone = ["vlm_assets.cli", COMMAND_LINE, "vlm_assets.audit.findings", *KINDS, *children]
    return (loaded("vlm_assets.definitions", *KINDS), *(loaded(one) for one in alone))


def idle(module: str) -> list[str]:
    """Imports in functions that could as well stand at the top."""
    reached = [start for start in starts() if module in start]
    found = []
    for what, line, inside in imports(module):
        more = loaded(what)
        if (
            inside
            and all(more <= start for start in reached)
            and libraries(more) <= libraries(loaded(module))
        ):
            found.append(f"{MODULES[module].relative_to(PACKAGE.parent)}:{line}: {what}")
    return found


def test_every_import_in_a_function_spares_a_start_something():
    assert [line for module in MODULES for line in idle(module)] == []


@pytest.mark.parametrize(
    ("what", "spared"),
    [
        pytest.param("vlm_assets.store.slices", True, id="loads-pyarrow-in-the-program"),
        pytest.param("vlm_assets.words.errors", False, id="is-loaded-anyway"),
    ],
)
def test_what_is_loaded_anyway_is_found(monkeypatch, what, spared):
    monkeypatch.setitem(globals(), "imports", lambda _module: ((what, 1, True),))
    assert (idle(COMMAND_LINE) == []) is spared


def test_the_program_listens_for_ctrl_c_with_the_standard_library_alone():
    assert libraries(loaded("vlm_assets.cli")) == {"sys"}
    assert libraries(loaded("vlm_assets.commands.interruption")) <= sys.stdlib_module_names


LOCAL = tuple(kind for kind in kinds() if traits_of(kind).requests is Requests.NONE)
NETWORK = {"aiohttp", "httpx", "huggingface_hub", "requests", "scrapy"}


@pytest.mark.parametrize("kind", LOCAL)
def test_files_on_this_disk_are_read_without_a_network_client(kind):
    module = f"vlm_assets.sources.{kind}"
    in_functions = (what for what, _, inside in imports(module) if inside)
    assert libraries(loaded(module, *in_functions)) & NETWORK == set()
