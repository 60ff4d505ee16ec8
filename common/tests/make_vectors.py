#!/usr/bin/env python3
"""Writes common/vectors/messages.json from docs/PROTOCOL.md alone: nothing here reads the Rust code.

The published vectors never change: run it into another file and compare (`make_vectors.py OUT`).
"""
import json
import pathlib
import struct
import sys

vectors = pathlib.Path(__file__).resolve().parent / "../vectors"
formats = json.loads((vectors / "formats.json").read_text())
SEALED = formats["envelope"][1]["envelope"]
SEALED_TABLE = formats["envelope"][2]["envelope"]
CONTEXT_TABLE = formats["envelope"][2]["context_encoded"]
DATA_KEY = formats["stream"]["data_key"]
SEALED_DATA_KEY = formats["stream"]["cases"][0]["header177"][32:242]
FINGERPRINT = formats["master"]["fingerprint"]
MASTER = formats["master"]["master"]

CODES = {"hello": 1, "status": 2, "health": 3, "stop": 4, "lock": 5, "unlock": 6, "reload": 7,
         "encrypt": 16, "decrypt": 17, "data_key": 19, "data_key_open": 20}
# Every message by direction and name: (field, type) in the order of the body.
REQUESTS = {
    "hello": [("protocol_min", "u16"), ("protocol_max", "u16"), ("client", "text")],
    "status": [], "health": [], "stop": [], "lock": [], "reload": [],
    "unlock": [("master", "bytes")],
    "encrypt": [("key", "text"), ("context", "bytes"), ("plaintext", "bytes")],
    "decrypt": [("context", "bytes"), ("envelope", "bytes")],
    "data_key": [("key", "text"), ("context", "bytes"), ("kind", "u8")],
    "data_key_open": [("context", "bytes"), ("envelope", "bytes")],
}
REPLIES = {
    "hello": [("protocol", "u16"), ("protocol_min", "u16"), ("protocol_max", "u16"), ("server", "text"),
              ("instance", "array"), ("features", "u64"),
              ("limits", [("frame_length", "u32"), ("message", "u32"), ("context", "u32"),
                          ("in_flight", "u32")])],
    "status": [("fields", ("list", [("name", "text"), ("value", "text")]))],
    "health": [("status", "text"), ("error", "text"),
               ("checks", ("list", [("name", "text"), ("result", "result"), ("message", "text")]))],
    "stop": [],
    "lock": [("changed", "bool"), ("unlockable_here", "bool")],
    "unlock": [("changed", "bool"), ("fingerprint", "array")],
    "reload": [("generation", "u64")],
    "encrypt": [("version", "u32"), ("envelope", "bytes")],
    "decrypt": [("version", "u32"), ("current", "bool"), ("plaintext", "bytes")],
    "data_key": [("version", "u32"), ("plain", "bytes"), ("envelope", "bytes")],
    "data_key_open": [("version", "u32"), ("current", "bool"), ("plain", "bytes")],
    "error": [("what", "text"), ("why", "text"), ("fix", "text")],
}
NUMBERS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q"}
RESULTS = {"ok": 0, "warning": 1, "failed": 2}


def encode(kind, value):
    if isinstance(kind, str) and kind in NUMBERS:
        return struct.pack(NUMBERS[kind], value)
    if kind == "bool":
        return bytes([value])
    if kind == "result":
        return struct.pack("<I", RESULTS[value])
    if kind == "text":
        value = value.encode()
        return struct.pack("<Q", len(value)) + value
    if kind == "bytes":
        value = bytes.fromhex(value)
        return struct.pack("<Q", len(value)) + value
    if kind == "array":
        return bytes.fromhex(value)
    if isinstance(kind, tuple):
        return struct.pack("<Q", len(value)) + b"".join(encode(kind[1], item) for item in value)
    assert list(value) == [name for name, _ in kind], value
    return b"".join(encode(inner, value[name]) for name, inner in kind)


