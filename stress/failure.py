"""What keeps a stress run from being one."""

from collections.abc import Sequence


class StressFailure(Exception):
    """Something that is needed does not start, or has ended; one line, and the last that it said."""

    def __init__(self, line: str, last_lines: Sequence[str] = ()) -> None:
        super().__init__(line)
        self.last_lines = tuple(last_lines)
