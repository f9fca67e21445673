"""Every number of the runtime, with its unit in its name and its reason beside it.

This module imports nothing, so every room may import it. The unit is the last word of a name.
"""

from typing import Final

# --- Audio: PCM16, 24 kHz, mono, both ways (the voice_ws contract; Vapi is asked for the same).
SAMPLE_RATE_HZ: Final = 24_000
SAMPLE_BYTES: Final = 2
AUDIO_BYTES_PER_SECOND: Final = SAMPLE_RATE_HZ * SAMPLE_BYTES
FRAME_SECONDS: Final = 0.020  # what voice_ws callers send, and what `paced` emits
FRAME_BYTES: Final = 960

CALLER_AUDIO_SECONDS: Final = 0.5  # more would be heard as delay; when full, the reader stops reading
AGENT_AUDIO_SECONDS: Final = 10.0  # Vapi may run ahead of the caller; when full, the reads from Vapi stop

# --- The tail that follows each stretch of speech.
TAIL_SECONDS: Final = 1.7  # the caller's detector needs about 1.5 s of silence; 0.2 s of margin
TAIL_PIECE_BYTES: Final = 9_600  # 0.2 s: speech that comes meanwhile waits for no more; each message costs
TAIL_SETTLE_SECONDS: Final = 0.060  # a chunk that Vapi sent before `stopped` may arrive this much after it
TAIL_OVERDUE_SECONDS: Final = 2.0  # no `stopped` came: pay all the same, and count it
TAIL_AFTER_TOOL_SECONDS: Final = 4.0  # a model thinks for 0.5 to 3 s about an answer; a caller gives up after 20 s
TAIL_FILLER_SECONDS: Final = 0.5  # from a tool call to its filler's `started`; no model speaks of an answer so soon
AUDIBLE_PEAK: Final = 100  # of 32,767, about -50 dBFS: above comfort noise and dither, below any speech

# --- The uplink.
UPLINK_SILENT_SECONDS: Final = 0.200  # a caller quiet on the wire this long gets zero frames sent for him
UPLINK_STALL_SECONDS: Final = 2.0  # Vapi takes no byte for this long: the call is over
DOWNLINK_STALL_SECONDS: Final = 8.0  # a caller's network may pause; longer than this he has gone

# --- Whether the peer still lives. A peer that vanished is gone within 4 + 5 + 0.5 s (CLOSE_SECONDS).
PING_SECONDS: Final = 4.0  # a ping that often on each leg
PONG_SECONDS: Final = 5.0  # of listening, without the pong: a network may pause, but we want to know within 10 s
PONG_LOOK_SECONDS: Final = 0.1  # between two looks at how long we have listened
# A send this long found no room at once, and the peer then made some; below a frame, since a peer that reads as it
# plays makes room frame by frame. Our own loop may be as slow: a vanished peer is then found when no more fits.
SEND_WAITED_SECONDS: Final = 0.010

# --- The switchboard.
SWITCHBOARD_LOOKS: Final = 8  # in a row at who is ready, before other tasks have their turn

# --- Setting up and tearing down.
CALL_MOST_SECONDS: Final = 1_800  # Vapi is asked to end a call then; nobody speaks with a bank for longer
SETUP_SECONDS: Final = 20.0  # from POST /call to Vapi's open socket; before it come the tunnel and the queue for a slot
VOICE_SPARE_CONNECTIONS: Final = 64  # beyond MAX_CALLS: those that are refused, or have not said yet what they want
VOICE_BACKLOG_CONNECTIONS: Final = 4_096  # of a port that processes share; the system's own limit may be lower
VOICE_LEAVE_SECONDS: Final = 0.1  # to accept who has connected to a port that is shared, before a drain leaves it
VOICE_LEAVE_POLL_SECONDS: Final = 0.001  # between two looks whether somebody still waits there
HANDSHAKE_SECONDS: Final = 5.0  # one WebSocket or TLS handshake, on either leg
VAPI_CREATE_SECONDS: Final = 15.0  # POST /call; within SETUP_SECONDS, with room left to dial
VAPI_REST_SECONDS: Final = 5.0  # any other request to Vapi's API
ORPHAN_SECONDS: Final = 10.0  # a call nobody waits for is ended within this time of the reply
LOST_REPLY_SECONDS: Final = 30.0  # how long a call whose reply was lost is searched for
CONTROL_POLL_SECONDS: Final = 1.0  # Vapi shows a call's controlUrl only some time after it was made
LOST_REPLY_POLL_SECONDS: Final = 2.0  # between two looks
PLAYOUT_SECONDS: Final = 10.0  # Vapi has ended: to write out what is queued; as much as agent_audio holds
LAST_WORDS_SECONDS: Final = 3.0  # then for the caller to take what the socket's buffer holds: 1.4 s of audio
CLOSE_SECONDS: Final = 0.5  # a close handshake; then the socket is closed by force
CHILD_START_SECONDS: Final = 5.0  # an actor that is not ready by then has failed
CHILD_STOP_SECONDS: Final = 1.0  # an actor that has not stopped by then is reported
DRAIN_SECONDS: Final = 30.0  # after SIGTERM, running calls may go on for this long, if no setting says otherwise
HYPERCORN_STOP_SECONDS: Final = 6.0  # its own connections get 3 s of grace, and should be gone then
MAX_CALLS: Final = 200  # one core carried 300 with p99 below 20 ms (bench/README.md); the rest is for tools

