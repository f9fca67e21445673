"""runtime/webhook_secret.py: the header a call's webhooks carry."""

import hypothesis
import pytest
from hypothesis import strategies as st

from runtime.webhook_secret import sign, verify

KEY, CALL_KEY = b"k" * 32, bytes(range(16))


@hypothesis.given(st.binary(min_size=1, max_size=64), st.binary(min_size=16, max_size=16))
def test_secret_names_its_call_when_the_key_is_the_same(key: bytes, call_key: bytes) -> None:
    assert verify(key, sign(key, call_key)) == call_key
    assert verify(key + b"x", sign(key, call_key)) is None


def test_secret_is_a_plain_header_value() -> None:
    header = sign(KEY, CALL_KEY)
    assert header.isascii()
    assert header.isprintable()
    assert len(header) == 32 + 1 + 64


@hypothesis.given(st.integers(0, 96), st.sampled_from("0123456789abcdef."))
def test_secret_is_refused_when_any_character_is_changed(position: int, character: str) -> None:
    header = sign(KEY, CALL_KEY)
    changed = header[:position] + character + header[position + 1 :]
    assert verify(KEY, changed) == (CALL_KEY if changed == header else None)


@pytest.mark.parametrize(
    "header",
    [
        "", ".", "x", "é", f"{CALL_KEY.hex()}", f"{CALL_KEY.hex()}.", f".{sign(KEY, b'')[1:]}", "00" * 16 + ".é",
        sign(KEY, b""), sign(KEY, CALL_KEY[:15]), sign(KEY, CALL_KEY + b"x"), sign(KEY, CALL_KEY) + "0",
        sign(KEY, CALL_KEY) + ".", " " + sign(KEY, CALL_KEY)[::-1],
    ],
)  # fmt: skip
def test_secret_is_refused_when_it_is_malformed(header: str) -> None:
    assert verify(KEY, header) is None


@hypothesis.given(st.text(max_size=120))
def test_verification_raises_nothing_when_given_any_text(header: str) -> None:
    assert verify(KEY, header) is None
