"""What the simulated assistant makes of a turn of its caller, when it has an ear: the turn itself, or something else.

A turn heard with other digits than were said is a turn all the same: the assistant goes on, and calls its tools with
what it heard. That is how digits lost or mixed up on the way come out as a wrong call.
"""

from collections.abc import Mapping, Sequence

import attrs

from simulation.ear import Ear
from simulation.grammar import DIGITS, numbers_in, words_of
from simulation.scenario import AgentTurn, ToolCall
from simulation.vapi_call import SimulatedCall

PHONE_DIGITS = 7
"""From this length on a number may stand behind a prefix, as in +1 503 555 0121."""


@attrs.frozen
class CallerTurn:
    """A turn that has ended (at ``ended_at``, Trio time). ``understood``: it is the one that was due.

    ``numbers``: digits said to digits heard, of everything heard wrongly so far.
    """

    text: str
    ended_at: float
    understood: bool = True
    numbers: Mapping[str, str] = attrs.field(factory=dict)

    def answered_by(self, entry: AgentTurn) -> AgentTurn:
        """``entry`` with the arguments that somebody would give who heard these numbers."""
        calls = tuple(ToolCall(call.tool, _misled(call.arguments, self.numbers)) for call in entry.calls)
        return attrs.evolve(entry, calls=calls)


@attrs.define(eq=False)
class Understanding:
    """One call's. Mutable: ``_due`` (turns understood so far), ``_numbers`` (see :class:`CallerTurn`)."""

    ear: Ear
    call: SimulatedCall
    caller_lines: Sequence[str]
    _due: int = 0
    _numbers: dict[str, str] = attrs.field(factory=dict)

    async def understand(self, pcm: bytes, ended_at: float) -> CallerTurn:
        """Hear one turn and log it.

        :raises EarError: nothing can be heard at all.
        """
        due = self.caller_lines[self._due] if self._due < len(self.caller_lines) else None
        if due is not None and _wordless(due):
            self._due += 1
            return CallerTurn(due, ended_at, numbers=dict(self._numbers))
        known = [line for line in self.caller_lines if not _wordless(line)]
        heard = await self.ear.hear(pcm, known)
        self.call.log.add("vapi", "heard", text=heard.text, score=heard.score, due=due)
        if due is not None and _pattern(heard.text) != _pattern(due):
            self.call.log.add("vapi", "misheard", due=due, heard=heard.text)
            return CallerTurn(heard.text, ended_at, understood=False)
        self._due += 1
        for said, number in zip(numbers_in(due or ""), numbers_in(heard.text), strict=False):
            self._numbers[said] = number
        changed = {said: number for said, number in self._numbers.items() if said != number}
        return CallerTurn(heard.text, ended_at, numbers=changed)


def _wordless(line: str) -> bool:
    """A recording whose scenario does not say what is said in it goes by its file's name: any sound will do."""
    return line.endswith(".wav")


def _pattern(text: str) -> list[str]:
    """The words, whatever the digits."""
    return ["#" if word in DIGITS else word for word in words_of(text)]


def _misled(arguments: Mapping[str, object], numbers: Mapping[str, str]) -> dict[str, object]:
    return {name: _replaced(value, numbers) if isinstance(value, str) else value for name, value in arguments.items()}


def _replaced(value: str, numbers: Mapping[str, str]) -> str:
    """``value`` with the digits heard in place of those said; its other signs stay where they are."""
    places = [index for index, sign in enumerate(value) if sign.isdecimal()]
    digits = "".join(value[place] for place in places)
    for said, heard in numbers.items():
        if digits == said or (len(said) >= PHONE_DIGITS and digits.endswith(said)):
            signs = list(value)
            for place, digit in zip(places[-len(said) :], heard, strict=True):
                signs[place] = digit
            return "".join(signs)
    return value
