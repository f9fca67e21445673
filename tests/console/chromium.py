"""Debian's Chromium, driven by Playwright."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright


@contextmanager
def open_browser(path: str) -> Iterator[Browser]:
    """`path`: the program. Needs a thread of its own, or one in which no loop runs."""
    # trio-asyncio, which the database brings, makes every new loop one of its own: Playwright needs asyncio's.
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            yield browser
            browser.close()
    finally:
        asyncio.set_event_loop_policy(None)
