"""`voice demo --console` and its page in a real browser: a call comes, speaks, calls a tool, ends, and is replayed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, expect

SCENARIO: Final = """schema: 1
name: seen-on-the-console
policy: open
caller:
  - say: "Yes please, freeze it."
  - say: "okay"
  - hang_up: true
agent:
  - say: "Both cards are frozen now."
  - calls:
      - {tool: display_card_info_by_last4, arguments: {last4: "4242"}}
    say: "Done. Your card is frozen."
expect:
  tools:
    - {tool: display_card_info_by_last4, arguments: {last4: "4242"}}
  ending: caller_hung_up
"""
STOP_SECONDS: Final = 30
START_MS: Final = 20_000
CALL_MS: Final = 20_000


@contextmanager
def demo(folder: Path) -> Iterator[str]:
    """The console's URL, while the demo runs."""
    scenario = folder / "scenario.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    (folder / "audio").symlink_to(Path("scenarios/audio").resolve())
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    command = [sys.executable, "-u", "-m", "runtime.cli", "demo", "--console", "--console-port", "0"]
    with subprocess.Popen(
        [*command, "--scenario", str(scenario), "--runs", str(folder / "runs")],
        env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        told: list[str] = []
        try:
            for line in process.stdout:
                told.append(line)
                if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                    yield found.group()
                    break
            else:
                pytest.fail(f"no console: {''.join(told)}")
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=STOP_SECONDS)
            finally:
                process.kill()


def test_demo_call_appears_speaks_calls_a_tool_ends_and_is_replayed(browser: Browser, tmp_path: Path) -> None:
    complaints: list[str] = []
    with demo(tmp_path) as url:
        page = browser.new_page()
        page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        running = page.locator("#now .row")
        expect(running.locator(".state")).to_have_text("live", timeout=START_MS)
        expect(running.locator('.voice.agent[data-speaks="yes"]')).to_be_visible(timeout=CALL_MS)
        expect(running.locator('.voice.caller[data-speaks="yes"]')).to_be_visible(timeout=CALL_MS)
        expect(page.locator("#tree")).to_contain_text("SilencePadder")
        tool = page.locator("#transcript .tool")
        expect(tool).to_contain_text(re.compile(r"display_card_info_by_last4.*answered after \d+ ms"), timeout=CALL_MS)
        expect(page.locator("#transcript .caller").first).to_contain_text("Yes please, freeze it.")

        expect(page.locator("#past .row")).to_contain_text("The caller ended the call.", timeout=CALL_MS)
        expect(page.locator("#verdict")).to_have_attribute("data-verdict", "good")
        expect(page.locator("#health")).to_contain_text("1 reported")
        play = page.get_by_role("button", name="Play")
        expect(play).to_be_enabled(timeout=CALL_MS)
        play.click()
        expect(page.locator("#play-time")).to_have_text(re.compile(r"0:0[0-9]\.[1-9] of 0:\d\d\.\d"))
        page.keyboard.press("Space")

        expect(page.get_by_role("button", name="Hold a demo call")).to_be_visible()
        page.get_by_role("button", name="Hold a demo call").click()
        expect(running).to_have_count(1, timeout=CALL_MS)
        page.context.close()
    assert complaints == []
