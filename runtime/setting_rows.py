"""What `voice settings` shows: one row per setting, secrets masked, wrong values told and not hidden."""

from collections.abc import Mapping
from typing import Any, Final

import attrs
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from runtime.settings import Reading, setting_fields

MASK: Final = "********"
# From here on the columns stand side by side; in a narrower terminal the meaning goes below.
TABLE_COLUMNS: Final = 120


@attrs.frozen
class SettingRow:
    """One setting. `value` and `default` are as they would be written in the environment; empty for nothing."""

    variable: str
    value: str
    origin: str
    """`environment`, `default`, a file, or the variable's short form."""
    default: str
    meaning: str
    wrong: str = ""
    """What is wrong with what was set, in one line; `value` is empty then."""


def setting_rows(reading: Reading) -> list[SettingRow]:
    rows = []
    for field in setting_fields():
        variable, found = field.metadata["env"], getattr(reading.settings, field.name)
        error = reading.wrong.get(variable)
        masked = MASK if field.metadata["secret"] and found else found
        rows.append(
            SettingRow(
                variable,
                "" if error else _written(masked),
                reading.settings.origins.get(variable, "default"),
                _written(field.default),
                field.metadata["meaning"],
                str(error or ""),
            )
        )
    return rows


def _written(found: Any) -> str:
    if isinstance(found, bool):
        return "on" if found else "off"
    return ", ".join(found) if isinstance(found, tuple) else "" if found is None else str(found)


def row_as_json(row: SettingRow) -> Mapping[str, str | None]:
    """`null` for nothing: no value, no default, nothing wrong."""
    return {name: held or None for name, held in attrs.asdict(row).items()}


def print_rows(rows: list[SettingRow], console: Console) -> None:
    if console.width >= TABLE_COLUMNS:
        _print_table(rows, console)
    else:
        _print_stacked(rows, console)


def _print_table(rows: list[SettingRow], console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold", ratio=3)
    table.add_column("from", overflow="fold", ratio=2)
    table.add_column("default", overflow="fold", ratio=3)
    table.add_column("meaning", ratio=6)
    for row in rows:
        meaning = Text(row.meaning)
        if row.wrong:
            meaning = Text.assemble((row.wrong, "red"), "\n", row.meaning)
        table.add_row(Text(row.variable), _value(row), Text(row.origin), Text(row.default or "-"), meaning)
    console.print(table)


def _print_stacked(rows: list[SettingRow], console: Console) -> None:
    for row in rows:
        origin = row.origin if row.origin == "default" else f"{row.origin}; default {row.default or '-'}"
        line = Text.assemble((row.variable, "bold"), " = ", _value(row), (f"  ({origin})", "dim"))
        console.print(line, overflow="fold")
        for told, style in ((row.wrong, "red"), (row.meaning, "")):
            if told:
                console.print(Padding(Text(told, style), (0, 0, 0, 4), expand=False))


def _value(row: SettingRow) -> Text:
    return Text("wrong", "bold red") if row.wrong else Text(row.value or "-")
