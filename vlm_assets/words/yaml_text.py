"""YAML with habits of its own: keys are text as it is written, numbers with a point, dates, `no` and `01` stay text,
a key given twice is an error.

Whatever a file holds, it gives content or a problem with its place: depth, aliases and numbers are bounded before
anything is built from them.
"""

import errno
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import Problem
from vlm_assets.words.plain_files import read_plain

_MAX_BYTES: Final = 64 * 2**20
_MAX_DEPTH: Final = 64
"""A quota tree has a dozen; libyaml and everything behind it recurse, and a C stack has no exception."""
_MAX_NODES: Final = 1_000_000
"""With aliases written out, as everybody who walks the content meets them; half a kilobyte each."""
_MAX_DIRECTIVES: Final = 100
_DIRECTIVE: Final = re.compile(r"(?:^|[\r\n\x85\u2028\u2029])%TAG")
"""libyaml looks through all handles for each."""
_BASE_60: Final = re.compile("[-+]?[0-9][0-9_]*:[0-9_:.]{1000}")
"""`1:30` is 90 in YAML 1.1; of so many the time to count grows with their square."""
_MAX_INTEGER: Final = 2**63
_HALVES: Final = re.compile("[\ud800-\udfff]")
_Base: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_TEXT: Final = "tag:yaml.org,2002:str"
_RESOLVED: Final = {
    "tag:yaml.org,2002:bool": (re.compile(r"^(?:true|false)$"), "tf"),
    "tag:yaml.org,2002:int": (re.compile(r"^(?:0|-?[1-9][0-9]*)$"), "-0123456789"),
    "tag:yaml.org,2002:null": (re.compile(r"^(?:~|null|)$"), ["~", "n", ""]),
    "tag:yaml.org,2002:merge": (re.compile(r"^<<$"), "<"),
}
"""All that is not text. YAML 1.1 knows more: `no` and `Yes`, octal `01`, `1:30` as minutes."""


class _Loader(_Base):  # type: ignore[misc]  # one of the two is a SafeLoader
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        self.flatten_mapping(node)  # `<<`
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is text", key_node.start_mark)
            key_node.tag = _TEXT
            if key_node.value in seen:
                shown = f"the key {key_node.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, shown, key_node.start_mark)
            seen.add(key_node.value)
        content: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return content


def _as_text(loader: Any, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _as_integer(loader: Any, node: yaml.ScalarNode) -> int:
    try:
        value = int(loader.construct_yaml_int(node))
    except ValueError:
        value = _MAX_INTEGER
    if not -_MAX_INTEGER <= value < _MAX_INTEGER:
        shown = f"{str(node.value)[:40]!r} is no whole number of 64 bits"
        raise yaml.constructor.ConstructorError(None, None, shown, node.start_mark)
    return value


_Loader.yaml_implicit_resolvers = {}
for _tag, (_form, _first) in _RESOLVED.items():
    _Loader.add_implicit_resolver(_tag, _form, list(_first))
for _tag in ("float", "timestamp"):  # where a file asks for them: !!float 1.5
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _as_text)
_Loader.add_constructor("tag:yaml.org,2002:int", _as_integer)


def read_yaml(path: Path, shown: str) -> tuple[Any, list[Problem]]:
    """Content of a YAML file, and what is wrong with it; the content is None where there is a problem."""
    text = ""
    try:
        text = _text_of(path)
        check_shape(text)
        return yaml.load(text, _Loader), []  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        return None, [Problem(shown, "", f"missing in {path.parent}")]
    except OSError as error:
        fix = "; split it into several files" if error.errno == errno.EFBIG else ""
        return None, [Problem(shown, "", f"cannot be read: {error.strerror}{fix}")]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = ", ".join(one for one in (error.context, error.problem) if one)
        if (
            mark is not None
            and "".join(text.split("\n")[mark.line : mark.line + 1])[mark.column :][:1] == "\t"
        ):
            why = "a tab where a line is indented; YAML takes spaces alone"
        place = (None, None) if mark is None else (mark.line + 1, mark.column + 1)
        return None, [Problem(shown, "", f"not YAML: {why}", *place)]
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        KeyError,
    ) as error:  # what constructors of odd scalars raise
        told = error.args[0] if isinstance(error, KeyError) and error.args else error
        return None, [Problem(shown, "", f"not YAML: {told}")]


def nodes_of(path: Path) -> yaml.Node | None:
    """What a file consists of, with places; None where `read_yaml` would not read it."""
    try:
        text = _text_of(path)
        check_shape(text)
        node: yaml.Node | None = yaml.compose(text, _Base)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return node


def _text_of(path: Path) -> str:
    return read_plain(path, _MAX_BYTES).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def check_shape(text: str) -> None:
    """Returns where nobody who walks the content will recurse too deep or for ever.

    Raises:
        yaml.YAMLError: nested too deep, too much once aliases are written out, an alias inside what it names, half
            a character, a number without end.
    """
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = 0

    def done(anchor: str | None, size: int) -> None:
        if anchor is not None:
            sizes[anchor] = size

    if len(_DIRECTIVE.findall(text)) > _MAX_DIRECTIVES:
        raise yaml.YAMLError(f"more than {_MAX_DIRECTIVES} directives %TAG")
    for event in yaml.parse(text, _Base):
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            open_nodes.append((event.anchor, total))
            sizes.pop(event.anchor or "", None)
            total += 1
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            anchor, before = open_nodes.pop()
            done(anchor, total - before)
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise _error(event, f"the alias {event.anchor!r} stands inside what it names")
            total += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            done(event.anchor, 1)
            total += 1
            if _HALVES.search(event.value):
                raise _error(event, "half a character (a lone surrogate)")
            if not event.style and _BASE_60.match(event.value):
                raise _error(event, "a number of more than a thousand digits")
        if len(open_nodes) > _MAX_DEPTH:
            raise _error(event, f"nested deeper than {_MAX_DEPTH}")
        if total > _MAX_NODES:
            raise _error(event, f"more than {so_many(_MAX_NODES, 'value')}, aliases written out")


def _error(event: Any, told: str) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=told, problem_mark=event.start_mark)
