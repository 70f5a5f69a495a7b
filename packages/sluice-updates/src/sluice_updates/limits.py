"""The bounds of the hub and its connections, in seconds and bytes."""

from __future__ import annotations

from typing import Final

PING_SECONDS: Final = 25  # without a frame; said in hello
RETRY_MILLISECONDS: Final = 2000  # the least window for the first attempt after 1012; said in hello
RECONNECTS_PER_SECOND: Final = (
    500  # what a process takes in its stride; widens that window for many connections
)

PROTOCOL_PING_SECONDS: Final = 20  # between WebSocket pings to a silent client
PONG_SECONDS: Final = 30  # a client that answers none for so long is gone
UNACKNOWLEDGED_SECONDS: Final = 60  # one whose machine acknowledges nothing for so long, too

CLOSES_SECONDS: Final = 2.0  # over which a process that stops spreads its closes, at the least

HELLO_SECONDS: Final = 2.5  # of the 3 that PROTOCOL allows for the first frame
STALL_SECONDS: Final = 2.0  # a database call that takes longer is given up, with its thread and connection
POLL_SECONDS: Final = 1.0
COMPARE_SECONDS: Final = 15.0  # between comparisons of all heads, in case anything slipped
LAYER_SECONDS: Final = 5.0  # for one call to the channel layer
LOOPBACK_SECONDS: Final = 5.0  # between two loop-backs
LOOPBACK_TIMEOUT_SECONDS: Final = 3.0
PROOFS: Final = 3  # in a row that the layer is dead in this process alone; then the process ends
HEALTHY_SECONDS: Final = 15.0  # how old the last loop-back may be
AUDIT_SECONDS: Final = 2.0  # between two checks of the connected people's sessions
JUDGE_SECONDS: Final = 50.0  # between two judgements of a person's rights, without a hint that they changed

REORDER_SECONDS: Final = 0.01  # that wake-ups of one stream may be apart before the database is asked
REPLAY_UPDATES: Final = 100  # read at once for one client
REFILL_UPDATES: Final = 500  # read at once for all

LOOP_STUCK_SECONDS: Final = 30  # an event loop that doesn't come round for so long is past help

UNSENT_BYTES: Final = (
    256 * 1024
)  # with more than that on its way, nothing more is written to a connection for now
PACE_BYTES: Final = 64 * 1024  # but again, and replayed, when no more than this is
STUCK_SECONDS: Final = 5.0  # a client that takes nothing of it for so long is cut with 4008
BEHIND_SECONDS: Final = 30.0  # so is one that fell behind and doesn't come up again for so long
WINDOW_BYTES: Final = 64 * 1024  # of recent frames kept in memory, a stream
WINDOWS_BYTES: Final = 32 * 1024 * 1024  # the same, all streams
OUT_OF_ORDER_FRAMES: Final = 1000  # kept a stream while the ones before them are read
SIGHTINGS: Final = 10_000  # streams without a follower whose latest offset is remembered
IDLE_SECONDS: Final = 60.0  # a stream is followed for so long after its last subscriber
BAD_FRAMES: Final = 5  # the fifth closes with 4000
PONGS_PER_SECOND: Final = 30  # to a client; more have to wait
PONGS_OWED: Final = 1000  # pings beyond that are bad frames
MESSAGE_BYTES: Final = 64 * 1024  # that a client may send in one message


def retry_milliseconds(connections: int) -> int:
    """The window in which as many clients as there are should come back after a restart."""
    return max(RETRY_MILLISECONDS, connections * 1000 // RECONNECTS_PER_SECOND)