VAPI_SLOTS: Final = 10  # calls at once that a new Vapi account has
VAPI_SLOT_SECONDS: Final = 15.0  # in the queue for one; the caller hears silence meanwhile
VAPI_SLOT_RETRY_SECONDS: Final = 2.0  # Vapi itself had none: others use the account too
SETUPS_PER_SECOND: Final = 50  # one costs 6 ms of CPU: a third of a core, the rest is for the calls that run
LONGEST_CALL_SECONDS: Final = (  # of a call whose way in is fixed; a drain that is as long ends none
    (2 * VAPI_SLOT_SECONDS + SETUP_SECONDS)  # our queue for a slot, Vapi's own, and the set-up
    + CALL_MOST_SECONDS
    + (PLAYOUT_SECONDS + LAST_WORDS_SECONDS + 2 * CLOSE_SECONDS)
)

# --- What the other pods on the same database are told.
REGISTER_CALLS: Final = 1_000  # with news that the database has not taken yet; then the oldest news is lost
REGISTER_RETRY_SECONDS: Final = 1.0
REGISTER_FLUSH_SECONDS: Final = 2.0  # at the end

# --- The tunnel to the webhook door.
TUNNEL_ATTEMPTS: Final = 6  # rides out a session that its owner's death has left behind, about a minute
TUNNEL_READY_SECONDS: Final = 20.0  # one start; an agent that hangs never says so
TUNNEL_SECONDS: Final = 120.0  # all of it, as a call sees it
TUNNEL_RETRY_SECONDS: Final = 0.5  # before the second start, doubled for each, with full jitter ...
TUNNEL_RETRY_MOST_SECONDS: Final = 15.0  # ... up to this
TUNNEL_STOP_SECONDS: Final = 5.0  # after SIGTERM; then SIGKILL
TUNNEL_PROBE_SECONDS: Final = 5.0  # one fetch of our own /healthz
TUNNEL_RATE_LIMITED_SECONDS: Final = 60.0  # at least, and up to half as much again: Cloudflare counts per address
TUNNEL_STEADY_SECONDS: Final = 10.0  # an agent that was ready for this long is restarted at once, and counts as new
TUNNEL_KILL_SECONDS: Final = 1.0  # after SIGKILL, for the process to be gone
TUNNEL_EOF_SECONDS: Final = 0.5  # the agent has ended: for its last lines, which somebody else may hold open
TUNNEL_READY_POLL_SECONDS: Final = 0.25  # between two looks at an agent's /ready until it is ...
TUNNEL_WATCH_SECONDS: Final = 5.0  # ... and from then on
TUNNEL_TURN_POLL_SECONDS: Final = 0.2  # between two looks at the queue for a shared account
TUNNEL_GATE_POLL_SECONDS: Final = 0.01  # for the queue's own lock, which nobody holds for longer than a few files
TUNNEL_READ_BYTES: Final = 8 * 1024  # of an agent's output at once: a flood must not hold up the calls
TUNNEL_LINES: Final = 60  # of an agent's output, kept to explain its end
TUNNEL_LINE_BYTES: Final = 64 * 1024  # the rest of a longer line is dropped
TUNNEL_END_SECONDS: Final = TUNNEL_STOP_SECONDS + TUNNEL_KILL_SECONDS + TUNNEL_EOF_SECONDS + 1  # the whole way out

UNKNOWN_TYPES: Final = 20  # of Vapi's messages in one call, that are told of by name

