"""The limits of the hub and its connections, in seconds and bytes."""

from __future__ import annotations

from typing import Final

PING_SECONDS: Final = 25  # without a frame, before a ping; sent in hello
RETRY_MILLISECONDS: Final = 2000  # the smallest window for the first attempt after 1012; sent in hello
RECONNECTS_PER_SECOND: Final = 500  # what a process can take; more connections widen that window

HANDSHAKE_SECONDS: Final = 5  # from the request to the upgrade, or to the first frame
HANDSHAKES_AT_ONCE: Final = 64  # in progress in one process; others wait, the oldest first
ADMISSION_SECONDS: Final = 8.0  # the longest wait, and a second; a client gives up after 10
ADMISSIONS_WAITING: Final = 10_000  # handshakes that wait in one process, at most
ANONYMOUS_STREAMS: Final = 4  # that all anonymous readers may follow, for each connection that they may have
RETURN_SECONDS: Final = 120.0  # the longest time after which a refused client is told to come back

PROTOCOL_PING_SECONDS: Final = 60  # between WebSocket pings to a silent client
PONG_SECONDS: Final = 30  # a client that answers none for this time is gone
UNACKNOWLEDGED_SECONDS: Final = 60  # so is one whose machine acknowledges nothing

CLOSES_SECONDS: Final = 2.0  # the least over which a stopping process spreads its closes

HELLO_SECONDS: Final = 2.5  # of the 3 that PROTOCOL allows for the first frame
STALL_SECONDS: Final = 2.0  # a longer database call is abandoned, with its thread and connection
POLL_SECONDS: Final = 1.0
HINT_SECONDS: Final = 0.005  # the least between the beginnings of two polls, however many hints arrive
DATA_VERSION_SECONDS: Final = 0.03  # between two looks at an SQLite file
POOLER_SECONDS: Final = 60.0  # between two tries to listen through a pooler that drops notifications
COMPARE_SECONDS: Final = 15.0  # between comparisons of all heads, a safety net
LAYER_SECONDS: Final = 5.0  # for one call to the channel layer
LOOPBACK_SECONDS: Final = 5.0  # between two loop-backs
LOOPBACK_TIMEOUT_SECONDS: Final = 3.0
PROOFS: Final = 3  # in a row that only this process's layer is dead; then the process exits
HEALTHY_SECONDS: Final = 15.0  # the greatest age of the last loop-back
AUDIT_SECONDS: Final = 2.0  # between two checks of all sessions
JUDGE_SECONDS: Final = 50.0  # between two checks of a person's rights without a hint

BURST_SECONDS: Final = 0.002  # after a write, updates are collected for this time and written at once
BURST_BYTES: Final = 32 * 1024  # collected for one stream, at most

REORDER_SECONDS: Final = 0.01  # by which wake-ups may be out of order without a query
REPLAY_UPDATES: Final = 100  # read at once for one client
REFILL_UPDATES: Final = 500  # read at once for all

LOOP_STUCK_SECONDS: Final = 30  # an event loop that is stuck for this time ends the process

UNSENT_BYTES: Final = 256 * 1024  # with more, a connection has fallen behind and gets no live updates
PACE_BYTES: Final = 64 * 1024  # with no more than this, missed updates are written to it
STUCK_SECONDS: Final = 5.0  # a client that receives none of its unsent bytes for this time: 4008
BEHIND_SECONDS: Final = 30.0  # a client that does not catch up in this time: 4008
WINDOW_BYTES: Final = 64 * 1024  # of recent frames in memory, for one stream
WINDOWS_BYTES: Final = 32 * 1024 * 1024  # the same, for all streams together
OUT_OF_ORDER_FRAMES: Final = 1000  # kept for one stream while earlier ones are read
SIGHTINGS: Final = 10_000  # streams without subscribers whose latest offset is remembered
IDLE_SECONDS: Final = 60.0  # for which a stream is followed after its last subscriber left
IDLE_STREAMS: Final = 20_000  # followed without a subscriber, at most
BAD_FRAMES: Final = 5  # the fifth closes with 4000
PONGS_PER_SECOND: Final = 30  # to one client; more are delayed
PONGS_OWED: Final = 1000  # delayed pongs; further pings are bad frames
MESSAGE_BYTES: Final = 64 * 1024  # in one message of a client


def retry_milliseconds(connections: int) -> int:
    """The window in which this number of clients should reconnect after a restart."""
    return max(RETRY_MILLISECONDS, connections * 1000 // RECONNECTS_PER_SECOND)
