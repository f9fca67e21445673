"""`python -m sandbox.planted [NAME...]`: plant faults in our own agent, one at a time, and see which checks notice.

Exit codes: 0 at least 95 % were found without a false alarm, 1 not, 2 wrong use.
"""

import sys
from typing import Annotated

import typer

from sandbox.planted.catalogue import DEFECTS
from sandbox.planted.measure import Noticed, measure, shipped
from sandbox.planted.table import lines_of

FAILED = 1
WRONG_USE = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def planted(
    names: Annotated[list[str] | None, typer.Argument(help="Only these faults, with their own scenarios.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes at once.", min=1)] = 2,
) -> None:
    """Each fault before the scenarios that ought to notice it, and all scenarios before the sound agent."""
    unknown = [name for name in names or () if name not in DEFECTS]
    if unknown:
        sys.stderr.write(f"planted: no fault {', '.join(unknown)}; there are {', '.join(DEFECTS)}\n")
        raise typer.Exit(WRONG_USE)
    chosen = [DEFECTS[name] for name in names or DEFECTS]
    measured = measure(chosen, [] if names else shipped(), jobs, _tell)
    sys.stderr.write("\n")
    for line in lines_of(measured):
        sys.stdout.write(line + "\n")
    if not measured.passed:
        raise typer.Exit(FAILED)


def _tell(noticed: Noticed) -> None:
    """A sign for each conversation that is over: x where something failed."""
    sys.stderr.write("x" if noticed.failed else ".")
    sys.stderr.flush()


if __name__ == "__main__":
    app()
