"""What a scenario expects of the tools: calls, answers, and what the engine is told."""

import itertools
from typing import Any

import attrs
import pytest
from made_evidence import (
    ANSWERED,
    CALLED,
    FIND,
    FREEZE,
    REFUSED,
    TOLD,
    Use,
    checks_of,
    evidence_of,
    exchange_of,
    failed,
    wanted,
)

from simulation.check import Check
from simulation.scenario import ToolExpectation

# What is expected of the tools, the calls made, and the detail when it fails ("" when it passes).
TOOL_CASES: tuple[tuple[dict[str, Any], tuple[Use, ...], str], ...] = (
    ({"tools": (wanted(FIND), wanted(FREEZE))}, (FIND, FREEZE), ""),
    ({}, (FIND,), 'wanted no more; got find(last4: "4242")'),
    ({"tools": (wanted(FIND),)}, (), 'wanted find(last4: "4242"); got none'),
    ({"tools": (wanted(FIND), wanted(FREEZE))}, (FREEZE, FIND), "in another order: freeze, find"),
    ({"tools": (wanted(FIND), wanted(FREEZE)), "order": "any"}, (FREEZE, FIND), ""),
    ({"tools": (wanted(FIND),), "order": "any"}, (FIND, FIND), 'wanted no more; got find(last4: "4242")'),
    (
        {"tools": (wanted(FIND, arguments={"last4": "4224"}), wanted(FREEZE))},
        (FIND, FREEZE),
        'find: wanted last4: "4224"; got last4: "4242"',
    ),
    (
        {"tools": (wanted(FREEZE, arguments={"card_id": "5"}),)},
        (FREEZE,),
        'freeze: wanted card_id: "5"; got card_id: 5',
    ),
    (
        {"tools": (wanted(FREEZE, arguments={}),)},
        (FREEZE,),
        "freeze: got card_id: 5, which no `arguments` and no `matching` of the scenario names",
    ),
    (
        {"tools": (wanted(FREEZE, arguments={"card_id": 5, "why": "lost"}),)},
        (FREEZE,),
        'freeze: wanted why: "lost"; got nothing',
    ),
    ({"tools": (wanted(FREEZE, arguments={}, matching={"card_id": "[0-9]"}),)}, (FREEZE,), ""),
    (
        {"tools": (wanted(FIND, arguments={}, matching={"last4": "42"}),)},
        (FIND,),
        'find: wanted last4: /42/; got last4: "4242"',
    ),
    (
        {"tools": (wanted(FIND, arguments={}, matching={"last5": ".*"}),)},
        (FIND,),
        'find: wanted last5: /.*/; got last4: "4242"',
    ),
    # The first expectation fits both calls; only one choice leaves a call for the second.
    (
        {
            "tools": (wanted(FREEZE, arguments={}, matching={"card_id": "."}), wanted(FREEZE)),
            "order": "any",
        },
        (FREEZE, REFUSED),
        "",
    ),
)


@pytest.mark.parametrize(("expect", "uses", "detail"), TOOL_CASES)
def test_called_tools_are_compared_when_named(expect: dict[str, Any], uses: tuple[Use, ...], detail: str) -> None:
    assert failed(checks_of(evidence_of(uses), **expect)) == ({CALLED: detail} if detail else {})


def test_called_tools_count_once_when_delivered_again_or_retried() -> None:
    evidence = evidence_of((FIND,), (FIND,))
    assert evidence.cloud_call is not None
    evidence.cloud_call.exchanges += [exchange_of(FIND, 0, redelivered=True), exchange_of(FIND, 0, attempt=2)]
    assert failed(checks_of(evidence, tools=(wanted(FIND),))) == {}


@pytest.mark.parametrize(
    ("more", "uses", "detail"),
    [
        ({"answer": "id"}, (FIND,), ""),
        ({"answer": "^id"}, (FIND,), 'find(last4: "4242") wanted /^id/, heard {"id": 5}'),
        ({"refused": False}, (FIND,), ""),
        ({"refused": True}, (FIND,), 'find(last4: "4242") was not refused: {"id": 5}'),
        ({"refused": True, "answer": "verified"}, (REFUSED,), ""),
        ({"refused": False}, (REFUSED,), "freeze(card_id: 7) was refused: not verified"),
        ({"answer": "x"}, (attrs.evolve(FIND, heard=None),), 'find(last4: "4242") got no answer'),
    ],
)
def test_answers_are_compared_when_wanted(more: dict[str, Any], uses: tuple[Use, ...], detail: str) -> None:
    check = checks_of(evidence_of(uses), tools=(wanted(uses[0], **more),))[ANSWERED]
    assert (check.failed, check.detail) == (bool(detail), detail or "1 answer(s)")


def test_answers_go_to_the_calls_they_fit_when_any_order_will_do() -> None:
    good = attrs.evolve(REFUSED, heard="done", error=False)
    tools = (wanted(good, refused=False), wanted(REFUSED, refused=True))
    for uses in ((REFUSED, good), (good, REFUSED)):
        assert failed(checks_of(evidence_of(uses), tools=tools, order="any")) == {}
    assert list(failed(checks_of(evidence_of((REFUSED, good)), tools=tools))) == [ANSWERED]
    assert list(failed(checks_of(evidence_of((good, good)), tools=tools, order="any"))) == [ANSWERED]