def frame(request_id, code, body, flags=0, length=None):
    length = 8 + len(body) if length is None else length
    return struct.pack("<IIHH", length, request_id, code, flags) + body


messages, failing = [], []


def message(name, direction, of, request_id, fields, code=None):
    kinds = (REQUESTS if direction == "request" else REPLIES)[of]
    code = code if code is not None else (CODES[of] if direction == "request" else 0)
    body = encode(kinds, fields)
    messages.append({"name": name, "direction": direction, "message": of, "code": code,
                     "request_id": request_id, "fields": fields,
                     "frame": frame(request_id, code, body).hex()})


def bad(name, direction, of, data, reason, answer=None):
    """`answer`: what the daemon sends back to a request; None where it says nothing."""
    failing.append({"name": name, "direction": direction, "message": of, "frame": data.hex(),
                    "reason": reason, "answer": answer})


def answer(request_id, error):
    return {"request_id": request_id, "error": error}


# --- requests that are right
message("hello", "request", "hello", 1, {"protocol_min": 1, "protocol_max": 1, "client": "example/1.0"})
message("hello, a range of versions", "request", "hello", 0,
        {"protocol_min": 1, "protocol_max": 7, "client": "x"})
message("hello, the longest client name", "request", "hello", 1,
        {"protocol_min": 1, "protocol_max": 65535, "client": "c" * 64})
for number, word in enumerate(["status", "health", "stop", "lock", "reload"], 2):
    message(word, "request", word, number, {})
message("unlock from the daemon's own source", "request", "unlock", 7, {"master": ""})
message("unlock with a master key", "request", "unlock", 8, {"master": MASTER})
message("encrypt", "request", "encrypt", 2, {"key": "default", "context": "0000", "plaintext": "736563726574"})
message("encrypt with a context", "request", "encrypt", 3,
        {"key": "billing/cards", "context": CONTEXT_TABLE, "plaintext": "736563726574"})
message("encrypt nothing, the largest request id", "request", "encrypt", 0xFFFFFFFF,
        {"key": "default", "context": "0000", "plaintext": ""})
message("decrypt", "request", "decrypt", 4, {"context": "0000", "envelope": SEALED})
message("decrypt with a context", "request", "decrypt", 5, {"context": CONTEXT_TABLE, "envelope": SEALED_TABLE})
message("data_key for a stream", "request", "data_key", 6, {"key": "default", "context": "0000", "kind": 2})
message("data_key for an application", "request", "data_key", 7,
        {"key": "default", "context": CONTEXT_TABLE, "kind": 3})
message("data_key_open", "request", "data_key_open", 8, {"context": "0000", "envelope": SEALED_DATA_KEY})

# --- replies that are right
LIMITS = {"frame_length": 1114112, "message": 1048576, "context": 8192, "in_flight": 1024}
message("hello answered", "reply", "hello", 1,
        {"protocol": 1, "protocol_min": 1, "protocol_max": 1, "server": "keyagentd/0.1.0",
         "instance": "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", "features": 0, "limits": LIMITS})
message("hello answered by a later version", "reply", "hello", 1,
        {"protocol": 1, "protocol_min": 1, "protocol_max": 3, "server": "keyagentd/2.4.1",
         "instance": "00" * 16, "features": 1 << 40, "limits": dict(LIMITS, in_flight=1)})
message("status answered", "reply", "status", 2,
        {"fields": [{"name": "version", "value": "0.1.0"}, {"name": "state", "value": "unlocked"},
                    {"name": "a-name-of-a-later-version", "value": "é"}]})
message("status answered without a field", "reply", "status", 2, {"fields": []})
message("health answered", "reply", "health", 3,
        {"status": "healthy", "error": "", "checks": [{"name": "canary", "result": "ok", "message": "opens"}]})
