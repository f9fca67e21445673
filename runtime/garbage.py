"""Python's garbage collector, in pieces that no call hears.

A whole collection walks through every object there is, 1 ms for each 1,000 or so, and all calls wait. So what has
survived one is frozen: the next walks through what has come since, a few thousand objects. Frozen objects go as others
do when nothing refers to them; only circles of them stay. When GC_MOST_FROZEN have gathered, they are thawed, and all
is walked through once.
"""

import gc
from collections.abc import Mapping

import attrs

from runtime import limits


@attrs.define
class ShortCollections:
    """Mutable: `_frozen`, how many objects were frozen since the frozen ones were last counted (which takes as long as
    to walk through them); `_thawed`, when the next collection walks through all."""

    _frozen: int = 0
    _thawed: bool = False

    def begin(self) -> None:
        """From now on, in this process. What is there already stays: the modules, above all."""
        gc.collect()
        gc.freeze()
        gc.collect()  # of nothing: CPython waits with the next for a quarter of what the last one left
        gc.set_threshold(*limits.GC_THRESHOLDS)
        gc.callbacks.append(self._on_collection)

    def _on_collection(self, phase: str, about: Mapping[str, int]) -> None:
        if phase != "stop" or about["generation"] != 2:
            return
        self._frozen += len(gc.get_objects(generation=2))
        if self._thawed or self._frozen < limits.GC_FROZEN_COUNT:
            self._thawed = False
            gc.freeze()
            return
        self._frozen = 0
        if gc.get_freeze_count() > limits.GC_MOST_FROZEN:
            self._thawed = True
            gc.unfreeze()
