"""How a fault is planted: functions and attributes of the agent are replaced while a conversation is held in memory."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from sandbox.options import Options

SCRIPTED = Options(virtual=True, scripted=True)
MISSING = object()


@attrs.frozen
class Planting:
    """What has been replaced so far. ``_before`` grows: (owner, name, what stood in its own namespace)."""

    _before: list[tuple[Any, str, Any]] = attrs.field(factory=list)

    def replace(self, owner: Any, name: str, by: Any) -> Any:
        """Put ``by`` in the place of ``owner.name``; returns what stood there. Raises AttributeError: nothing did."""
        honest = getattr(owner, name)
        self._before.append((owner, name, vars(owner).get(name, MISSING)))
        setattr(owner, name, by)
        return honest

    def restore(self) -> None:
        """Everything as it was, the last first."""
        while self._before:
            owner, name, before = self._before.pop()
            if before is MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


Plant = Callable[[Planting], None]
Under = tuple[tuple[str, Any], ...]
"""Options by name, where they are other than SCRIPTED."""


@attrs.frozen
class Defect:
    """A fault that somebody could make. ``wrong`` says what it does, in one line. Each of ``scenarios`` ought to notice
    it, when held ``under`` those options."""

    name: str
    wrong: str
    scenarios: tuple[str, ...]
    under: Under
    _plant: Plant = attrs.field(repr=False)

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The agent of this process has the fault in the body, and is sound again behind it."""
        planting = Planting()
        try:
            self._plant(planting)
            yield
        finally:
            planting.restore()


def defect(*scenarios: str, **under: Any) -> Callable[[Plant], Defect]:
    """Makes a Defect of a function that plants it: its name is the fault's, its docstring says what is wrong.
    ``under``: the conversations' options, where they are not the usual ones."""

    def made(plant: Plant) -> Defect:
        name = getattr(plant, "__name__", "").replace("_", "-")
        return Defect(name, inspect.getdoc(plant) or "", scenarios, tuple(under.items()), plant)

    return made


def defects_in(namespace: dict[str, Any]) -> Sequence[Defect]:
    """Those of a module, in their order."""
    return tuple(value for value in namespace.values() if isinstance(value, Defect))
