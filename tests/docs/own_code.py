"""What is said of a module in tools/ or db/tables/ that does not hold what it should."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Final

import attrs

import tools
from db import tables
from db.table import BadTable, Table, own_tables
from tests.docs.symptom import Symptom, said, seen
from tests.own_modules import lying_in
from tools.policy import tools_under
from tools.registry import BadTools, Tool, agent_tools

RECORD: Final = "import attrs\nfrom db.table import Table\n@attrs.frozen\nclass Row:\n    row_id: int\n"
TABLES: Final[tuple[tuple[str, Mapping[str, object]], ...]] = (
    ("nothing = 1", {"module": "own"}),
    (RECORD + "TABLE = Table('own', Row)", {"module": "own", "table": "own"}),
    (RECORD + "TABLE = Table('cards', Row, schema='x')", {"module": "own", "table": "cards"}),
    (RECORD + "TABLE = Table('calls', Row, schema='x')", {"module": "own", "table": "calls"}),
    (RECORD + "TABLE = Table('Own', Row, schema='x')", {"module": "own", "table": "Own"}),
    (RECORD + "TABLE = Table('own', int, schema='x')", {"module": "own", "table": "own"}),
    (RECORD + "TABLE = Table('own', Row, schema='x', rows=[1])", {"module": "own", "table": "own", "record": "Row"}),
    (
        RECORD + "TABLE = Table('own', Row, schema='x', rows=[Row(1), Row(1)])",
        {"module": "own", "table": "own", "column": "row_id"},
    ),
)
SOURCES: Final = ("x =", "import nothing_there", "x", "[].x", "len(1)", "int('x')")  # each fails in a way of its own
VERIFIES: Final = "from tools.policy import VERIFY\nTOOLS = [VERIFY]"
TWICE: Final = "from tools.card_tools import TOOLS as bank\nTOOLS = bank[:1] * 2"


@attrs.frozen
class Wish:
    when: Any


def own_code(_folder: Path) -> Iterator[Symptom]:
    for source, varies in TABLES:
        yield _named(_refused(BadTable, tables, source, own_tables), varies)
    line = said(BadTable, partial(Table, "own", Wish, rows=[Wish("x\0")]))
    yield _named(line, {"table": "own", "what is wrong": line.partition("rows: ")[2]})
    for source in SOURCES:
        yield _not_imported(_refused(BadTools, tools, source, agent_tools))
    yield _not_imported(_refused(BadTable, tables, RECORD + "TABLE = Table('own', int)", own_tables))
    yield seen(_refused(BadTools, tools, "TOOLS = (1,)", agent_tools), module="own")
    yield seen(_refused(BadTools, tools, TWICE, agent_tools), module="own", tool="display_user_info")
    yield seen(_refused(BadTools, tools, VERIFIES, partial(tools_under, "verified")), tool="verify_caller")
    line = said(BadTools, partial(agent_tools, ["nothing"]))
    yield seen(line, module="nothing", modules=line.partition("there are: ")[2])
    for name, arguments, varies in (("pay it", Wish, {}), ("pay", dict, {}), ("pay", Wish, {"argument": "when"})):
        yield seen(said(BadTools, partial(Tool, name, "", arguments, _pay)), tool=name, **varies)
    yield seen(said(BadTable, partial(Table, "own", Wish, rows=[Wish([])])), value="[]")


def _not_imported(line: str) -> Symptom:
    """In Python's words, or ours."""
    place, *_ = line.partition(": ")
    shown = place.replace("/own.py", "/<module>.py").replace("line 1", "line <number>")
    return Symptom(line, f"{shown}: <what is wrong>")


def _refused(kind: type[Exception], package: ModuleType, source: str, look: Callable[[], object]) -> str:
    with TemporaryDirectory() as folder, lying_in(package, Path(folder), own=source):
        return said(kind, look)


def _named(line: str, varies: Mapping[str, object]) -> Symptom:
    """A table's name may be a word of the line too, so its place tells it."""
    shown = line
    for name, value in varies.items():
        if name == "module":
            shown = shown.replace(f"tables/{value}", "tables/<module>")
        else:
            shown = shown.replace(f" {value}", f" <{name}>", 1).replace(f"'{value}'", f"'<{name}>'")
    return Symptom(line, shown)


async def _pay(_work: Any, _arguments: Any) -> None:
    pass
