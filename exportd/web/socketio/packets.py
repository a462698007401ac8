"""The texts of Engine.IO 4 and Socket.IO 5 packets: what comes is checked, what leaves is written. No I/O.

The codecs are those of python-engineio and python-socketio; they trust what they read, so nothing of theirs leaves this
module unchecked. Binary packets are not spoken: nobody here sends any, and no client has to.

https://github.com/socketio/socket.io/tree/main/docs (engine.io-protocol/v4, socket.io-protocol/v5)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from engineio.packet import CLOSE, MESSAGE, NOOP, OPEN, PING, PONG, UPGRADE, Packet
from engineio.payload import Payload
from socketio import packet as sio

from exportd.core.events import Frame
from exportd.web.direct import RECENT

SEPARATOR = "\x1e"
MAIN = "/"
"""The one namespace that there is."""

MAX_PACKETS = 64
"""Packets that one POST may hold: a page that joins all of its rooms at once sends a few dozen."""

MAX_NAMESPACE = 100
"""Characters; it is told back to who asks for one that there is not."""

PING_TEXT, NOOP_TEXT, CLOSE_TEXT, UPGRADE_TEXT = (str(Packet(kind).encode()) for kind in (PING, NOOP, CLOSE, UPGRADE))
PROBE_TEXT, PROBED_TEXT = (str(Packet(kind, "probe").encode()) for kind in (PING, PONG))

_FAULTS = (ValueError, LookupError, TypeError, RecursionError)
"""What the codecs make of texts that are none of theirs."""


class BadPacket(Exception):
    """The client broke the protocol; the message says how."""


class Incoming(NamedTuple):
    """A packet of a client: `CLOSE`, `PONG` or `MESSAGE`."""

    kind: int
    text: str


class Message(NamedTuple):
    """A Socket.IO packet of a client: `sio.CONNECT`, `sio.DISCONNECT` or `sio.EVENT`."""

    kind: int
    namespace: str
    data: object
    ack: int | None
    """The number under which the client waits for an answer."""


class _Payload(Payload):  # type: ignore[misc]  # ships no types
    max_decode_packets = MAX_PACKETS


def read_payload(body: bytes) -> list[Incoming]:
    """The packets in the body of a POST. Raises `BadPacket`."""
    try:
        packets = _Payload(encoded_payload=body.decode()).packets
    except _FAULTS:
        raise BadPacket(f"this is no payload of at most {MAX_PACKETS} packets") from None
    if not packets:
        raise BadPacket("there is no packet in it")
    return [_checked(packet) for packet in packets]


def read_packet(text: object) -> Incoming:
    """The packet in a message of a WebSocket. Raises `BadPacket`."""
    if not isinstance(text, str):
        raise BadPacket("binary packets are not spoken here")
    try:
        return _checked(Packet(encoded_packet=text))
    except _FAULTS:
        raise BadPacket("this is no packet") from None


def _checked(packet: Packet) -> Incoming:
    if packet.packet_type not in {CLOSE, PONG, MESSAGE} or not isinstance(packet.data, str):
        raise BadPacket("a client sends close, pong and text messages")
    return Incoming(packet.packet_type, packet.data)


def read_message(text: str) -> Message:
    """The Socket.IO packet in a message. Raises `BadPacket`."""
    try:
        packet = sio.Packet(encoded_packet=text)
    except _FAULTS:
        raise BadPacket("this is no Socket.IO packet") from None
    if not text or packet.attachment_count or not _is_sound(packet.packet_type, packet.data):
        raise BadPacket("a client sends connect, disconnect and events without binary")
    namespace = packet.namespace or MAIN
    if len(namespace) > MAX_NAMESPACE:
        raise BadPacket(f"namespaces have at most {MAX_NAMESPACE} characters")
    return Message(packet.packet_type, namespace, packet.data, packet.id)


def _is_sound(kind: int, data: object) -> bool:
    if kind == sio.EVENT:
        return isinstance(data, list) and bool(data) and isinstance(data[0], str)
    return (kind == sio.CONNECT and (data is None or isinstance(data, dict))) or (
        kind == sio.DISCONNECT and data is None
    )


# --- what leaves ------------------------------------------------------------------------------------------------------


def opening(sid: str, upgrades: Sequence[str], ping_interval: float, ping_timeout: float, max_payload: int) -> str:
    """The first packet of a session; times in seconds."""
    return str(
        Packet(
            OPEN,
            {
                "sid": sid,
                "upgrades": list(upgrades),
                "pingInterval": round(ping_interval * 1000),
                "pingTimeout": round(ping_timeout * 1000),
                "maxPayload": max_payload,
            },
        ).encode()
    )


def connected(sid: str) -> str:
    return _message(sio.CONNECT, {"sid": sid})


def refused(namespace: str, message: str) -> str:
    return _message(sio.CONNECT_ERROR, {"message": message}, namespace)


def event(name: str, data: object) -> str:
    return _message(sio.EVENT, [name, data])


def ack(number: int, *answers: object) -> str:
    return _message(sio.ACK, list(answers), number=number)


@lru_cache(RECENT)
def told(frame: Frame) -> str:
    """An event of an export: made once, for whoever reads it."""
    return f'{MESSAGE}{sio.EVENT}["{frame.event}",{frame.data.decode()}]'


def _message(kind: int, data: object, namespace: str = MAIN, number: int | None = None) -> str:
    return str(Packet(MESSAGE, sio.Packet(kind, data, namespace, number).encode()).encode())