def test_answers_are_not_the_expected_ones_when_the_calls_are_not() -> None:
    checks = failed(checks_of(evidence_of(), tools=(wanted(FIND, refused=False),)))
    assert checks[ANSWERED] == "the calls are not the expected ones"


@pytest.mark.parametrize(
    ("asked", "told", "detail"),
    [
        ((FIND, FREEZE), (FIND, FREEZE), ""),
        ((FIND,), (), 'executed but never reported: find(last4: "4242")'),
        ((), (FIND,), 'reported but never executed: find(last4: "4242")'),
        ((FIND, FIND), (FIND,), 'executed but never reported: find(last4: "4242")'),
        ((FREEZE,), (Use("freeze", {"card_id": 6}),), "executed freeze(card_id: 5), but reported freeze(card_id: 6)"),
        ((FIND, FREEZE), (FREEZE, FIND), "reported in another order: freeze, find"),
        (
            (FIND,),
            (attrs.evolve(FIND, heard='{"id": 6}'),),
            'find: the model heard {"id": 5}, the engine was told {"id":6}',
        ),
        (
            (REFUSED,),
            (attrs.evolve(REFUSED, error=False),),
            "freeze: the model heard the error not verified, the engine was told not verified",
        ),
        ((attrs.evolve(FIND, heard="two words"),), (attrs.evolve(FIND, heard="two  words"),), ""),
        # An object may have been put into words for the model.
        ((attrs.evolve(FIND, heard="it is card 5"),), (FIND,), ""),
        (
            (attrs.evolve(FIND, heard="it is card 5"),),
            (attrs.evolve(REFUSED, tool="find", arguments=FIND.arguments),),
            "find: the model heard it is card 5, the engine was told the error not verified",
        ),
        # The same call twice, with two answers.
        ((FIND, attrs.evolve(FIND, heard='{"id": 6}')), (attrs.evolve(FIND, heard='{"id": 6}'), FIND), ""),
        # Nobody knows whether a call without an answer was made.
        ((attrs.evolve(FIND, heard=None), FREEZE), (FREEZE,), ""),
        ((attrs.evolve(FIND, heard=None), FREEZE), (FREEZE, FIND), ""),
    ],
)
def test_reports_are_compared_with_the_calls_when_both_are_known(
    asked: tuple[Use, ...], told: tuple[Use, ...], detail: str
) -> None:
    check = checks_of(evidence_of(asked, told))[TOLD]
    assert (check.failed, check.detail) == (bool(detail), detail or f"{len(told)} report(s)")


def test_reports_stand_in_for_the_calls_when_the_cloud_is_not_ours() -> None:
    evidence = evidence_of((FIND, REFUSED), cloud_call=None, absent={"vapi": "it is not ours"})
    tools = (wanted(FIND, answer='{"id":5}', refused=False), wanted(REFUSED, refused=True))
    checks = checks_of(evidence, tools=tools, never=("find", "cancel"))
    assert failed(checks) == {"never called: find": 'reported: find(last4: "4242")'}
    assert checks["never called: cancel"].detail == "not among the reports"
    assert checks[TOLD].passed
    assert checks[ANSWERED].passed
    assert checks[CALLED] == Check(CALLED, False, "not checked: it is not ours", checked=False)
    assert list(failed(checks_of(evidence))) == [TOLD]


def test_reports_are_not_checked_when_the_scenario_makes_the_engine_refuse_them() -> None:
    checks = checks_of(evidence_of((FIND,), ()), {"fail_status": 500}, tools=(wanted(FIND),), never=("cancel",))
    assert failed(checks) == {}
    assert not checks[TOLD].checked
    blind = evidence_of((), cloud_call=None, absent={"vapi": "not ours"})
    assert not checks_of(blind, {"fail_status": 500}, never=("cancel",))["never called: cancel"].checked


def test_tools_that_must_not_be_called_fail_when_called_or_reported() -> None:
    never: dict[str, Any] = {"never": ("freeze", "cancel")}
    seen = failed(checks_of(evidence_of((FREEZE,), ()), **never))
    assert seen["never called: freeze"] == "called: freeze(card_id: 5)"
    seen = failed(checks_of(evidence_of((), (FREEZE,)), **never))
    assert seen["never called: freeze"] == "reported: freeze(card_id: 5)"
    assert "never called: cancel" not in seen
    assert failed(checks_of(evidence_of(cloud_call=None), **never))["never called: cancel"] == "no Vapi call was made"
    gone = checks_of(evidence_of(engine_events=None), **never)
    assert failed(gone)["never called: cancel"] == "the engine was not there"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_calls_are_paired_in_any_order_when_patterns_overlap(order: tuple[int, ...]) -> None:
    tools = tuple(ToolExpectation("f", matching={"n": pattern}) for pattern in ("[123]", "[12]", "1"))
    uses = tuple(Use("f", {"n": (1, 2, 3)[index]}) for index in order)
    assert failed(checks_of(evidence_of(uses), tools=tools, order="any")) == {}


def test_details_stay_on_one_short_line_when_values_are_long() -> None:
    use = Use("find", {"text": "a\nb" * 1_000}, heard="x\n" * 1_000)
    checks = checks_of(evidence_of((use,)), tools=(wanted(use, answer="never"),))
    assert len(checks[ANSWERED].detail) < 600
    assert len(checks[CALLED].detail) < 300
