"""The house rules about imports, read from the syntax tree: which room may import what, and where."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

ROWS: tuple[tuple[str, ...], ...] = (
    ("cli", "testing"),
    ("app",),
    ("schedules", "reports", "settling", "batches"),
    ("dispatch",),
    ("runners", "checks"),
    ("tools", "metering", "inputs", "isolation", "recordings"),
    ("providers", "sandbox", "ledger", "models"),
    ("tasks", "config", "plugins", "trust"),
    ("addresses", "budgets", "policies", "pricing", "workspace"),
    ("runs", "templates", "answers"),
    ("messages", "documents", "redaction", "terminal_text", "schemas", "units", "shell_syntax", "excuses"),
    ("usage", "errors", "threads"),
    ("frozen",),
)
"""Imports point strictly down; rooms in one row never import each other."""

ANYWHERE = frozenset({"__init__"})
"""The package itself: its version."""

LIBRARIES: dict[str, tuple[str, ...]] = {
    "anyio": ("",),
    "typer": ("cli",),
    "click": ("cli",),
    "rich": ("cli",),
    "yaml": ("documents",),
    "tenacity": ("providers/retrying",),
    "jsonschema": ("schemas",),
    "referencing": ("schemas",),
    "anthropic": ("providers/anthropic",),
    "openai": ("providers/openai_client",),
    "xllamacpp": ("providers/local",),
    "genai_prices": ("pricing",),
    "platformdirs": ("app",),
    "uuid6": ("app",),
    "pathspec": ("workspace",),
    "regex": ("workspace", "tools", "checks"),
    "msgspec": ("ledger", "models"),
    "h11": ("tools", "sandbox"),
    "httpx2": ("providers/wire", "providers/openai_client", "providers/anthropic", "models"),
}
"""Where each library may be imported: a room, or one module of it. "" is everywhere."""

LAZY = frozenset(
    {
        *("anthropic", "openai", "xllamacpp", "httpx2"),
        *("genai_prices", "jsonschema", "referencing", "tenacity", "yaml"),
    }
)
"""Libraries that take long to import: only inside functions."""

READS_ENVIRONMENT = ("app", "cli")
MAX_LINES = 300
_ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb"})


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module. `lazy` says that it stands in a function, `typing` under TYPE_CHECKING."""

    name: str
    line: int
    lazy: bool
    typing: bool


def violations(path: str, source: str) -> list[str]:
    """What a file breaks. `path` is relative to the package, such as `providers/local.py`."""
    module = PurePosixPath(path).with_suffix("")
    room = module.parts[0]
    tree = ast.parse(source)
    found = []
    rows = {name: number for number, row in enumerate(ROWS) for name in row}
    if room not in rows and room not in ("__init__", "__main__"):
        found.append(f"{path}: room '{room}' is in no row")
    for one in imports(tree, path):
        where = f"{path}:{one.line}"
        top, _, rest = one.name.partition(".")
        if top == "meshclaw":
            found += [f"{where}: {text}" for text in _upward(room, rest.partition(".")[0], rows)]
        elif top not in sys.stdlib_module_names:
            found += [f"{where}: {text}" for text in _misplaced(str(module), top, one)]
    if room not in READS_ENVIRONMENT:
        found += [f"{path}:{line}: reads the environment" for line in environment_reads(tree)]
    lines = source.count("\n")
    if lines > MAX_LINES:
        found.append(f"{path}: {lines} lines, more than {MAX_LINES}")
    return found


def imports(tree: ast.AST, path: str) -> Iterator[Import]:
    """Every import of a module, wherever it stands; `import_module("...")` of a literal counts too."""
    package = ["meshclaw", *PurePosixPath(path).parts[:-1]]
    yield from _imports(tree, package, lazy=False, typing=False)


def environment_reads(tree: ast.AST) -> Iterator[int]:
    """Lines that reach for the process's environment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _ENVIRONMENT:
            if isinstance(node.value, ast.Name) and node.value.id in ("os", "posix"):
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "posix"):
            yield from (node.lineno for alias in node.names if alias.name in _ENVIRONMENT)


def _imports(node: ast.AST, package: list[str], *, lazy: bool, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        unchecked = isinstance(node, ast.If) and _is_type_checking(node.test) and child in node.body
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, lazy or inside, typing or unchecked)
        elif isinstance(child, ast.ImportFrom):
            for name in _targets(child, package):
                yield Import(name, child.lineno, lazy or inside, typing or unchecked)
        elif isinstance(child, ast.Call) and _is_import_call(child):
            literal = child.args[0]
            assert isinstance(literal, ast.Constant)
            yield Import(str(literal.value), child.lineno, lazy or inside, typing or unchecked)
        yield from _imports(child, package, lazy=lazy or inside, typing=typing or unchecked)


def _targets(node: ast.ImportFrom, package: list[str]) -> list[str]:
    """Full names; of `from meshclaw import a, b` each one is a room of its own."""
    base = package[: len(package) - node.level + 1] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    return [f"{module}.{alias.name}" for alias in node.names] if module == "meshclaw" else [module]


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _is_import_call(node: ast.Call) -> bool:
    named = ast.unparse(node.func) in ("import_module", "importlib.import_module", "__import__")
    return named and bool(node.args) and isinstance(node.args[0], ast.Constant)


def _upward(room: str, other: str, rows: dict[str, int]) -> Iterator[str]:
    if other in ("", room, "__version__"):
        return
    if other not in rows:
        yield f"imports unknown room '{other}'"
    elif room == "__main__":
        if other != "cli":
            yield f"__main__ imports {other}, not cli"
    elif room not in rows:
        yield f"{room} imports {other}: the package itself imports nothing"
    elif rows[other] == rows[room]:
        yield f"{room} imports {other}, a room in the same row"
    elif rows[other] < rows[room]:
        yield f"{room} imports {other}, which stands above it"


def _misplaced(module: str, library: str, one: Import) -> Iterator[str]:
    places = LIBRARIES.get(library)
    if places is None:
        yield f"library '{library}' has no room"
    elif not one.typing and not any(
        place in ("", module) or module.startswith(f"{place}/") for place in places
    ):
        yield f"library '{library}' belongs in {', '.join(places)}"
    if library in LAZY and not one.lazy and not one.typing:
        yield f"library '{library}' is imported with the module; import it in a function"