message("health answered, degraded", "reply", "health", 3,
        {"status": "degraded", "error": "memory: not locked",
         "checks": [{"name": "memory", "result": "warning", "message": "not locked"},
                    {"name": "store", "result": "failed", "message": ""}]})
message("stop answered", "reply", "stop", 4, {})
message("lock answered", "reply", "lock", 5, {"changed": True, "unlockable_here": True})
message("lock answered, locked before", "reply", "lock", 5, {"changed": False, "unlockable_here": False})
message("unlock answered", "reply", "unlock", 7, {"changed": True, "fingerprint": FINGERPRINT})
message("reload answered", "reply", "reload", 6, {"generation": 9})
message("encrypt answered", "reply", "encrypt", 2, {"version": 1, "envelope": SEALED})
message("decrypt answered", "reply", "decrypt", 4,
        {"version": 1, "current": True, "plaintext": "736563726574"})
message("decrypt answered, an older version", "reply", "decrypt", 5,
        {"version": 1, "current": False, "plaintext": ""})
message("data_key answered", "reply", "data_key", 6,
        {"version": 1, "plain": DATA_KEY, "envelope": SEALED_DATA_KEY})
message("data_key_open answered", "reply", "data_key_open", 8,
        {"version": 1, "current": True, "plain": DATA_KEY})
message("error", "reply", "error", 4,
        {"what": "this value does not open", "why": "it was changed", "fix": ""}, code=7)
message("error about the connection", "reply", "error", 0,
        {"what": "the frame does not follow the protocol", "why": "", "fix": ""}, code=1)
message("error of a later version", "reply", "error", 5, {"what": "?", "why": "", "fix": ""}, code=98)

# --- frames that are wrong
HELLO = bytes.fromhex(messages[0]["frame"])
bad("length of 0", "request", None, bytes(12), "frame.too_short", answer(0, "MALFORMED"))
bad("length of 7, one less than the header", "request", None, frame(1, 1, b"", length=7), "frame.too_short",
    answer(0, "MALFORMED"))
bad("length one above the limit", "request", None, frame(1, 16, b"", length=1114113), "frame.too_long",
    answer(0, "MALFORMED"))
bad("length of 4 GiB, and nothing behind it", "request", None, b"\xff\xff\xff\xff", "frame.too_long",
    answer(0, "MALFORMED"))
bad("length in the other byte order", "request", None, b"\x00\x00\x00\x08" + HELLO[4:12], "frame.too_long",
    answer(0, "MALFORMED"))
bad("one flag", "request", None, frame(1, 2, b"", flags=1), "frame.unknown_flags", answer(0, "MALFORMED"))
bad("the highest flag", "request", None, frame(1, 1, HELLO[12:], flags=0x8000), "frame.unknown_flags",
    answer(0, "MALFORMED"))
bad("a flag in a reply", "reply", None, frame(2, 0, b"", flags=2), "frame.unknown_flags")
bad("nothing", "request", None, b"", "frame.incomplete")
bad("a header without its last byte", "request", None, frame(2, 2, b"")[:11], "frame.incomplete")
bad("a body without its last byte", "request", "hello", HELLO[:-1], "frame.incomplete")
bad("a length that claims one byte more than there is", "request", "hello",
    frame(1, 1, HELLO[12:], length=9 + len(HELLO[12:])), "frame.incomplete")
for number in (0, 8, 15, 18, 21, 0x1000, 0xFFFF):
    bad(f"operation {number}", "request", None, frame(3, number, b""), "operation.unknown",
        answer(3, "UNKNOWN_OPERATION"))

