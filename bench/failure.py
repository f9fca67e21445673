"""What ends a run of the bench, each as one line and an exit code."""

from collections.abc import Sequence


class BenchFailure(Exception):
    """Something could not be measured. Exit code 1. `log`: the last lines of the process at fault."""

    def __init__(self, line: str, log: Sequence[str] = ()) -> None:
        super().__init__(line)
        self.log = log
