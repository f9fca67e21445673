"""Python's garbage collector, in pieces that no call hears.

A whole collection walks through every object there is, 1 ms for each 1,000 or so, and all calls wait. So what has
survived one is frozen: the next walks through what has come since, a few thousand objects. Frozen objects go as others
do when nothing refers to them; only circles of them stay. When MOST_FROZEN have gathered, they are thawed, and walked
through once.
"""

import gc
from collections.abc import Mapping

import attrs

from runtime import limits


@attrs.define
class ShortCollections:
    """Mutable: `_thaw_at`, the number of frozen objects at which they are looked through again."""

    _thaw_at: int = 0

    def begin(self) -> None:
        """From now on, in this process. What is there already stays: the modules, above all."""
        gc.collect()
        gc.freeze()
        self._thaw_at = gc.get_freeze_count() + limits.GC_MOST_FROZEN
        gc.set_threshold(*limits.GC_THRESHOLDS)
        gc.callbacks.append(self._on_collection)

    def _on_collection(self, phase: str, about: Mapping[str, int]) -> None:
        if phase == "stop" and about["generation"] == 2:
            if gc.get_freeze_count() == 0:  # thawed before: this one has walked through all
                gc.freeze()
                self._thaw_at = gc.get_freeze_count() + limits.GC_MOST_FROZEN
            elif gc.get_freeze_count() > self._thaw_at:
                gc.unfreeze()
            else:
                gc.freeze()
