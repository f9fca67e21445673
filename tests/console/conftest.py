"""A browser, a console of a script, and its page."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console import scripted
from tests.console.chromium import open_browser
from tests.console.fake_console import FakeConsole, open_console
from tests.programs import need

WAIT_MS: Final = 5_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser(need("chromium", "chromium")) as one:
        yield one


@pytest.fixture
def console() -> Iterator[FakeConsole]:
    with open_console(scripted.state()) as one:
        yield one


@pytest.fixture
def opened(browser: Browser, console: FakeConsole) -> Iterator[Callable[..., Page]]:
    """`opened(hash, **context)`: the page. Whatever the browser complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(fragment: str = "", **context: Any) -> Page:
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{console.url}{fragment}")
        expect(page.locator("#connection")).to_have_text("connected")
        return page

    yield open_page
    for context in contexts:
        context.close()
    broken = "Failed to load resource" if console.refuses or "503" in str(complaints) else None
    assert [text for text in complaints if broken is None or broken not in text] == []
