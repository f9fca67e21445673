"""The house rules that a machine can check: each is a function from a module of the product to its faults."""

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import attrs

ROOT: Final = Path(__file__).parent.parent
ROOMS: Final = (
    "runtime", "console", "actors", "tools", "db", "simulation", "sandbox", "stress", "torture", "fuzz", "bench",
)  # fmt: skip
FILE_LINES: Final = 300
FUNCTION_LINES: Final = 40


@attrs.frozen
class Module:
    """A source file: its path below the root, its text and its tree."""

    path: str
    text: str
    tree: ast.Module = attrs.field(init=False, repr=False)

    @tree.default
    def _parsed(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def room(self) -> str:
        return self.path.partition("/")[0]


@attrs.frozen
class Fault:
    """`place` is what an exception names: `file:function`, or `file -> module` for an import."""

    place: str
    line: int
    what: str


Rule = Callable[[Module], Iterator[Fault]]
Functions = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def product() -> tuple[Module, ...]:
    files = (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))
    return tuple(Module(path.relative_to(ROOT).as_posix(), path.read_text()) for path in files)


def walk(module: Module) -> Iterator[tuple[str, ast.AST]]:
    """Every node, with `file:name` of the innermost function, else class, that it is in."""

    def below(node: ast.AST, place: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, (*Functions, ast.ClassDef))
            yield place, child
            yield from below(child, f"{module.path}:{child.name}" if named else place)  # type: ignore[attr-defined]

    return below(module.tree, module.path)


def last_name(node: ast.AST) -> str:
    """`a.b.c[…]` -> "c"."""
    if isinstance(node, ast.Subscript):
        return last_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def unbounded(module: Module) -> Iterator[Fault]:
    """A channel or queue without a size."""
    for place, node in walk(module):
        if not isinstance(node, ast.Call):
            continue
        name, sizes = last_name(node.func), [*node.args, *(keyword.value for keyword in node.keywords)]
        endless = any("inf" in ast.unparse(size) for size in sizes)
        if (
            (name == "open_memory_channel" and (endless or not sizes))
            or name == "SimpleQueue"
            or (name in ("Queue", "LifoQueue", "PriorityQueue") and not sizes)
        ):
            yield Fault(place, node.lineno, f"{name} without a bound")


def shields(module: Module) -> Iterator[Fault]:
    """A shield without a deadline in the same call."""
    for place, node in walk(module):
        if isinstance(node, ast.Assign) and any(last_name(target) == "shield" for target in node.targets):
            yield Fault(place, node.lineno, "a shield that is set later has no deadline beside it")
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        shield = keywords.get("shield")
        if shield is None or (isinstance(shield, ast.Constant) and shield.value is False):
            continue
        timed = last_name(node.func) in ("move_on_after", "move_on_at", "fail_after", "fail_at")
        if not timed and not {"deadline", "relative_deadline"} & set(keywords):
            yield Fault(place, node.lineno, "a shield without a deadline")


def barriers(module: Module) -> Iterator[Fault]:
    """Exception, BaseException or Cancelled caught, or suppressed, and not raised again at the end of the handler."""
    broad = {"Exception", "BaseException", "Cancelled"}
    for place, node in walk(module):
        if isinstance(node, ast.ExceptHandler):
            kinds = [node.type] if not isinstance(node.type, ast.Tuple) else node.type.elts
            caught = node.type is None or any(last_name(kind) in broad for kind in kinds if kind is not None)
            again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            if caught and not again:
                yield Fault(place, node.lineno, "everything is caught, off the barriers")
        suppressed = node.args if isinstance(node, ast.Call) and last_name(node.func) == "suppress" else []
        if any(last_name(kind) in broad for kind in suppressed):
            yield Fault(place, suppressed[0].lineno, "everything is suppressed")


def environment(module: Module) -> Iterator[Fault]:
    """The environment read outside the settings."""
    for place, node in walk(module):
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            names = {alias.name for alias in node.names}
        else:
            names = {node.attr} if isinstance(node, ast.Attribute) and last_name(node.value) == "os" else set()
        if names & {"environ", "environb", "getenv", "putenv"}:
            yield Fault(place, node.lineno, "the environment is read")  # type: ignore[attr-defined]


MAY_IMPORT: Final[Mapping[str, tuple[str, ...]]] = {
    "runtime": ("runtime", "console", "actors", "tools", "db"),
    "console": ("console", "runtime"),
    "actors": ("runtime", "tools", "db.door"),
    "tools": ("tools", "db", "runtime.limits", "runtime.errors"),
    "db": ("db", "runtime.limits", "runtime.errors"),
    "simulation": ("simulation",),
    "sandbox": ("sandbox", "runtime", "db", "simulation", "torture.determinism", "torture.workers"),
    "sandbox/planted": ("sandbox", "runtime", "actors", "tools", "db", "simulation", "torture.workers"),
    "stress": ("stress", "sandbox", "runtime", "db", "simulation"),
    "torture": ("torture", "runtime", "db", "simulation"),
    "fuzz": ("fuzz", "torture", "runtime", "db", "simulation", "bench"),
    "bench": ("bench", "db.embedded"),
}


