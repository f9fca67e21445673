"""Faults on the way of a tool call: what is read of Vapi's request, what is answered, what the engine is told."""

from typing import Any

import attrs
import msgspec
import trio

from actors.engine_reporter import EngineAway, EngineReporter
from actors.tool_dispatcher import ToolDispatcher
from runtime import house, limits, tool_posts, webhook
from runtime.http_client import HttpClient, Unreachable
from runtime.tool_posts import ToolAnswer
from sandbox.planted.planting import Planting, defect, defects_in

SLOW_SECONDS = limits.VAPI_TOOL_TIMEOUT_SECONDS + 1.0
GIVES_UP_SECONDS = 1.0
DIGITS = str.maketrans("12", "21")


def _retold(plant: Planting, change: Any) -> None:
    """``change(name, arguments, result)`` gives each report in place of that one."""
    honest = EngineReporter.report

    def report(self: Any, name: str, arguments: Any, result: Any) -> None:
        for told in change(name, arguments, result):
            honest(self, *told)

    plant.replace(EngineReporter, "report", report)


@defect("freeze-card", "replace-card")
def engine_told_nothing(plant: Planting) -> None:
    """The engine hears of no tool call."""
    _retold(plant, lambda *_: [])


@defect("freeze-card", "replace-card")
def engine_told_twice(plant: Planting) -> None:
    """The engine hears of each tool call a second time."""
    _retold(plant, lambda *told: [told, told])


@defect("no-such-card", "locked-out")
def engine_told_successes_only(plant: Planting) -> None:
    """The engine does not hear of calls that were refused."""
    _retold(plant, lambda name, arguments, result: [] if "error" in result else [(name, arguments, result)])


@defect("freeze-card", "replace-card")
def engine_told_another_result(plant: Planting) -> None:
    """The engine is told that it is done, in place of what the model got."""
    _retold(plant, lambda name, arguments, _result: [(name, arguments, {"status": "ok"})])


@defect("locked-out", "no-such-card")
def engine_told_refusals_as_results(plant: Planting) -> None:
    """The engine is told of a refusal as of a result."""
    _retold(
        plant,
        lambda name, arguments, result: [
            (name, arguments, {"message": result["error"]} if set(result) == {"error"} else result)
        ],
    )


@defect("freeze-card", "replace-card")
def engine_told_a_wrong_name(plant: Planting) -> None:
    """The engine is told the name under which the tool is kept at home, which no scenario knows."""
    _retold(plant, lambda name, arguments, result: [(f"bank.{name}", arguments, result)])


@defect("freeze-card")
def engine_told_of_another_tool(plant: Planting) -> None:
    """The engine is told of every tool that its card was replaced."""
    _retold(plant, lambda _name, arguments, result: [("request_card_replacement", arguments, result)])


@defect("freeze-card", "two-cards")
def digits_swapped_in_the_report(plant: Planting) -> None:
    """The engine is told of digits that were not asked for."""

    def swapped(name: str, arguments: Any, result: Any) -> Any:
        return [(name, {k: v.translate(DIGITS) if isinstance(v, str) else v for k, v in arguments.items()}, result)]

    _retold(plant, swapped)


@defect("freeze-card", "two-cards")
def engine_told_in_another_order(plant: Planting) -> None:
    """A report waits until the next one has gone."""
    waiting: list[Any] = []

    def changed(*told: Any) -> Any:
        waiting.append(told)
        if len(waiting) < 2:
            return []
        first, second = waiting
        waiting.clear()
        return [second, first]

    _retold(plant, changed)


@defect("engine-is-slow")
def engine_told_again_when_slow(plant: Planting) -> None:
    """A report whose answer takes more than a second is sent once more."""
    honest = HttpClient.request

    async def impatient(self: Any, method: str, url: str, *, seconds: float, **rest: Any) -> Any:
        try:
            return await honest(self, method, url, seconds=min(seconds, GIVES_UP_SECONDS), **rest)
        except Unreachable as exc:
            raise EngineAway(str(exc)) if "/simulations/" in url else exc from exc

    plant.replace(HttpClient, "request", impatient)


@defect("engine-is-slow")
def answer_waits_for_the_engine(plant: Planting) -> None:
    """The model gets its answer when the engine has taken the report."""
    honest = ToolDispatcher._run

    async def in_the_way(self: Any, call: Any, post_deadline: float) -> ToolAnswer:
        answer = await honest(self, call, post_deadline)
        reporter = self.reporter
        while reporter.counts["reported"] + reporter.counts["dropped"] < len(self.record.reported):  # noqa: ASYNC110
            await trio.sleep(limits.FRAME_SECONDS)
        return answer

    plant.replace(ToolDispatcher, "_run", in_the_way)


