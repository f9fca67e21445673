"""The console's page by keyboard, by pointer, on a phone, in light and dark, and by its address."""

import re
from collections.abc import Callable
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from tests.console import scripted
from tests.console.fake_console import FakeConsole
from tests.console.scripted import CALL, GREETING, LOST, failed, over, recorded, tell

PHONE: Final = {"width": 360, "height": 740}
AA_CONTRAST: Final = 4.5


def test_keyboard_alone_chooses_a_call_and_plays_it(console: FakeConsole, opened: Callable[..., Page]) -> None:
    tell(console, scripted.call(scripted.row("c-running"), GREETING), recorded(console))
    page = opened()
    keys = page.keyboard
    keys.press("Tab")
    expect(page.get_by_text("Skip to the calls")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("#row-c-running")).to_be_focused()
    keys.press("ArrowDown")
    expect(page.locator(f"#row-{CALL}")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("#call-title")).to_have_text(f"Call {CALL}")
    expect(page.locator(f"#row-{CALL}")).to_have_attribute("aria-selected", "true")
    expect(page.locator(f"#row-{CALL}")).to_be_focused()

    keys.press("Tab")
    expect(page.get_by_role("button", name="Play")).to_be_focused()
    timeline = page.get_by_role("slider", name="Timeline of the call")
    for _ in range(4):
        keys.press("Tab")
    expect(timeline).to_be_focused()
    outline = timeline.evaluate("(node) => getComputedStyle(node).outlineStyle")
    assert outline == "solid"
    keys.press("Shift+ArrowRight")
    expect(timeline).to_have_attribute("aria-valuenow", "5.0")
    expect(timeline).to_have_attribute("aria-valuetext", re.compile("tool replace_card answered after 800 ms"))
    keys.press("PageDown")
    keys.press("PageDown")
    expect(timeline).to_have_attribute("aria-valuetext", re.compile(r"0:07\.0 .*barged in"))
    keys.press("Home")
    keys.press("Space")
    expect(page.locator("#play")).to_have_text("Pause")
    expect(page.locator("#play-time")).to_have_text(re.compile(r"0:0[01]\.[1-9] of 0:02\.0"))
    keys.press("Space")
    expect(page.locator("#play")).to_have_text("Play")
    keys.press("?")
    expect(page.locator("#keys")).to_be_visible()
    keys.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    expect(timeline).to_be_focused()


def test_timeline_zooms_scrolls_and_seeks(console: FakeConsole, opened: Callable[..., Page]) -> None:
    tell(console, recorded(console))
    page = opened()
    box = page.locator("#timeline")
    expect(box).to_have_attribute("aria-valuemax", "12.0")
    size = "(box) => [box.scrollWidth, box.clientWidth]"
    assert len(set(box.evaluate(size))) == 1
    box.click(position={"x": box.bounding_box()["width"] / 2, "y": 60})  # type: ignore[index]
    expect(box).to_have_attribute("aria-valuenow", "6.0")
    expect(page.locator("#play-time")).to_contain_text("0:06.0")
    for _ in range(3):
        page.get_by_role("button", name="Zoom in").click()
    whole, seen = box.evaluate(size)
    assert whole == pytest.approx(seen * 1.5**3, rel=0.01)
    assert box.evaluate("(box) => box.scrollLeft") > 0
    page.get_by_role("button", name="Fit").click()
    page.wait_for_function(
        "() => { const b = document.getElementById('timeline'); return b.scrollWidth === b.clientWidth; }"
    )
    left, _, _, _ = box.evaluate(
        "(box) => { const r = box.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; }"
    )
    width = box.evaluate("(box) => box.clientWidth")
    page.mouse.move(left + width * 7 / 12, box.bounding_box()["y"] + 60)  # type: ignore[index]
    expect(page.locator("#readout")).to_contain_text("Agent speaks: “Your new card is on its way.”")
    expect(page.locator("#readout")).to_contain_text("barged in")


