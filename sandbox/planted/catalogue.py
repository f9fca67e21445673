"""All faults that are planted, by name."""

from collections.abc import Mapping
from typing import Final

from sandbox.planted import defects_access, defects_audio, defects_bank, defects_ends, defects_tools, defects_turns
from sandbox.planted.planting import Defect

DEFECTS: Final[Mapping[str, Defect]] = {
    one.name: one
    for module in (defects_bank, defects_access, defects_tools, defects_audio, defects_turns, defects_ends)
    for one in module.DEFECTS
}