# --- bodies that are wrong: in every message a byte too many, one too few, and a length beyond the body
seen = set()
for case in list(messages):
    direction, of = case["direction"], case["message"]
    if (direction, of) in seen:
        continue
    seen.add((direction, of))
    body, rid, code = bytes.fromhex(case["frame"])[12:], case["request_id"], case["code"]
    says = answer(rid, "MALFORMED") if direction == "request" else None
    bad(f"{direction} {of} with a trailing byte", direction, of, frame(rid, code, body + b"\0"), "body.trailing", says)
    if body:
        bad(f"{direction} {of} without its last byte", direction, of, frame(rid, code, body[:-1]), "body.malformed", says)
        bad(f"{direction} {of} without a body", direction, of, frame(rid, code, b""), "body.malformed", says)


def body_of(direction, of, fields):
    return encode((REQUESTS if direction == "request" else REPLIES)[of], fields)


def bad_body(name, direction, of, body, reason="body.malformed", code=None):
    code = CODES.get(of, code) if direction == "request" else (7 if of == "error" else 0)
    says = answer(9, "MALFORMED") if direction == "request" else None
    bad(name, direction, of, frame(9, code, body), reason, says)


u64 = lambda number: struct.pack("<Q", number)
text = lambda value: encode("text", value)
bad_body("client name not UTF-8", "request", "hello", struct.pack("<HHQ", 1, 1, 2) + b"\xc3\x28")
bad_body("client name that claims a byte beyond the body", "request", "hello", struct.pack("<HHQ", 1, 1, 3) + b"ab")
bad_body("client name that claims 2^64 - 1 bytes", "request", "hello", struct.pack("<HHQ", 1, 1, 2**64 - 1) + b"ab")
bad_body("lengths of 32 bits", "request", "hello", struct.pack("<HHI", 1, 1, 2) + b"ab")
bad_body("numbers of variable width", "request", "hello", b"\x01\x01\x02ab")
bad_body("key name cut inside a character", "request", "encrypt", u64(1) + b"\xc3" + text("") + text(""))
bad_body("plaintext that claims the limit of a frame", "request", "encrypt", text("default") + text("\0\0") + u64(1114112))
bad_body("plaintext that claims 2^63 bytes", "request", "encrypt", text("default") + text("\0\0") + u64(2**63))
bad_body("key that claims all that follows", "request", "encrypt", u64(40) + b"default" + text("\0\0") + text("secret"))
bad_body("envelope that claims one byte less", "request", "decrypt",
         text("\0\0") + u64(78) + bytes.fromhex(SEALED), "body.trailing")
bad_body("kind of 32 bits", "request", "data_key", text("default") + text("\0\0") + struct.pack("<I", 2), "body.trailing")
bad_body("master key without its length", "request", "unlock", bytes.fromhex(MASTER))
bad_body("status with a list that claims 2^64 - 1 entries", "reply", "status", u64(2**64 - 1))
bad_body("status with a list that claims one entry more", "reply", "status", u64(2) + text("a") + text("b"))
bad_body("status with a list that claims one entry less", "reply", "status",
         u64(1) + text("a") + text("b") + text("c") + text("d"), "body.trailing")
bad_body("status with a value not UTF-8", "reply", "status", u64(1) + text("a") + u64(1) + b"\xff")
bad_body("health with result 3", "reply", "health",
         text("healthy") + text("") + u64(1) + text("canary") + struct.pack("<I", 3) + text(""))
bad_body("health with a result of one byte", "reply", "health",
         text("healthy") + text("") + u64(1) + text("canary") + b"\x00" + text(""))
bad_body("lock with bool 2", "reply", "lock", b"\x02\x00")
bad_body("lock with bool 255", "reply", "lock", b"\x01\xff")
bad_body("decrypt with bool 2", "reply", "decrypt", struct.pack("<I", 1) + b"\x02" + text("secret"))
bad_body("data_key_open with bool 3", "reply", "data_key_open", struct.pack("<I", 1) + b"\x03" + text("k" * 32))
bad_body("unlock with a fingerprint that has a length", "reply", "unlock", b"\x01" + u64(16) + bytes(16), "body.trailing")
bad_body("error with a text not UTF-8", "reply", "error", u64(1) + b"\x80" + text("") + text(""))
bad_body("error with a surrogate", "reply", "error", u64(3) + b"\xed\xa0\x80" + text("") + text(""))


