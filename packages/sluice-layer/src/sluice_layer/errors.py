"""The layer's exceptions, and the message for each failure of a connection."""

from __future__ import annotations

import asyncio
import socket
import ssl

import carehare

OLDEST_RABBITMQ = (3, 8)


class LayerUnavailable(TimeoutError):
    """An operation did not succeed within its time limit; the text gives the reason.

    After `send` and `group_send` the message may or may not arrive. It never arrives twice.
    """


class LayerRefused(LayerUnavailable):
    """RabbitMQ refuses the operation: wrong credentials, vhost, permissions or version.

    Retrying is useless.
    """


class BrokerTooOld(Exception):
    """RabbitMQ is older than the oldest version that the layer supports."""


class NotSent(carehare.ConnectionClosed):
    """The connection was lost before anything was written, so a retry is safe."""


class Unroutable(Exception):
    """RabbitMQ returned a message because its queue does not exist."""


def is_refusal(error: BaseException) -> bool:
    """Whether an operator must change something before a retry can succeed."""
    if isinstance(error, carehare.ConnectionClosedByServer):
        return error.reply_code in (403, 530)
    if isinstance(error, carehare.ChannelClosedByServer):
        return error.reply_code == 403 or _is_declared_otherwise(error)
    return isinstance(error, BrokerTooOld)


def needs_somebody(error: BaseException) -> bool:
    """Whether to log the error at once, even during an outage, since an operator must act."""
    return is_refusal(error) or isinstance(error, ssl.SSLCertVerificationError)


def is_expected(error: BaseException) -> bool:
    """Whether the network or RabbitMQ causes such an error, so that its traceback is useless."""
    return isinstance(
        error,
        (
            OSError,
            asyncio.TimeoutError,  # on Python 3.10 not a TimeoutError
            carehare.ConnectionClosed,
            carehare.ConnectionClosedByServer,
            carehare.ConnectionClosedByHeartbeatMonitor,
            carehare.ChannelClosed,
            carehare.ChannelClosedByServer,
            BrokerTooOld,
        ),
    )


def explain(error: BaseException) -> str:
    """One clause for a log line or an exception: the problem and, where it is known, the fix."""
    if isinstance(error, (BrokerTooOld, LayerUnavailable)):
        return str(error)
    if isinstance(error, socket.gaierror):
        return "its name does not resolve"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused ({error.verify_message})"
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "the port does not speak TLS; RabbitMQ's port for TLS is 5671"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there; is RabbitMQ up?"
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return str(error) or "no answer"
    if isinstance(error, OSError):
        return f"the connection failed ({error})"
    if isinstance(error, carehare.ConnectionClosedByServer):
        if error.reply_code == 403:
            return f"it refused our credentials; check user, password and vhost ({error.reply_text})"
        if error.reply_code == 530:
            return f"it refused the vhost; check that it exists and is the user's ({error.reply_text})"
        return f"it closed the connection ({error.reply_code} {error.reply_text})"
    if isinstance(error, carehare.ChannelClosedByServer):
        if error.reply_code == 403:
            return f"the user has no permission for this ({error.reply_text})"
        if error.reply_code == 405:
            return f"our previous connection still holds our queue, for some heartbeats ({error.reply_text})"
        if _is_declared_otherwise(error):
            return f"something is declared with other arguments; delete it there ({error.reply_text})"
        return f"it closed the channel ({error.reply_code} {error.reply_text})"
    if isinstance(error, carehare.ConnectionClosedByHeartbeatMonitor):
        return "it sent no heartbeat"
    if isinstance(error, (carehare.ConnectionClosed, carehare.ChannelClosed)):
        return "the connection was lost"
    return f"{type(error).__name__}: {error}"


def _is_declared_otherwise(error: carehare.ChannelClosedByServer) -> bool:
    # RabbitMQ also sends 406 when an acknowledgement is overdue.
    return error.reply_code == 406 and "inequivalent" in error.reply_text
