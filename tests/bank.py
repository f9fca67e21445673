"""The bank's tools, without those that somebody has put beside them."""

from tools.card_tools import TOOLS
from tools.registry import Registry


def bank_tools() -> Registry:
    return Registry(TOOLS)