# --- bodies that decode and are refused all the same
def refused(name, of, fields, reason, error):
    bad(name, "request", of, frame(10, CODES[of], body_of("request", of, fields)), reason, answer(10, error))


for client, what in [("", "no client name"), ("c" * 65, "client name of 65 characters"),
                     ("a\nb", "client name with a newline"), ("é", "client name beyond ASCII")]:
    refused(what, "hello", {"protocol_min": 1, "protocol_max": 1, "client": client}, "request.client",
            "INVALID_REQUEST")
refused("only later versions", "hello", {"protocol_min": 2, "protocol_max": 9, "client": "x"}, "request.version",
        "PROTOCOL_MISMATCH")
refused("only version 0", "hello", {"protocol_min": 0, "protocol_max": 0, "client": "x"}, "request.version",
        "PROTOCOL_MISMATCH")
for key in ["", "../default", "Default", "a//b", "default\0", "é", "a" * 65, "/".join(["abcdefgh"] * 17)]:
    refused(f"key name {key[:12]!r}, {len(key)} characters", "encrypt",
            {"key": key, "context": "0000", "plaintext": ""}, "request.key", "INVALID_REQUEST")
for context, what in [("", "empty bytes"), ("000000", "a byte behind the last pair"),
                      ("0200010062000001006100" + "00", "names not ascending"),
                      ("02000100610000010061" + "0000", "a name twice"), ("0100000000" + "00", "an empty name"),
                      ("010001004100" + "00", "an upper-case name"), ("1100" + "01006100" * 17, "17 pairs")]:
    refused(f"context: {what}", "encrypt", {"key": "default", "context": context, "plaintext": ""},
            "request.context", "INVALID_REQUEST")
for kind in (0, 1, 4, 255):
    refused(f"data key of kind {kind}", "data_key", {"key": "default", "context": "0000", "kind": kind},
            "request.kind", "INVALID_REQUEST")
for sealed, what in [("", "no envelope"), (SEALED[:144], "envelope of 72 bytes"),
                     ("00" + SEALED[2:], "envelope of kind 0"), ("04" + SEALED[2:], "envelope of kind 4"),
                     (SEALED_DATA_KEY, "data key given to decrypt")]:
    refused(what, "decrypt", {"context": "0000", "envelope": sealed}, "request.envelope", "DOES_NOT_OPEN")
for sealed, what in [(SEALED, "message given to data_key_open"), (SEALED_DATA_KEY[:144], "data key of 72 bytes")]:
    refused(what, "data_key_open", {"context": "0000", "envelope": sealed}, "request.envelope", "DOES_NOT_OPEN")
for master, what in [("11", "1 byte"), (MASTER[:-2], "31 bytes"), (MASTER + "00", "33 bytes")]:
    refused(f"master key of {what}", "unlock", {"master": master}, "request.master", "INVALID_REQUEST")

about = ("Frames of protocol version 1, see docs/PROTOCOL.md. Byte strings and arrays are hexadecimal. "
         "`code` of a reply is 0 or a number of the error table. In `failing`, `reason` says which rule is "
         "broken, `answer` what the daemon sends back (null: nothing, or the frame is a reply).")
names = [case["name"] for case in messages + failing]
assert len({(case["name"], case["direction"]) for case in messages + failing}) == len(names)
lines = lambda cases: ",\n".join("    " + json.dumps(case, ensure_ascii=False) for case in cases)
out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else vectors / "messages.json"
out.write_text(f'{{\n  "about": {json.dumps(about)},\n  "messages": [\n{lines(messages)}\n  ],\n'
               f'  "failing": [\n{lines(failing)}\n  ]\n}}\n')
print(len(messages), "messages,", len(failing), "failing")
