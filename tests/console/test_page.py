"""What a person sees on the console's page, in a real browser, against a console of a script."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect

from tests.console import scripted
from tests.console.fake_console import FakeConsole
from tests.console.scripted import CALL, GREETING, HUNG_UP, LOST, TOOL_CALL, failed, over, tell


def picture(page: Page) -> set[str]:
    """The colours of the timeline's canvas that are on many pixels, as names of the page's own."""
    return set(
        page.evaluate(
            """() => {
              const canvas = document.getElementById("canvas");
              const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              const counts = new Map();
              for (let i = 0; i < data.length; i += 4) {
                const colour = `#${[...data.slice(i, i + 3)].map((c) => c.toString(16).padStart(2, "0")).join("")}`;
                counts.set(colour, (counts.get(colour) || 0) + 1);
              }
              const style = getComputedStyle(document.documentElement);
              return ["caller", "agent", "caller-soft", "agent-soft", "tool", "tail", "bad"].filter(
                (name) => counts.get(style.getPropertyValue(`--${name}`).trim()) > 20);
            }"""
        )
    )


def test_page_says_how_to_begin_when_there_is_no_call(console: FakeConsole, opened: Callable[..., Page]) -> None:
    page = opened()
    expect(page.locator("#empty")).to_contain_text("No call yet")
    expect(page.locator("#empty")).to_contain_text("voice demo --console")
    expect(page.locator("#empty")).to_contain_text("voice simulate caller ws://127.0.0.1:8008/voice")
    expect(page.locator("#demo")).to_be_hidden()
    assert console.state["health"]["ready"]
    expect(page.locator("#health")).to_contain_text("1 of 10 connections used, 3 idle")

    tell(console, demo=True)
    page.get_by_role("button", name="Hold a demo call").click()
    expect(page.locator("#said")).to_have_text("A demo call begins.")
    assert "POST /demo" in console.asked


def test_page_shows_a_call_as_it_comes_speaks_calls_a_tool_and_ends(
    console: FakeConsole, opened: Callable[..., Page]
) -> None:
    page = opened()
    tell(console, scripted.call(scripted.row(CALL, phase="setting_up", age_seconds=0.3), GREETING[:2]))
    expect(page.locator("#now .row .state")).to_have_text("setting up")
    expect(page.locator("#verdict-sentence")).to_contain_text("being set up")

    row = scripted.row(CALL, speaking=["caller"], level_db={"caller": -12, "agent": -96})
    tell(console, scripted.call(row, GREETING[:4]))
    expect(page.locator("#verdict-sentence")).to_have_text("The caller speaks.")
    expect(page.locator("#now .voice.caller")).to_have_attribute("data-speaks", "yes")
    assert bar_share(page, "#now .voice.caller i") == pytest.approx(0.8)
    assert bar_share(page, "#now .voice.agent i") == 0
    assert bar_share(page, "#now .channel i") == pytest.approx(0.2)

    tell(console, scripted.call(scripted.row(CALL, tool_running="replace_card"), [*GREETING, TOOL_CALL]))
    tool = page.locator("#transcript .tool")
    expect(tool).to_contain_text("runs …")
    expect(page.locator("#transcript .caller")).to_contain_text("Please replace my card")

    tell(console, over())
    expect(tool).to_contain_text("answered after 800 ms")
    expect(tool).to_contain_text("The new card is on its way.")
    expect(page.locator("#verdict")).to_contain_text("The caller ended the call.")
    expect(page.locator("#past .row")).to_contain_text("The caller ended the call.")
    expect(page.locator("#tree .actor").nth(1)).to_contain_text("ActorSocketReader")
    expect(page.locator("#tree .actor").nth(1)).to_contain_text("ended")
    expect(page.locator("#said")).to_contain_text("is over")
    page.wait_for_timeout(50)  # a frame of the canvas
    assert picture(page) >= {"caller", "agent", "caller-soft", "agent-soft", "tool", "tail", "bad"}


def bar_share(page: Page, selector: str) -> float:
    transform = page.locator(selector).first.evaluate("(bar) => bar.style.transform")
    return float(re.fullmatch(r"scaleX\((.*)\)", transform)[1])  # type: ignore[index]


def test_failed_call_explains_itself(console: FakeConsole, opened: Callable[..., Page]) -> None:
    tell(console, failed())
    page = opened()
    verdict = page.locator("#verdict")
    expect(verdict).to_have_attribute("data-verdict", "bad")
    for told in (
        "The connection to Vapi was lost.",
        "What to do: ",
        "Told to the caller: 1011 vapi_lost. Ended by: vapi.",
        "At 0:06.5 Vapi's socket broke: 1006 abnormal.",
        "At 0:04.4 the tool replace_card answered with an error: the database did not answer",
        "The agent's last words were not all written",
        "0.6 s of the agent did not reach the caller.",
    ):
        expect(verdict).to_contain_text(told)
    expect(page.locator("#past .row .state")).to_have_text("failed")
    expect(page.locator("#past .row")).to_contain_text("The connection to Vapi was lost.")

    health = {**scripted.HEALTH, "ready": False, "why_not": ["the database does not answer"]}
    tell(console, failed(), health=health)
    expect(page.locator("#not-ready")).to_have_text("Not ready for calls: the database does not answer.")


def test_hostile_text_stays_text(console: FakeConsole, opened: Callable[..., Page]) -> None:
    bad = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    told = [
        *GREETING,
        (4.2, "agent", "transcript", {"text": bad}),
        (4.4, "tool", "tool-call", {"id": bad, "name": bad, "arguments": {bad: bad}}),
        (4.5, "tool", "tool-answer", {"id": bad, "name": bad, "seconds": 0.1, "duplicate": True, "error": bad}),
        (4.6, "vapi", bad, {}),
        (4.7, "vapi", "lost", {"code": bad, "reason": bad}),
    ]
    row = scripted.row(bad, peer=bad, phase="over", ending={**LOST, "reason": bad, "detail": bad})
    tree = {"name": bad, "children": [{"name": bad, "state": bad, "restarts": 1, "significant": True, "children": []}]}
    health = {**scripted.HEALTH, "ready": False, "why_not": [bad], "tree": tree}
    tell(console, scripted.call(row, told, tree=tree, counts={bad: bad}), health=health, pod=bad)
    page = opened()
    expect(page.locator("#transcript")).to_contain_text(bad)
    expect(page.locator("#verdict")).to_contain_text(bad)
    assert page.evaluate("document.querySelectorAll('img, main script').length") == 0
    assert "owned" not in page.title()


def test_page_says_that_it_is_not_connected_and_comes_back(console: FakeConsole, opened: Callable[..., Page]) -> None:
    tell(console, scripted.call(scripted.row(CALL), GREETING))
    page = opened()
    expect(page.locator("#transcript .caller")).to_have_count(1)
    console.break_streams()
    expect(page.locator("#broken")).to_have_text(re.compile(r"Not connected since .*\d\d:\d\d:\d\d.*, trying again\."))
    expect(page.locator("#said")).to_have_text("The connection to the console is lost.")
    console.mend()
    tell(console, scripted.call(scripted.row(CALL), [*GREETING, TOOL_CALL]))
    expect(page.locator("#broken")).to_be_hidden()
    expect(page.locator("#transcript .tool")).to_have_count(1)
    expect(page.locator("#transcript .caller")).to_have_count(1)  # told again by the new stream, shown once
    expect(page.locator("#said")).to_have_text("The connection to the console is back.")


def test_personal_data_is_shown_only_when_asked_for(console: FakeConsole, opened: Callable[..., Page]) -> None:
    private = over()
    private["private"] = json.loads(json.dumps(private["events"]).replace("[number]", "4929 1111"))
    tell(console, private)
    page = opened()
    transcript = page.locator("#transcript")
    expect(transcript).to_contain_text("[number]")
    expect(page.locator("#personal-switch")).to_be_hidden()

    tell(console, private, personal_data="masked")
    page.get_by_label("Show personal data").check()
    expect(transcript).to_contain_text("4929 1111")
    page.get_by_label("Show personal data").uncheck()
    expect(transcript).to_contain_text("[number]")
    expect(transcript).not_to_contain_text("4929 1111")


@contextmanager
def told_often(console: FakeConsole, change: Callable[[int], None], every_seconds: float) -> Iterator[None]:
    done = threading.Event()

    def tell_on() -> None:
        for number in range(1_000):
            if done.wait(every_seconds):
                return
            change(number)

    thread = threading.Thread(target=tell_on)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_hundred_calls_are_updated_in_place(console: FakeConsole, opened: Callable[..., Page]) -> None:
    rows = [scripted.row(f"c-{number:03}", speaking=["caller"]) for number in range(100)]
    console.calls["c-000"] = scripted.call(rows[0], GREETING)
    console.state = scripted.state(*rows)
    page = opened("#call=c-000")
    page.locator("#row-c-050").focus()
    page.evaluate("""() => {
      window.changed = 0;
      const grown = (one) => [...one.addedNodes].some((node) => node.nodeType === 1);
      new MutationObserver((all) => { window.changed += all.filter(grown).length; }).observe(
        document.getElementById("list"), { childList: true, subtree: true });
      const range = document.createRange();
      range.selectNodeContents(document.querySelector("#row-c-050 .id"));
      getSelection().addRange(range);
    }""")

    def change(number: int) -> None:
        console.state = scripted.state(*({**row, "age_seconds": min(25.0, 13.0 + number)} for row in rows))
        console.tell()

    with told_often(console, change, every_seconds=0.05):
        expect(page.locator("#row-c-099 .age")).to_have_text("25 s")
    assert page.evaluate("window.changed") == 0
    assert page.evaluate("getSelection().toString()") == "c-050"
    expect(page.locator("#row-c-050")).to_be_focused()

    ended = {**rows[50], "phase": "over", "ending": HUNG_UP}
    console.state = scripted.state(*rows[:50], *rows[51:], ended)
    console.tell()
    expect(page.locator("#past .row")).to_have_count(1)
    expect(page.locator("#row-c-050")).to_be_focused()