# --- The webhook. The deadlines nest: tool 15 < answer 17 < Vapi 20 < gateway 25.
TOOL_SECONDS: Final = 15.0
POST_SECONDS: Final = 17.0
VAPI_TOOL_TIMEOUT_SECONDS: Final = 20
CALL_ID_WAIT_SECONDS: Final = 1.0  # a tool call may overtake the reply to POST /call
CALL_POLL_SECONDS: Final = 0.1  # between two looks whether another pod has told of its call
TOOL_QUEUE_ITEMS: Final = 16
VERIFY_TRIES: Final = 5  # that may fail in one call; then it is refused whatever the caller says
BODY_BYTES: Final = 2 * 1024 * 1024  # a webhook body carries the conversation so far
BODY_SECONDS: Final = 10.0  # to receive it whole
WEBHOOK_CONNECTIONS: Final = 512  # at once; the rest wait in the kernel's backlog
HTTP_HEAD_BYTES: Final = 16 * 1024  # of an unfinished head; one that comes in one piece may have 64 KiB
HTTP_HEAD_SECONDS: Final = 5.0  # from the connect until the first request's head is whole
SMALL_BODY_BYTES: Final = 64 * 1024
LARGE_BODIES: Final = 32  # received at once: 64 MiB
WEBHOOK_READS_PER_TURN: Final = 8  # of the event loop: 2 ms of it; then the calls have their turn
TOOL_CALLS_BYTES: Final = 64 * 1024  # of a body's 2 MiB, what is read into objects: 3 ms of the event loop
TOOL_CALLS_ITEMS: Final = 32  # in one POST; a model asks for a handful
HTTP_IDLE_SECONDS: Final = 30.0  # a keep-alive connection without a request
HTTP_SEND_SECONDS: Final = 10.0  # a peer that does not read its answer
RESTARTS: Final = 3  # of one restartable actor ...
RESTART_PERIOD_SECONDS: Final = 60.0  # ... within this time; then its call ends

# --- The gateway in front of a fleet of pods.
GATEWAY_READ_SECONDS: Final = 25  # the outermost of the nested deadlines: Vapi has given up before
GATEWAY_CONNECT_SECONDS: Final = 1  # a pod on the same network or host; one that is gone must be known at once
GATEWAY_REQUESTS_PER_SECOND: Final = 50  # for one pod; 200 calls with a tool every 5 s are 40
GATEWAY_BURST_REQUESTS: Final = 100  # above it, before anybody hears 429
GATEWAY_CONNECTIONS: Final = 512  # HAProxy's; it holds whole bodies, and each may be BODY_BYTES long
GATEWAY_REGISTER_SECONDS: Final = 10.0  # HAProxy's map is lost when it restarts, and whole again after this
GATEWAY_COMMAND_SECONDS: Final = 1.0  # one command to HAProxy on this machine, from dialling to its reply
GATEWAY_REPLY_BYTES: Final = 4_096  # of a reply; the rest is not read
GATEWAY_CALLS: Final = 10_000  # registered by one process at once; more are counted instead

# --- Several pods on one machine (`voice pods`).
PODS_MOST: Final = 64
PODS_EMBEDDED_MOST: Final = 8  # with one more while they are replaced: 90 of the embedded server's 100 connections
POD_START_SECONDS: Final = 60.0  # nginx too; Python alone takes one on an idle machine, and many start at once
POD_READ_BYTES: Final = 8 * 1024  # of what a pod prints, at once
PODS_RESTART_POLL_SECONDS: Final = 1.0  # RESTARTS are used up: between two looks whether one more is earned
GATEWAY_START_SECONDS: Final = 10.0  # for nginx to listen
GATEWAY_POLL_SECONDS: Final = 0.02  # between two looks whether it does
PODS_KILL_SECONDS: Final = 5.0  # after SIGKILL, for a process to be gone

# --- The garbage collector stops all calls while it works, 1 ms for some 1,000 objects (runtime/garbage.py).
GC_THRESHOLDS: Final = (700, 2, 3)  # 4,200 objects in a collection of what is not frozen
GC_FROZEN_COUNT: Final = 10_000_000  # were frozen, of which most are gone again: time to count them
GC_MOST_FROZEN: Final = 1_000_000  # more than a hundred calls have; then all is walked through, once