@defect("freeze-card", "replace-card")
def answer_with_a_line_break(plant: Planting) -> None:
    """The result is JSON over several lines."""
    plant.replace(tool_posts, "_string", lambda result: msgspec.json.format(msgspec.json.encode(result)).decode())


@defect("freeze-card", "replace-card")
def answer_that_is_no_text(plant: Planting) -> None:
    """The result is an object, not a string."""
    plant.replace(tool_posts, "_string", lambda result: result)


@defect("freeze-card", "replace-card")
def answer_under_another_id(plant: Planting) -> None:
    """An answer carries an id of our own in place of Vapi's."""
    honest = tool_posts._reply_entry
    plant.replace(tool_posts, "_reply_entry", lambda answer: honest(answer) | {"toolCallId": f"t-{answer.name}"})


def _answered_with(plant: Planting, **header: Any) -> None:
    """``header``: of the response to tool calls, in place of what it is."""
    honest = webhook._json

    def changed(body: bytes, status: int = 200) -> Any:
        response = honest(body, status)
        for name, value in header.items() if body.startswith(b'{"results"') else ():
            setattr(response, name, value)
        return response

    plant.replace(webhook, "_json", changed)


@defect("freeze-card", "replace-card")
def webhook_answers_500(plant: Planting) -> None:
    """The webhook does what it is asked for, and answers 500."""
    _answered_with(plant, status_code=500)


@defect("freeze-card", "replace-card")
def webhook_answers_201(plant: Planting) -> None:
    """The webhook answers 201, which Vapi ignores as it ignores all but 200."""
    _answered_with(plant, status_code=201)


@defect("freeze-card", "replace-card")
def webhook_answers_as_text(plant: Planting) -> None:
    """The webhook's answer is not said to be JSON."""
    _answered_with(plant, content_type="text/plain")


@defect("freeze-card", "two-cards")
def webhook_too_slow(plant: Planting) -> None:
    """The webhook answers when Vapi has given up waiting."""

    async def slow(*arguments: Any) -> Any:
        answers = await honest(*arguments)
        await trio.sleep(SLOW_SECONDS)
        return answers

    honest = plant.replace(webhook, "tool_answers", slow)


@defect("freeze-card", "two-cards")
def webhook_secret_left_out(plant: Planting) -> None:
    """Vapi is not given the secret that its tool calls must carry."""

    def without(settings: Any, prompt: str, functions: Any, server: Any, tag: str) -> Any:
        return honest(settings, prompt, functions, server | {"headers": {}}, tag)

    honest = plant.replace(house, "call_request", without)


def _parsed(plant: Planting, change: Any) -> None:
    """``change`` makes a request out of what was read of it."""

    def parse(body: bytes) -> Any:
        return change(honest(body))

    honest = plant.replace(webhook, "parse_post", parse)


@defect("tool-calls-in-one-request", "ignore-your-instructions")
def first_call_of_a_request_only(plant: Planting) -> None:
    """Of several tool calls in one request only the first is seen."""
    _parsed(plant, lambda post: attrs.evolve(post, calls=post.calls[:1]))


@defect("tool-calls-in-one-request")
def calls_of_a_request_in_another_order(plant: Planting) -> None:
    """Of several tool calls in one request the last is run first."""
    _parsed(plant, lambda post: attrs.evolve(post, calls=post.calls[::-1]))


@defect("tool-calls-in-one-request", "ignore-your-instructions")
def answers_in_the_wrong_place(plant: Planting) -> None:
    """Of several tool calls in one request each gets the answer of the one before it."""

    def mixed_up(answers: Any, **rest: Any) -> bytes:
        ids = [answer.tool_call_id for answer in answers]
        moved = zip(answers, ids[1:] + ids[:1], strict=True)
        return bytes(honest([attrs.evolve(answer, tool_call_id=id_) for answer, id_ in moved], **rest))

    honest = plant.replace(webhook, "build_reply", mixed_up)


@defect("deprecated-function-call")
def old_message_unknown(plant: Planting) -> None:
    """The message that Vapi had before tool-calls gets the new one's answer."""
    _parsed(plant, lambda post: attrs.evolve(post, legacy=False))


@defect("written-in-another-way")
def arguments_as_text_unread(plant: Planting) -> None:
    """Arguments that come as a string of JSON are taken for none."""
    honest = tool_posts._with_arguments
    plant.replace(
        tool_posts,
        "_with_arguments",
        lambda id_, name, raw: honest(id_, name, {} if isinstance(raw, str) else raw),
    )


@defect("written-in-another-way")
def call_id_demanded(plant: Planting) -> None:
    """A tool call that does not name its call is turned away."""

    def strict(post: Any) -> Any:
        if post.call_id is None:
            raise tool_posts.BadPost("the message has no call")
        return post

    _parsed(plant, strict)


DEFECTS = defects_in(globals())
