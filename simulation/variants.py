"""Ways in which Vapi has been seen, or is documented, to behave otherwise than the cloud does when nothing is said.

Each is a set of :class:`~simulation.behaviour.Behaviour` fields, by a name for the command line. None of them is a
fault: a bridge must carry the same conversations under all of them. Sources: docs/protocol.md, "Vapi's behaviours".
"""

from collections.abc import Mapping
from typing import Any, Final

VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    # Audio
    "big-chunks": {"chunk_ms": 93.0},
    "small-chunks": {"chunk_ms": 20.0, "chunks_on_end": 1},
    "single-chunks": {"chunks_on_end": 1},
    "even-chunks": {"odd_chunks": False},
    "no-jitter": {"jitter_ms": 0.0},
    "much-jitter": {"jitter_ms": 60.0},
    "silence-streamed": {"streams_silence": True},
    "silence-noisy": {"streams_silence": True, "silence_peak": 8},
    # Text
    "enveloped": {"envelope": "message"},
    "stopped-late": {"late_stopped_ms": 400.0},
    "stopped-early": {"late_stopped_ms": -200.0},
    "user-stopped-late": {"late_user_stopped_ms": 450.0},
    "history-as-documented": {"conversation_field": "messagesOpenAIFormatted"},
    "hang": {"hang_after_seconds": 0.0},
    "filler": {"filler": "hold on a second while I look that up for you"},
    "filler-then-pause": {"filler": "One moment.", "after_tools_ms": 700.0},
    # Tools
    "string-arguments": {"arguments_as": "string"},
    "flat-arguments": {"shape": "flat-arguments"},
    "flat-parameters": {"shape": "flat-parameters"},
    "with-tool-only": {"shape": "with-tool"},
    "function-call": {"shape": "function-call"},
    "calls-together": {"calls_together": True},
    "redelivered": {"redeliver": True},
    "no-blank-secret": {"blank_secret": False},
    "no-call-id": {"call_id_in_body": False, "call_id_in_header": False},
    # The end, and before the beginning
    "closes-before-ended": {"close_before_ended": True},
    "closes-without-code": {"close_before_ended": True, "close_code": 1005},
    "monitor-late": {"monitor_after_seconds": 5.0},
    "slow-create": {"post_delay_seconds": 2.0},
}
