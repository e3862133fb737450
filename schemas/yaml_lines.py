"""YAML text -> plain values, with the line of every path, for reports that say where a file is wrong.

Entry points: `read`, `Document`, `Problem`, `nearest`. Pure: text in, values out.

1. Every problem of the text is collected; none stops the reading of the rest, except text that is no YAML at all.
2. A key that stands twice in one mapping is a problem (YAML itself would silently keep the last).
3. Anchors, aliases and merge keys (`<<`) are followed; a merged value keeps the line where it is written.
"""

import difflib
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import yaml

Path = tuple[str | int, ...]
_MERGE = "tag:yaml.org,2002:merge"
_MAX_DEPTH = 40


class Problem(NamedTuple):
    """One thing wrong in a file: 1-based line, path of the value, what is wrong, how to mend it."""

    line: int
    path: str
    what: str
    mend: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", {self.path}" if self.path else "")
        return f"{where}: {self.what}; {self.mend}"


class Document:
    """A file's value, the line of every path in it and the problems of its text."""

    def __init__(self) -> None:
        self.value: Any = None
        self.lines: dict[Path, int] = {(): 1}
        self.problems: list[Problem] = []

    def line(self, path: Path) -> int:
        """Return the line of `path`, or of the nearest thing around it that stands in the file."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def problem(self, path: Path, what: str, mend: str) -> None:
        """Note that the value at `path` is wrong."""
        self.problems.append(Problem(self.line(path), dotted(path), what, mend))


def dotted(path: Path) -> str:
    """Return `topics.bars.messages[0]` for ("topics", "bars", "messages", 0)."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return the mend for an unknown name: the nearest valid one, or all of them."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"use one of: {', '.join(names)}"


def read(text: str) -> Document:
    """Read one YAML document; what is wrong with its text stands in `problems`."""
    document = Document()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        what = " ".join(part for part in (error.context, error.problem) if part)
        document.problems.append(Problem(line, "", f"not YAML: {what}", "correct the text at this line"))
        return document
    except (yaml.YAMLError, RecursionError) as error:
        document.problems.append(Problem(1, "", f"not YAML: {error}", "write the file as UTF-8 text"))
        return document
    if node is not None:
        document.value = _Reader(document).value(node, ())
    return document


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.scalars = yaml.SafeLoader("")

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > _MAX_DEPTH:
            self.document.problem(path, "nested too deep, or an alias that contains itself", "write it out flat")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return self.scalars.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            what = getattr(error, "problem", None) or str(error)
            self.document.problem(path, f"value cannot be read: {what}", "write a plain value")
            return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: list[tuple[yaml.Node, int]] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                merged.append((value_node, line))
                continue
            key = self.scalars.construct_object(key_node, deep=True) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, Hashable) or not isinstance(key, str):
                self.document.lines[(*path, str(key))] = line
                self.document.problem((*path, str(key)), f"key {key!r} is not text", "write the key in quotes")
                continue
            if key in own:
                problem = Problem(line, dotted((*path, key)), "key stands twice", "keep one of the two")
                self.document.problems.append(problem)
                continue
            self.document.lines[(*path, key)] = line
            own[key] = self.value(value_node, (*path, key))
        for value_node, line in merged:
            self._merge(value_node, line, path, own)
        return own

    def _merge(self, node: yaml.Node, line: int, path: Path, own: dict[str, Any]) -> None:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode):
                self.document.problems.append(
                    Problem(line, dotted(path), "`<<` merges something that is no mapping", "name an anchored mapping")
                )
                continue
            side = Document()  # keeps the merged lines apart: a key of our own keeps its own line
            reader = _Reader(side)
            for key, value in reader.value(source, path).items():
                if key not in own:
                    own[key] = value
                    self.document.lines.update(
                        (place, at) for place, at in side.lines.items() if place[: len(path) + 1] == (*path, key)
                    )
