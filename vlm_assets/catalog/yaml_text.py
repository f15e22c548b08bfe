"""YAML with two habits of its own: numbers with a point and dates stay text, a key given twice is an error."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from vlm_assets.words.errors import Problem


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _as_text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


for _tag in ("float", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _as_text)


def read_yaml(path: Path, shown: str) -> tuple[Any, list[Problem]]:
    """Content of a YAML file, and what is wrong with it; the content is None where there is a problem."""
    try:
        return yaml.load(path.read_text("utf-8"), _Loader), []  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        return None, [Problem(shown, "", "missing")]
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        return None, [Problem(shown, "", f"not YAML: {error}")]
