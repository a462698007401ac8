"""What clients send is read or refused, and what leaves is what the codecs write."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import orjson
import pytest
from engineio.packet import CLOSE, MESSAGE, PONG, Packet
from engineio.payload import Payload
from hypothesis import given
from hypothesis import strategies as st
from socketio import packet as sio

from exportd.core import events
from exportd.core.job import Job, Progress
from exportd.core.options import ExportOptions
from exportd.core.users import User
from exportd.web.socketio import packets
from exportd.web.socketio.packets import MAX_NAMESPACE, MAX_PACKETS, BadPacket, Incoming, Message

TEXTS = st.text() | st.from_regex(
    r"[0-9b]?[0-9]?(\d{0,12}-?)?(/[a-z?]{0,9},?)?\d{0,120}[\[{\"n]?.{0,20}", fullmatch=True
)


@pytest.mark.parametrize(
    ("text", "packet"),
    [("1", (CLOSE, "")), ("3", (PONG, "")), ("3probe", (PONG, "probe")), ("40", (MESSAGE, "0")), ("4", (MESSAGE, "")),
     ('42["x"]', (MESSAGE, '2["x"]')), ("4é", (MESSAGE, "é"))],
)  # fmt: skip
def test_packets_of_clients_are_read(text: str, packet: tuple[int, str]) -> None:
    assert packets.read_packet(text) == Incoming(*packet)
    assert packets.read_payload(text.encode()) == [packet]


@pytest.mark.parametrize(
    "text",
    ["", "x", "é", "0", "2", "2probe", "5", "6", "7", "9", "bAQID", "b", "b=", '4{"a":1}', "4[1]", "4null", "4-1", "4true",
     "4" + "[" * 60_000, "d=", "\x1e", "40\x1e", "\x1e40"],
)  # fmt: skip
def test_other_packets_are_refused(text: str) -> None:
    with pytest.raises(BadPacket):
        packets.read_payload(text.encode())
    if "\x1e" not in text:
        with pytest.raises(BadPacket):
            packets.read_packet(text)


@pytest.mark.parametrize("message", [b"", b"\x04\x01", None, 7])
def test_binary_is_refused(message: object) -> None:
    with pytest.raises(BadPacket):
        packets.read_packet(message)


@pytest.mark.parametrize("body", [b"\xff", b"40\xff", b"\x1e".join([b"3"] * (MAX_PACKETS + 1))])
def test_bodies_that_are_no_payload_are_refused(body: bytes) -> None:
    with pytest.raises(BadPacket):
        packets.read_payload(body)


def test_a_payload_holds_its_packets_in_order() -> None:
    assert packets.read_payload(b'40\x1e3\x1e42["a"]') == [(MESSAGE, "0"), (PONG, ""), (MESSAGE, '2["a"]')]
    assert len(packets.read_payload(b"\x1e".join([b"3"] * MAX_PACKETS))) == MAX_PACKETS


@pytest.mark.parametrize(
    ("text", "message"),
    [("0", (sio.CONNECT, "/", None, None)), ('0{"token":"t"}', (sio.CONNECT, "/", {"token": "t"}, None)),
     ("0/admin,", (sio.CONNECT, "/admin", None, None)), ("1", (sio.DISCONNECT, "/", None, None)),
     ('2["a",1]', (sio.EVENT, "/", ["a", 1], None)), ('212["a"]', (sio.EVENT, "/", ["a"], 12)),
     ('2/x,7["a"]', (sio.EVENT, "/x", ["a"], 7))],
)  # fmt: skip
def test_messages_of_clients_are_read(text: str, message: tuple[int, str, object, int | None]) -> None:
    assert packets.read_message(text) == Message(*message)


@pytest.mark.parametrize(
    "text",
    ["", "x", "7", "9", "é", "0[]", '0"x"', "0{", "1{}", "2", "2[]", "2{}", "2[1]", "2null", '2["a"', "3[]", '31["a"]',
     '4{"message":"x"}', '51-["a",{"_placeholder":true,"num":0}]', '21-["a"]', '2' + '9' * 120 + '["a"]',
     "2" + "[" * 60_000, f"0/{'n' * MAX_NAMESPACE},"],
)  # fmt: skip
def test_other_messages_are_refused(text: str) -> None:
    with pytest.raises(BadPacket):
        packets.read_message(text)


@given(TEXTS)
def test_no_text_does_more_than_be_refused(text: str) -> None:
    for read in (
        packets.read_packet,
        packets.read_message,
        lambda t: packets.read_payload(t.encode("utf-8", "replace")),
    ):
        try:
            read(text)
        except BadPacket:
            continue


@pytest.mark.parametrize("number", range(3))
def test_an_event_of_an_export_is_what_the_codecs_read(number: int) -> None:
    options = ExportOptions(include_documentation=True)
    name = 'a "data": b, \x1e é'
    user, at = User("u", "u@example.org"), datetime(2026, 1, 31, tzinfo=UTC)
    job = Job(
        str(uuid.uuid4()), str(uuid.uuid4()), name, user, options, at, started_at=at, progress=Progress(3, "processing")
    )
    made = [events.started(job), events.progress(job, at), events.phase_changed(job, "pending", at)][number]
    frame = events.frame(made, job, 17, 1)
    assert orjson.loads(frame.data) == made.data
    (packet,) = Payload(encoded_payload=packets.told(frame)).packets
    assert sio.Packet(encoded_packet=packet.data).data == [made.event, made.data]


def test_what_else_leaves() -> None:
    assert packets.connected("s") == '40{"sid":"s"}'
    assert packets.refused("/", "No") == '44{"message":"No"}'
    assert packets.refused("/a", "No") == '44/a,{"message":"No"}'
    assert packets.event("x", {"a": 1}) == '42["x",{"a":1}]'
    assert packets.ack(7, {"a": 1}) == '437[{"a":1}]'
    assert packets.ack(0) == "430[]"
    opening = Packet(encoded_packet=packets.opening("s", ["websocket"], 25, 20.5, 100))
    assert opening.data == {
        "sid": "s", "upgrades": ["websocket"], "pingInterval": 25000, "pingTimeout": 20500, "maxPayload": 100
    }  # fmt: skip
    texts = (packets.PING_TEXT, packets.NOOP_TEXT, packets.CLOSE_TEXT, packets.UPGRADE_TEXT, packets.PROBE_TEXT)
    assert (*texts, packets.PROBED_TEXT) == ("2", "6", "1", "5", "2probe", "3probe")
