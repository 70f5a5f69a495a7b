"""The error message for each way in which a connection can fail. No server."""

from __future__ import annotations

import socket
import ssl

import carehare
import pytest

from sluice_layer.errors import BrokerTooOld, explain, is_expected, is_refusal, needs_somebody


def closed(code: int, text: str) -> Exception:
    return carehare.ConnectionClosedByServer(code, text)


def channel_closed(code: int, text: str) -> Exception:
    return carehare.ChannelClosedByServer(code, text)


NOT_OURS = channel_closed(406, "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'groups'")
OVERDUE = channel_closed(406, "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out")
UNTRUSTED = ssl.SSLCertVerificationError("x")
UNTRUSTED.verify_message = "self-signed certificate"
SENTENCES = [
    (socket.gaierror(-2, "Name or service not known"), "its name does not resolve"),
    (ConnectionRefusedError(111, "Connection refused"), "nothing listens there; is RabbitMQ up?"),
    (UNTRUSTED, "its certificate is refused (self-signed certificate)"),
    (TimeoutError("no answer within 5 s"), "no answer within 5 s"),
    (TimeoutError(), "no answer"),
    (OSError(113, "No route to host"), "the connection failed ([Errno 113] No route to host)"),
    (closed(403, "ACCESS_REFUSED"), "it refused our credentials; check user, password and vhost"),
    (closed(530, "NOT_ALLOWED"), "it refused the vhost; check that it exists"),
    (closed(320, "CONNECTION_FORCED"), "it closed the connection (320 CONNECTION_FORCED)"),
    (channel_closed(403, "ACCESS_REFUSED"), "the user has no permission for this (ACCESS_REFUSED)"),
    (channel_closed(405, "RESOURCE_LOCKED"), "our previous connection still holds our queue"),
    (NOT_OURS, "something is declared with other arguments; delete it there"),
    (OVERDUE, "it closed the channel (406"),
    (carehare.ConnectionClosedByHeartbeatMonitor(), "it sent no heartbeat"),
    (carehare.ConnectionClosed(), "the connection was lost"),
    (BrokerTooOld("it is RabbitMQ 3.7"), "it is RabbitMQ 3.7"),
    (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
]


@pytest.mark.parametrize(("error", "sentence"), SENTENCES, ids=lambda value: type(value).__name__)
def test_each_failure_has_a_message(error: Exception, sentence: str) -> None:
    assert explain(error).startswith(sentence)


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (closed(403, "ACCESS_REFUSED"), True),
        (closed(530, "NOT_ALLOWED"), True),
        (closed(320, "CONNECTION_FORCED"), False),
        (channel_closed(403, "ACCESS_REFUSED"), True),
        (channel_closed(405, "RESOURCE_LOCKED"), False),
        (NOT_OURS, True),
        (OVERDUE, False),
        (BrokerTooOld("it is RabbitMQ 3.7"), True),
        (ConnectionRefusedError(), False),
    ],
)
def test_only_a_failure_that_waiting_does_not_fix_is_a_refusal(error: Exception, refusal: bool) -> None:
    assert is_refusal(error) is refusal
    assert needs_somebody(error) is refusal


def test_an_untrusted_certificate_needs_an_operator_but_is_no_refusal() -> None:
    assert needs_somebody(UNTRUSTED) and not is_refusal(UNTRUSTED)


def test_only_unexpected_errors_get_a_traceback() -> None:
    unexpected = [error for error, _ in SENTENCES if not is_expected(error)]
    assert [type(error) for error in unexpected] == [ZeroDivisionError]
