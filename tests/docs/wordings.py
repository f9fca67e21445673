"""Where the product words an error, found in its source: so that none is forgotten on the page."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from tests.house_rules import Functions, Module, last_name, product

ROOMS: Final = ("runtime", "console", "actors", "db", "tools", "sandbox", "stress", "simulation")
LOG_ROOMS: Final = ("runtime", "console", "actors", "db", "tools")
LEVELS: Final = ("warning", "error", "exception", "critical")
# Who is called with the line that somebody reads.
WORDED: Final = frozenset(
    (
        "SettingsError", "StartError", "Bad", "NoAnswer", "VapiLost", "ToolWebhookLost", "StartFailed", "Ending",
        "BadPost", "Answer", "ToolAnswer", "errors_for", "fail", "Refusal", "BadArguments", "reject", "_json",
        "BadDatabaseUrl", "BadTable", "BadTools", "failure", "EmbeddedServerError", "DatabaseUnavailable",
        "CommitUnknown",
        "CannotStart", "NoQueue", "Busy", "Fatal", "Failed", "Degraded", "Probe", "_part", "_forget",
        "_possibly_billed", "Undeliverable", "ScenarioError", "StoreError", "SpeechError", "NoRecording",
        "EarError", "DialError",
        "AgentFailed", "StressFailure", "LiveCall", "_wrong", "_give_up", "not_held",
        "_error", "_fail", "Unrecordable", "Finding", "Version",
    )
)  # fmt: skip
PARTIES: Final = ("caller", "vapi", "runtime")  # who has ended a call
TEXT_METHODS: Final = ("problem", "_why_not_ready", "_refusal", "why_not")  # that return such a line, or several
TEXT_FIELDS: Final = ("trouble",)  # that are given such a line
UNWELL: Final = ("wrong", "unreachable", "warning")  # what a finding of `voice doctor` begins with that is worded here
WELL: Final = ("ok", "skipped")
UNESCAPED: Final = re.compile(r"\\(.)")
WORDS: Final = re.compile("[A-Za-z]{3,}")


@attrs.frozen
class Wording:
    """`place`: `file:function`. `pattern`: what the line looks like, with anything where values stand within it."""

    place: str
    pattern: str

    def __str__(self) -> str:
        words = self.pattern.replace(".*", "…")
        return f"{self.place}: {UNESCAPED.sub(lambda found: found[1], words)}"


def wordings() -> Iterator[Wording]:
    for module in product():
        if module.room in ROOMS and not module.path.startswith("sandbox/planted") and not is_somebodys_own(module):
            yield from wordings_in(module)


def is_somebodys_own(module: Module) -> bool:
    """A tool or a table beside the bank's: what it says is in its own words."""
    is_tool = module.room == "tools" and "\nTOOLS" in module.text and module.path != "tools/card_tools.py"
    return is_tool or module.path.startswith("db/tables/")


def wordings_in(module: Module) -> Iterator[Wording]:
    """Each line that is given to one of WORDED, refuses an HTTP request, or is the text of an error class."""
    constants = _named(module.tree.body)
    for function, place in _functions(module):
        named = {**constants, **_named(ast.walk(function))}
        for node in ast.walk(function):
            for text in _texts(node, function):
                found = named.get(text.id, []) if isinstance(text, ast.Name) else [text]
                for pattern in (pattern for one in found for pattern in _patterns(one)):
                    if WORDS.search(re.sub(r"\.\*|\\.", " ", pattern)) and pattern not in PARTIES:
                        yield Wording(place, pattern.removeprefix(".*").removesuffix(".*"))


def _named(nodes: Iterable[ast.AST]) -> dict[str, list[ast.expr]]:
    """All that each name is given to, in assignments."""
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name, value in _pairs(target, node.value):
                    found.setdefault(name, []).append(value)
    return found


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for inner, given in zip(target.elts, value.elts, strict=True):
            yield from _pairs(inner, given)


def _functions(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """The functions of a module and of its classes; what is inside of one is not told again."""
    for node in ast.iter_child_nodes(module.tree):
        for inner in ast.iter_child_nodes(node) if isinstance(node, ast.ClassDef) else (node,):
            if isinstance(inner, Functions):
                yield inner, f"{module.path}:{inner.name}"


def _texts(node: ast.AST, function: ast.AST) -> list[ast.expr]:
    is_text_method = getattr(function, "name", "") in TEXT_METHODS
    if isinstance(node, ast.Call) and last_name(node.func) == "Finding":
        mark, _name, found, *_advice = node.args
        return [] if isinstance(mark, ast.Constant) and mark.value in WELL else [found]
    if isinstance(node, ast.Call) and (
        last_name(node.func) in WORDED or (is_text_method and last_name(node.func) == "append")
    ):
        return [*node.args, *(keyword.value for keyword in node.keywords)]
    if isinstance(node, ast.Assign) and any(last_name(target) in TEXT_FIELDS for target in node.targets):
        return [node.value] if isinstance(node.targets[0], ast.Attribute) else []
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        match node.value.elts:
            case [ast.Constant(value=int()), *texts]:
                return texts
            case [ast.Constant(value=str(mark)), found, _advice] if mark in UNWELL:
                return [found]
        return []
    if isinstance(node, ast.Return) and node.value is not None:
        return [node.value] if is_text_method else []
    return []


def _patterns(node: ast.AST | None) -> list[str]:
    """A regular expression for each text that an expression may be; none where its words are not written there."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [re.escape(node.value)]
    if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
        return [re.escape(node.value.decode()).replace("%s", ".*")]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return _patterns(node.left)
    if isinstance(node, ast.BoolOp | ast.List):
        parts = node.values if isinstance(node, ast.BoolOp) else node.elts
        return [pattern for part in parts for pattern in _patterns(part)]
    if isinstance(node, ast.IfExp):
        return _patterns(node.body) + _patterns(node.orelse)
    if isinstance(node, ast.JoinedStr):
        texts = (_patterns(part)[0] if isinstance(part, ast.Constant) else ".*" for part in node.values)
        return ["".join(texts)]
    return []


@attrs.frozen
class LogCall:
    """`events`: by what names it can be looked up; none where the name is not written in the call."""

    place: str
    events: tuple[str, ...]


def log_calls() -> Iterator[LogCall]:
    for module in product():
        if module.room in LOG_ROOMS:
            yield from log_calls_in(module)


def log_calls_in(module: Module) -> Iterator[LogCall]:
    """Each use of a logger at one of LEVELS."""
    for function, place in _functions(module):
        called: Mapping[int, ast.Call] = {
            id(node.func): node for node in ast.walk(function) if isinstance(node, ast.Call)
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and node.attr in LEVELS and _is_logger(node.value):
                call = called.get(id(node))
                event = call.args[0] if call is not None and call.args else None
                told = event.value if isinstance(event, ast.Constant) else None
                yield LogCall(place, (told,) if isinstance(told, str) else ())


def _is_logger(node: ast.expr) -> bool:
    return last_name(node.func if isinstance(node, ast.Call) else node) in ("_log", "log", "get_logger")
