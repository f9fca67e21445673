"""The page that is mailed: whole by itself, true to the verdict, and safe whatever was said in a call."""

import wave
from html.parser import HTMLParser
from pathlib import Path

import attrs
import pytest
from PIL import Image
from verdicts import FAILED, HOSTILE_VERDICT, PASSED, UNCHECKED, UNHELD

from sandbox.html_report import MEDIA_BYTES, html_page, write_html
from sandbox.verdict import Verdict


@attrs.define
class Page(HTMLParser):
    """A page as a browser takes it apart. Mutable: `tags`, each with its attributes, and `texts`."""

    tags: list[tuple[str, dict[str, str | None]]] = attrs.field(factory=list)
    texts: list[str] = attrs.field(factory=list)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def parsed(html: str) -> Page:
    page = Page()
    page.feed(html)
    return page


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A folder with a picture and half a second of a call."""
    Image.new("RGB", (40, 20), "white").save(tmp_path / "timeline.png")
    with wave.open(str(tmp_path / "call.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(b"\x00\x10\x00\xf0" * 12_000)
    return tmp_path


def test_page_shows_failures_first_and_open_with_all_that_was_done(recorded: Path, tmp_path: Path) -> None:
    here = attrs.evolve(FAILED, folder=recorded)
    write_html(tmp_path / "r.html", Verdict((PASSED, here, UNHELD, UNCHECKED), "our agent", 41.2))
    page = parsed((tmp_path / "r.html").read_text())
    folds = [fold for fold in page.of("details") if "conversation" in (fold["class"] or "")]
    assert ["open" in fold for fold in folds] == [True, True, True, False]
    (order,) = [[entry for entry in page.texts if entry in ("freeze-card", "barge-in", "unheld", "unchecked")]]
    assert order == ["barge-in", "unheld", "unchecked", "freeze-card"] * 2  # in the table, then one by one
    for words in (
        "3 of 4 conversations failed", "freeze_card", '{"status": "frozen"}', '"2026-11-23"',
        "2 \N{MULTIPLICATION SIGN} no ear", "error: there is no such tool",
        "answered with an error", "612 (instrument 2.1 ms late)", "the agent did not start: port taken",
        "nothing could be checked", "700, 900, 2000 ms", "There is no call.wav: nothing was recorded.",
    ):  # fmt: skip
        assert words in page.text, words
    (image,), (audio,) = page.of("img"), page.of("audio")
    assert (image["width"], image["height"]) == ("40", "20")
    assert "Timeline of barge-in" in (image["alt"] or "")
    assert (image["src"] or "").startswith("data:image/png;base64,")
    assert (audio["src"] or "").startswith("data:audio/mpeg;base64,")
    assert (page.of("html")[0]["lang"], len(page.of("h1"))) == ("en", 1)
    assert all("scope" in head for head in page.of("th"))


def test_page_has_no_markup_of_what_was_said_and_nothing_from_outside(recorded: Path) -> None:
    clean = parsed(html_page(Verdict((FAILED, UNHELD), "x", 1.0)))
    page = parsed(html_page(HOSTILE_VERDICT))
    assert {name for name, _ in page.tags} <= {name for name, _ in clean.tags}
    assert not {"script", "iframe", "object", "link", "base", "form"} & {name for name, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    with_media = parsed(html_page(Verdict((attrs.evolve(FAILED, folder=recorded),), "x", 1.0)))
    for _, attributes in (*page.tags, *with_media.tags):
        assert all((attributes.get(name) or "#").startswith(("data:", "#")) for name in ("src", "href"))
    assert "</p><script>alert(1)</script><img src=x onerror=y>'\"&{{ 7*7 }}[red]r[/red]\ufffd[2J" in page.text
    assert not any(letter in page.text for letter in "\x1b\x00\u202e\ud800")
    (policy,) = [meta["content"] for meta in page.of("meta") if "http-equiv" in meta]
    assert (policy or "").startswith("default-src 'none'")


def test_page_says_which_artifacts_are_missing_or_damaged(tmp_path: Path, recorded: Path) -> None:
    gone = tmp_path / "gone"
    cut, other, broken = (tmp_path / name for name in ("cut", "other", "broken"))
    for name in ("timeline.png", "call.wav"):
        whole = (recorded / name).read_bytes()
        for folder, content in ((cut, whole[:30]), (other, b"something else"), (broken, whole[:33] + b"\xff" * 40)):
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
    page = parsed(
        html_page(Verdict(tuple(attrs.evolve(PASSED, folder=at) for at in (gone, cut, other, broken)), "x", 1.0))
    )
    for name in ("timeline.png", "call.wav"):
        assert f"{name} is missing from {gone}." in page.text
        for folder in (cut, other, broken):
            assert f"{name} in {folder} cannot be read: it is damaged." in page.text
    assert page.of("img") == page.of("audio") == []


def test_page_leaves_out_what_would_make_it_too_large_to_mail_and_keeps_the_failures(recorded: Path) -> None:
    passed, failed = attrs.evolve(PASSED, folder=recorded), attrs.evolve(FAILED, folder=recorded)
    whole = html_page(Verdict((passed, failed), "x", 1.0), MEDIA_BYTES)
    media = sum(len(tag["src"] or "") for name in ("img", "audio") for tag in parsed(whole).of(name))
    assert media < 2 * (0.5 * 48_000 / 8 * 4 / 3 + 2_000)  # half a second at 48 kbit/s, and two small pictures
    page = parsed(html_page(Verdict((passed, failed), "x", 1.0), media - 100))
    assert len(page.of("audio")) == 1
    assert f"call.wav is left out to keep this page small enough to mail; it lies in {recorded}." in page.text
    assert (page.of("audio")[0]["aria-label"]) == "Recording of barge-in"
