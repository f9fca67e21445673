"""The secret a call's webhooks carry: `<call_key>.<HMAC-SHA256(WEBHOOK_KEY, call_key)>`, both in hex.

It exists before the call's id does, names the call it belongs to, and needs no store to be checked. The
header is ours, because Vapi may send a blank `X-Vapi-Secret` of its own.
"""

import hashlib
import hmac

SECRET_HEADER = "X-Voice-Secret"


def sign(webhook_key: bytes, call_key: bytes) -> str:
    return f"{call_key.hex()}.{hmac.new(webhook_key, call_key, hashlib.sha256).hexdigest()}"


def verify(webhook_key: bytes, header: str) -> bytes | None:
    """The call key, or None. The MAC is compared in constant time."""
    key_hex, _, mac = header.partition(".")
    try:
        call_key = bytes.fromhex(key_hex)
    except ValueError:
        return None
    if len(call_key) != 16 or not mac.isascii():
        return None
    expected = hmac.new(webhook_key, call_key, hashlib.sha256).hexdigest()
    return call_key if hmac.compare_digest(expected, mac) else None


def same_secret(expected: str, shown: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(expected.encode(), shown.encode())


def bearer(authorization: str) -> str:
    """The token of an Authorization header; of another scheme, none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def call_tag(call_key: bytes) -> str:
    """The call's public name: a hash of its key. Vapi's dashboard shows it, the ledger uses it."""
    return hashlib.sha256(b"call-tag:" + call_key).hexdigest()[:24]
