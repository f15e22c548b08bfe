"""The scripts under deploy/ as modules, and the stack's template as plain data."""

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@cache
def script(name: str) -> ModuleType:
    """deploy/aws/NAME.py, loaded."""
    spec = importlib.util.spec_from_file_location(name, DEPLOY / f"aws/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Loader(yaml.SafeLoader):
    """CloudFormation's short forms as their long ones."""


def _long_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _long_form)


@cache
def template(stack: str = "aws/stack.yaml") -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((DEPLOY / stack).read_text("utf-8"), _Loader)  # noqa: S506 - a safe loader
    return found


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Those of a type, by logical name."""
    return {name: one for name, one in template()["Resources"].items() if one["Type"] == kind}


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = template()["Resources"][name]["Properties"]
    return found