# --- Watching: the console, the metrics, the pulse.
LEVEL_EVERY_BYTES: Final = 25 * FRAME_BYTES  # half a second between two looks at how loud a voice is
LEVEL_FRESH_SECONDS: Final = 1.0  # older, a level says nothing about now
LEVELS_KEPT: Final = 4_000  # of one voice: 33 minutes of it, 20 KB
STORY_EVENTS: Final = 1_000  # of one call, kept to be looked at; a talkative call has some hundred
STORY_EVENT_BYTES: Final = 4_096  # of one event; the texts of a longer one are left out
AUDIT_CHARACTERS: Final = 100  # of one value in the line of a tool call
STORY_BYTES: Final = 512 * 1024  # of one call's events
HISTORY_CALLS: Final = 50  # that are over, kept to be looked at
CONSOLE_CONNECTIONS: Final = 64
CONSOLE_STREAMS: Final = 8  # pages that are open at once; each costs 3 ms of each second for 200 calls
CONSOLE_EVENTS: Final = 200  # of one call, in one piece: a page that opens in a long call gets it in several
CONSOLE_EVERY_SECONDS: Final = 0.5  # between two states that a page is sent
CONSOLE_CALLS: Final = 100  # in one state
READY_PING_SECONDS: Final = 2.0  # for the database to answer, when somebody asks whether this process is ready ...
READY_KEPT_SECONDS: Final = 2.0  # ... and how long its answer stands: many may ask
PULSE_SECONDS: Final = 0.1  # between two looks at how late the event loop is
PULSE_WINDOW_SECONDS: Final = 60.0  # the worst of which is shown
SWITCHBOARD_TIMED_WAKES: Final = 25  # one in so many is timed

# --- Sizes.
HEAD_BYTES: Final = 64 * 1024  # of a handshake; the library refuses one long before
CALLER_MESSAGE_BYTES: Final = 64 * 1024  # one audio frame; json mode carries it as base64
CALLER_TEXT_BYTES: Final = 96 * 1024  # 64 KiB as base64, with its wrapping
VAPI_MESSAGE_BYTES: Final = 16 * 1024 * 1024  # a conversation-update grows with the call
SOCKET_SEND_BUFFER_BYTES: Final = 64 * 1024  # the kernel would hold seconds of audio otherwise
TCP_USER_TIMEOUT_MS: Final = 8_000  # unacknowledged data for this long: the peer is gone
VAPI_ERROR_BODY_BYTES: Final = 300  # how much of a foreign error body is quoted

# --- Recordings. Both voices of a call are 96 kB a second, spooled as they come and decoded after the call.
RECORD_FLUSH_SECONDS: Final = 1.0  # between two writes to disk; what a killed process loses
RECORD_UNWRITTEN_BYTES: Final = 64 * 1024 * 1024  # of all calls: 3 s of 200 calls; then the disk is too slow for them
RECORD_FREE_BYTES: Final = 512 * 1024 * 1024  # of the disk, left to others: the database may be on it
RECORD_MOST_BYTES: Final = 200 * 1024 * 1024  # one spool; CALL_MOST_SECONDS have 173 MB of audio
RECORD_MOST_SECONDS: Final = 7_200  # no call lasts so long: a spool that says so is damaged
RECORD_WRITE_MESSAGES: Final = 64  # in one write: some 60 kB, and 4 MiB of the longest
RECORD_STICK_SECONDS: Final = 0.060  # a message this late is jitter of the network, and no pause of its speaker
RECORD_WINDOW_SECONDS: Final = 1.0  # decoded in one go, 0.65 ms of CPU for which the event loop may have to wait ...
RECORD_BREATH_SECONDS: Final = 0.003  # ... before that thread sleeps: 270 s of audio a second, more than 200 calls make
RECORD_STOP_SECONDS: Final = 10.0  # at shutdown, to decode; what is left is decoded by the next process
RECORD_LEFT_BEHIND_SECONDS: Final = 60.0  # a spool that nobody has written to for so long, nor holds, was left behind
RECORD_SWEEP_SECONDS: Final = 60.0  # between two looks at what was left behind, or is too old
RECORDINGS_WAITING: Final = 200  # calls to be decoded; while so many wait, new calls are not recorded
RECORDINGS_KEPT: Final = 200  # the newest ...
RECORDINGS_BYTES: Final = 4 * 1024 * 1024 * 1024  # ... up to so much: 200 calls of 3.7 minutes ...
RECORDING_HOURS: Final = 24 * 7  # ... and none that is older
WAVEFORM_STEP_SECONDS: Final = 0.05  # of the picture of a recording, or longer, so that it has no more than ...
WAVEFORM_STEPS: Final = 4_000  # ... these: a screen is not wider

# --- The engine.
MASKED_TEXT_CHARACTERS: Final = 1_000  # of what was said; the rest is cut off
MASKED_WORDS: Final = 500  # of one call, that are not to be shown
MASKED_LEVELS: Final = 20  # of nested JSON
REPORTS_ITEMS: Final = 1_000
REPORT_SECONDS: Final = 2.0  # one POST; the engine is on the same network
REPORT_FLUSH_SECONDS: Final = 5.0  # at shutdown, for what is still queued

# --- The database.
LEDGER_PURGE_EVERY_SECONDS: Final = 600.0
DATABASE_START_SECONDS: Final = 10.0  # to read or make the webhook key at start

