"""How a simulated Vapi behaves: its usual manners, and the faults a test asks for.

Defaults are what was measured on, or documented for, the real service; each knob says so. Replace the cloud's
``behaviour`` at run time to change what happens from then on (each decision reads it anew).
"""

from typing import Literal

import attrs


@attrs.frozen
class Behaviour:
    """All knobs of one cloud. Times end in their unit.

    REST
        post_delay_seconds: time ``POST /call`` takes; the call exists from its beginning.
        reject_status: answer ``POST /call`` with this status and a NestJS body; no call is made.
        html_error: answer ``POST /call`` with a gateway's HTML page and this status; no call is made.
        lose_reply: make the call, then drop the connection without an answer (there is no idempotency key).
        dial_within_seconds: a call whose socket is not dialled by then ends.
        monitor_after_seconds: ``monitor.controlUrl`` appears on ``GET /call/{id}`` only this long after the POST
            (measured: absent from the POST's reply, there "shortly after").
        over_limit: what ``POST /call`` does when no slot is free. Sources conflict: ``refused`` with a 400, or
            ``ended``: 201, and the call is over at once with a reason that says so.
        strict_parameters: refuse tool parameters outside OpenAPI's JsonSchema (no minLength, anyOf …). Whether the
            real server does is unmeasured; strict is the safe side.

    Socket, text
        envelope: ``bare`` as recorded live, or ``message`` as OpenAPI's ClientMessage wraps it.
        late_stopped_ms: the assistant's ``speech-update stopped`` comes this long after its last sample would have
            been played; negative overtakes audio that is still to come.
        late_user_stopped_ms: the caller's ``speech-update stopped`` comes this long after the caller's turn ended;
            recorded once behind the assistant's ``started`` that answers it.
        conversation_field: the name of the history in ``conversation-update``: ``conversation`` as recorded live, or
            one that OpenAPI has for it.
        hang_after_seconds: send ``hang`` when a tool call takes longer than this; None for never. The time is a guess.
        transcript_ms: the final transcript comes this long after ``stopped`` (recorded: 160 ms).
        silent_texts: types never sent although subscribed, e.g. ``{"speech-update"}``.

    Socket, audio
        streams_silence: send PCM while the assistant is quiet. Sources conflict; not sending is the harder case.
        silence_peak: the highest sample in that silence; zero and near-zero have both been seen.
        odd_chunks: some chunks have an odd number of bytes, so that a sample straddles two.
        chunk_ms: mean length of a chunk (measured 46 ms, up to 93 ms).
        chunks_on_end: chunks sent one right after the other, before a gap (measured: pairs).
        jitter_ms: each pair may be up to this much late; the mean rate stays real time.
        stop_reading: nothing is read from the socket, pings included, while set.
        stop_sending: nothing is sent on the socket while set (a peer that has vanished behind an open connection).
        send_stall_seconds: the cloud gives a call up when a send makes no progress for this long.

    Turn-taking
        endpointing_ms: silence behind the caller's speech that ends the caller's turn.
        model_ms: thinking time before the assistant acts on a turn.
        voice_seconds: caller speech that interrupts the assistant, unless the assistant's stopSpeakingPlan says so.
        filler: words spoken while tools are called, as Vapi does of its own accord without a ``request-start`` message,
            and in that message's words with one (it does not wait for them unless ``blocking``); "" for none.
        after_tools_ms: thinking time between the last answer of a turn's tools and the words that follow it
            (ours: a model needs some time).

    Tools
        shape: how a tool call is written: ``live``; ``flat-arguments`` and ``flat-parameters`` are two pages of the
            documentation; ``with-tool`` has ``toolWithToolCallList`` only; ``function-call`` is the deprecated message.
        arguments_as: an ``object`` as seen live, or a ``string`` of JSON as OpenAPI has it.
        tool_timeout_seconds: overrides the tool's own ``server.timeoutSeconds``.
        calls_together: one POST carries all calls of a turn (parallel calls of a model) instead of one POST each.
        redeliver: POST each request a second time while the first runs (same toolCallIds).
        call_id_in_body: put ``message.call.id`` in the webhook.
        call_id_in_header: send ``x-call-id`` with the webhook.
        blank_secret: send a blank ``x-vapi-secret``, as public integrations see it when no credential is attached.

    Ending
        close_before_ended: close the socket without the ``status-update ended`` (seen live: the close can come first).
        drop_after_seconds: cut the TCP connection without a close frame this long after the socket opened.
        close_code: the code of the close frame; none is documented, 1000 is what clients call orderly.
        finish_seconds: bound for sending the last messages and closing.
    """

    post_delay_seconds: float = 0.0
    reject_status: int | None = None
    html_error: int | None = None
    lose_reply: bool = False
    dial_within_seconds: float = 30.0
    monitor_after_seconds: float = 0.5
    over_limit: Literal["refused", "ended"] = "refused"
    strict_parameters: bool = True
    envelope: Literal["bare", "message"] = "bare"
    late_stopped_ms: float = 20.0
    late_user_stopped_ms: float = 0.0
    conversation_field: Literal["conversation", "messagesOpenAIFormatted"] = "conversation"
    hang_after_seconds: float | None = None
    transcript_ms: float = 160.0
    silent_texts: frozenset[str] = frozenset()
    streams_silence: bool = False
    silence_peak: int = 0
    odd_chunks: bool = True
    chunk_ms: float = 46.0
    chunks_on_end: int = 2
    jitter_ms: float = 8.0
    stop_reading: bool = False
    stop_sending: bool = False
    send_stall_seconds: float = 10.0
    endpointing_ms: float = 400.0
    model_ms: float = 300.0
    voice_seconds: float = 0.2
    filler: str = ""
    after_tools_ms: float = 600.0
    shape: Literal["live", "flat-arguments", "flat-parameters", "with-tool", "function-call"] = "live"
    arguments_as: Literal["object", "string"] = "object"
    tool_timeout_seconds: float | None = None
    calls_together: bool = False
    redeliver: bool = False
    call_id_in_body: bool = True
    call_id_in_header: bool = True
    blank_secret: bool = True
    close_before_ended: bool = False
    drop_after_seconds: float | None = None
    close_code: int = 1000
    finish_seconds: float = 2.0
