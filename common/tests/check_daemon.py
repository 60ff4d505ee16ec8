#!/usr/bin/env python3
"""Sends every frame of common/vectors/messages.json to a running daemon: check_daemon.py SOCKET.

Failing frames must get the answer that their vector names, on a connection that has said hello; after a
broken frame the daemon must close. Requests that are right must get their own id back, and requests in one
write an answer each. Left out of the good ones: what changes the daemon, and a `watch` that waits.
"""
import json
import pathlib
import re
import socket
import struct
import sys

here = pathlib.Path(__file__).resolve().parent
vectors = json.loads((here / "../vectors/messages.json").read_text())
source = (here / "../src/error.rs").read_text()
numbers = {name: int(number) for number, name in re.findall(r'= (\d+), "(\w+)", exit', source)}
HELLO = bytes.fromhex(vectors["messages"][0]["frame"])


class Connection:
    def __init__(self, greet=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(8)
        self.socket.connect(sys.argv[1])
        if greet:
            self.socket.sendall(HELLO)
            assert self.receive()[:2] == (1, 0)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def receive(self):
        length, request, code, flags = struct.unpack("<IIHH", self.exactly(12))
        assert 8 <= length <= 1114112 and flags == 0
        return request, code, self.exactly(length - 8)

    def closed(self):
        try:
            self.receive()
        except (EOFError, ConnectionResetError):
            return True
        return False


wrong, sent, silent = [], 0, 0


def expect(name, condition):
    if not condition:
        wrong.append(name)


for case in vectors["failing"]:
    if case["direction"] == "reply":
        continue
    sent += 1
    connection = Connection()
    connection.socket.sendall(bytes.fromhex(case["frame"]))
    if case["answer"] is None:
        silent += 1
        connection.socket.shutdown(socket.SHUT_WR)
        expect(case["name"], connection.closed())
        continue
    request, code, body = connection.receive()
    expected = (case["answer"]["request_id"], numbers[case["answer"]["error"]])
    if (request, code) != expected:
        wrong.append(f"{case['name']}: {(request, code)} instead of {expected}")
    if case["reason"].startswith("frame."):
        expect(case["name"] + ": stays open", connection.closed())
    else:
        connection.socket.sendall(struct.pack("<IIHH", 8, 77, 2, 0))
        expect(case["name"] + ": does not stay open", connection.receive()[:2] == (77, 0))

CHANGES = ("stop", "lock", "unlock", "maintenance", "key_create", "key_disable", "key_enable")
good = [case for case in vectors["messages"]
        if case["direction"] == "request" and case["message"] not in CHANGES
        and not case["fields"].get("wait_milliseconds")]
for case in good:
    before = Connection(greet=False)
    before.socket.sendall(bytes.fromhex(case["frame"]))
    request, code, _ = before.receive()
    allowed = case["message"] in ("hello", "status")
    expect(case["name"] + " before hello", request == case["request_id"] and
           (code == 0 if allowed else code == numbers["HELLO_REQUIRED"]))

together = Connection(greet=False)
frames = b"".join(frame[:4] + struct.pack("<I", number) + frame[8:]
                  for number, frame in enumerate((bytes.fromhex(case["frame"]) for case in good), 1))
together.socket.sendall(frames + bytes(12))
ids = {together.receive()[0] for _ in good}
expect("one answer each", ids == set(range(1, len(good) + 1)))
expect("a broken frame behind good ones", together.receive()[:2] == (0, 1) and together.closed())

slow = Connection()
slow.socket.sendall(HELLO[:5])
expect("a frame that never ends", slow.closed())

print(f"{sent} failing requests ({silent} without an answer), {len(good)} good ones before hello and in one write:",
      "all as described" if not wrong else "\n".join(["", *wrong]))
sys.exit(bool(wrong))