def imports(module: Module, *, at_load: bool = False) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import of ours; `at_load`: only those at module level."""
    for node in module.tree.body if at_load else ast.walk(module.tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = names if node.module in ROOMS else [str(node.module)]
        yield from ((node.lineno, name) for name in names)


def arrows(module: Module) -> Iterator[Fault]:
    """An import against the direction of the house. A room within a room has arrows of its own."""
    home = max((room for room in MAY_IMPORT if module.path.startswith(f"{room}/")), key=len)
    for line, name in imports(module):
        if name.partition(".")[0] not in ROOMS or (module.path == "actors/call.py" and name.startswith("actors.")):
            continue
        if not any(name == allowed or name.startswith(f"{allowed}.") for allowed in MAY_IMPORT[home]):
            shown = "simulation" if name.startswith("simulation") else name
            yield Fault(f"{module.path} -> {shown}", line, f"{module.room} imports {name}")


LIBRARIES: Final[Mapping[str, tuple[str, ...]]] = {
    "httpx": ("runtime/http_client.py", "simulation/", "bench/peers/"),
    "trio_websocket": ("runtime/ws_leg.py", "runtime/ws_handshake.py", "simulation/"),
    "asyncpg": ("db/",),
    "trio_asyncio": ("db/",),
    "asyncio": ("db/", "bench/load/", "bench/peers/"),
}


def libraries(module: Module) -> Iterator[Fault]:
    """A library known outside the one place that maps it."""
    for line, name in imports(module):
        homes = LIBRARIES.get(name.partition(".")[0])
        if homes is not None and not module.path.startswith(homes):
            yield Fault(module.path, line, f"imports {name}")


def state(module: Module) -> Iterator[Fault]:
    """A container at module level that somebody could change: only Final and read-only types say that nobody does."""
    containers = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
    made = {"dict", "list", "set", "bytearray", "deque", "defaultdict", "Counter", "OrderedDict"}
    for place, node in walk(module):
        if isinstance(node, ast.Global):
            yield Fault(place, node.lineno, "a global that is written")
    for node in module.tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        value = node.value
        mutable = isinstance(value, containers) or (isinstance(value, ast.Call) and last_name(value.func) in made)
        kept = isinstance(node, ast.AnnAssign) and last_name(node.annotation) in ("Final", "Mapping", "Sequence", "Set")
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if mutable and not kept and last_name(target) != "__all__":
            yield Fault(f"{module.path}:{last_name(target)}", node.lineno, "mutable state of a module")


def functions(module: Module) -> Iterator[Fault]:
    """A function or a file that is too long to be one idea."""
    if (lines := module.text.count("\n")) > FILE_LINES:
        yield Fault(module.path, lines, f"{lines} lines")
    for _, node in walk(module):
        if isinstance(node, Functions) and node.end_lineno is not None:
            lines = node.end_lineno - node.body[0].lineno + 1
            if lines > FUNCTION_LINES:
                yield Fault(f"{module.path}:{node.name}", node.lineno, f"{lines} lines")


def timeouts(module: Module) -> Iterator[Fault]:
    """A `timeout` parameter: a caller has cancel scopes."""
    for place, node in walk(module):
        if isinstance(node, ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if any(argument.arg.startswith("timeout") for argument in arguments):
                yield Fault(f"{place.partition(':')[0]}:{node.name}", node.lineno, "a timeout parameter")


def actors(module: Module) -> Iterator[Fault]:
    """An actor (`async run(self, task_status)`) that does not say how it ends, restarts and is cancelled."""
    for _, node in walk(module):
        if not isinstance(node, ast.ClassDef) or any(last_name(base) == "Protocol" for base in node.bases):
            continue
        runs = [part for part in node.body if isinstance(part, ast.AsyncFunctionDef) and part.name == "run"]
        if any("task_status" in [argument.arg for argument in run.args.args] for run in runs):
            missing = [
                word for word in ("Ends:", "Restart:", "Cancelled:") if word not in (ast.get_docstring(node) or "")
            ]
            if missing:
                yield Fault(f"{module.path}:{node.name}", node.lineno, f"the docstring lacks {' '.join(missing)}")


RULES: Final[tuple[Rule, ...]] = (
    unbounded, shields, barriers, environment, arrows, libraries, state, functions, timeouts, actors,
)  # fmt: skip