def test_timeline_stays_at_the_end_of_a_running_call_until_it_is_scrolled_back(
    console: FakeConsole, opened: Callable[..., Page]
) -> None:
    page = opened(viewport=PHONE)
    box, follow = page.locator("#timeline"), page.get_by_role("button", name="Follow")
    beyond = "(box) => box.scrollWidth - box.clientWidth - box.scrollLeft"
    for seconds in (5.0, 30.0, 60.0):
        tell(console, scripted.call(scripted.row(CALL, age_seconds=seconds), GREETING))
        expect(box).to_have_attribute("aria-valuenow", f"{seconds:.1f}")
        assert box.evaluate(beyond) < 2
    assert box.evaluate("(box) => box.scrollLeft") > PHONE["width"]
    expect(follow).to_have_attribute("aria-pressed", "true")
    box.evaluate("(box) => { box.scrollLeft = 100; }")
    expect(follow).to_have_attribute("aria-pressed", "false")
    tell(console, scripted.call(scripted.row(CALL, age_seconds=61.0), GREETING))
    expect(box).to_have_attribute("aria-valuemax", "61.0")
    assert box.evaluate("(box) => box.scrollLeft") == 100
    follow.click()
    expect(follow).to_have_attribute("aria-pressed", "true")
    page.wait_for_function("() => document.getElementById('timeline').scrollLeft > 1000")


def test_page_fits_a_phone(console: FakeConsole, opened: Callable[..., Page]) -> None:
    long = "x" * 300
    told = [
        *GREETING,
        (4.2, "caller", "transcript", {"text": long}),
        (4.4, "tool", "tool-call", {"id": "t", "name": long, "arguments": {long: long}}),
    ]
    health = {
        **scripted.HEALTH,
        "ready": False,
        "why_not": [long],
        "tunnel": {**scripted.HEALTH["tunnel"], "url": long},
    }
    end = {**LOST, "detail": long}
    row = scripted.row(CALL, phase="over", ending=end, peer=long)
    tell(
        console,
        scripted.call(row, told),
        scripted.call(scripted.row("c-2"), []),
        health=health,
        demo=True,
        personal_data="masked",
    )
    page = opened(f"#call={CALL}", viewport=PHONE)
    expect(page.locator("#transcript .tool")).to_be_visible()
    page.get_by_text("Everything counted").click()
    page.get_by_text("Supervision tree of the process").click()
    page.get_by_role("button", name="Zoom in").click()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
    assert page.locator("#timeline").evaluate("(box) => box.scrollWidth > box.clientWidth")
    tell(console)
    page = opened(viewport=PHONE)
    expect(page.locator("#empty")).to_be_visible()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]


# Each leaf of text that can be seen, with the colours that it is drawn in. What is behind it is the nearest ground.
COLOURS: Final = """() => {
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("body *")]
    .filter((node) => node.checkVisibility())
    .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
    .filter((node) => !node.closest(".unseen, .skip, :disabled"))
    .map((node) => [node, `${node.tagName}.${node.className}: ${node.textContent.slice(0, 30)}`])
    .map(([node, name]) => [name, getComputedStyle(node).color, ground(node)]);
}"""


def luminance(colour: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(console: FakeConsole, opened: Callable[..., Page], scheme: str) -> None:
    running = scripted.call(scripted.row("c-running", speaking=["agent"]), GREETING)
    setting_up = scripted.call(scripted.row("c-new", phase="setting_up"), [])
    other = over("c-other")
    health = {
        **scripted.HEALTH,
        "ready": False,
        "why_not": ["x"],
        "database": {**scripted.HEALTH["database"], "state": "down"},
    }
    tell(console, running, setting_up, failed(), other, health=health, demo=True, personal_data="masked")
    page = opened(f"#call={CALL}", color_scheme=scheme)
    expect(page.locator("#transcript .tool")).to_be_visible()
    dark = luminance(page.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor")) < 0.1
    assert dark == (scheme == "dark")
    seen = page.evaluate(COLOURS)
    assert len(seen) > 60
    ratios = {}
    for name, text, ground in seen:
        lighter, darker = sorted((luminance(text), luminance(ground)), reverse=True)
        ratios[name] = (lighter + 0.05) / (darker + 0.05)
    assert {name: ratio for name, ratio in ratios.items() if ratio < AA_CONTRAST} == {}


def test_chosen_call_is_in_the_address(console: FakeConsole, opened: Callable[..., Page]) -> None:
    tell(console, scripted.call(scripted.row("c-running"), GREETING), over())
    page = opened()
    expect(page.locator("#call-title")).to_have_text("Call c-running")
    page.locator(f"#row-{CALL}").click()
    expect(page.locator("#call-title")).to_have_text(f"Call {CALL}")
    assert page.url.endswith(f"#call={CALL}")
    page.reload()
    expect(page.locator("#call-title")).to_have_text(f"Call {CALL}")
    page.go_back()
    expect(page.locator("#call-title")).to_have_text("Call c-running")
    page.goto(f"{console.url}#call=c-gone")
    tell(console, *console.calls.values())
    tell(console, *console.calls.values())
    expect(page.locator("#call-none")).to_contain_text("Nothing is known of call c-gone.")