# PostgreSQL through asyncpg on trio-asyncio.
DATABASE_POOL_CONNECTIONS: Final = 10  # tools of one process at once; a server takes 100 by default, from everybody
DATABASE_QUERY_SECONDS: Final = 5.0  # for anything but a tool: one small statement, and the time to connect
DATABASE_RUN_SECONDS: Final = 14  # one tool's transaction; its caller gives up at 15 s and should hear a reason before
DATABASE_ATTEMPTS: Final = 4  # of a transaction that collides; each makes the next collision less likely
DATABASE_RETRY_SECONDS: Final = 0.05  # before the second attempt, and as much more before each further one
DATABASE_LOCK_MILLISECONDS: Final = 10_000  # a row lock held for longer is stuck; below RUN_SECONDS, to say why
DATABASE_IDLE_IN_TRANSACTION_MILLISECONDS: Final = 30_000  # if this process is frozen, the server takes its locks back
DATABASE_CLOSE_SECONDS: Final = 3  # to say goodbye to the server; then the sockets are closed
DATABASE_ACQUIRE_SECONDS: Final = 4  # to find a free connection or make one; a tool call has 15 s in all
DATABASE_RELEASE_SECONDS: Final = 2.0  # to clean a connection for its next user; then it is thrown away
DATABASE_ROLLBACK_SECONDS: Final = 2  # a server that does not roll back by then will, once its connection is closed
DATABASE_COMMIT_SECONDS: Final = 5  # no longer: past this the outcome is looked up on another connection
DATABASE_LOOP_CLOSE_SECONDS: Final = 2  # nothing runs on the loop by then: its pool was closed or terminated before
LEDGER_HOURS: Final = 24  # no call lasts longer, and no POST is delivered later

# --- The embedded server.
SERVER_INITDB_SECONDS: Final = 60  # 0.6 s on an idle machine; a container on a busy one was seen to take ten times that
SERVER_START_SECONDS: Final = 30  # recovery after a crash included
SERVER_STOP_SECONDS: Final = 5  # a fast shutdown; then the server is stopped without its leave
SERVER_KILL_SECONDS: Final = 1  # for a process to go that was told to at once
SERVER_WATCHDOG_SECONDS: Final = 3  # to remove the folder
SERVER_END_SECONDS: Final = (
    SERVER_STOP_SECONDS
    + 2 * SERVER_KILL_SECONDS  # SIGQUIT, SIGKILL
    + (SERVER_WATCHDOG_SECONDS + SERVER_KILL_SECONDS)  # the watchdog, and to kill it
    + SERVER_WATCHDOG_SECONDS  # to remove the folder without it
    + 1  # so that the steps' own limits come first
)
SERVER_LOCK_SECONDS: Final = 5  # for a killed predecessor's server to stop; its watchdog needs 3 s at most
SERVER_POLL_SECONDS: Final = 0.02  # between two looks at a file that another process writes
SERVER_SOCKET_PATH_BYTES: Final = 103  # what macOS allows; Linux has 107

# --- The end of a call, step by step: what it takes when each step needs all of its time.
# A tool that is stopped leaves a savepoint, its transaction and its connection behind in order; all that is shielded.
DATABASE_HAND_BACK_SECONDS: Final = DATABASE_RELEASE_SECONDS + 1  # the limit round the release, which has its own
TOOL_STOP_SECONDS: Final = (
    DATABASE_COMMIT_SECONDS + DATABASE_ROLLBACK_SECONDS + DATABASE_HAND_BACK_SECONDS + CHILD_STOP_SECONDS
)
CALLS_END_SECONDS: Final = (
    4 * CHILD_STOP_SECONDS  # reader, writer, padder, watcher
    + TOOL_STOP_SECONDS  # the dispatcher
    + (3 * CLOSE_SECONDS + CLOSE_SECONDS)  # goodbye to Vapi, then its socket by force
    + (LAST_WORDS_SECONDS + 2 * CLOSE_SECONDS)  # the caller's socket
)  # 21 s; all calls end at once
PROCESS_END_SECONDS: Final = (  # after the drain, at the most; a process without calls and news needs none of it
    CALLS_END_SECONDS
    + TUNNEL_END_SECONDS
    + (ORPHAN_SECONDS + LOST_REPLY_SECONDS)  # every call at Vapi is ended
    + (REGISTER_FLUSH_SECONDS + REPORT_FLUSH_SECONDS + RECORD_STOP_SECONDS)
    + (DATABASE_CLOSE_SECONDS + SERVER_END_SECONDS)
    + 10 * CHILD_STOP_SECONDS  # the other actors of the process
)
