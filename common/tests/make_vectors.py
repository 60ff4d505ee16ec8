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
         "maintenance": 8, "audit_query": 9, "watch": 10,
         "encrypt": 16, "decrypt": 17, "data_key": 19, "data_key_open": 20,
         "key_create": 32, "key_list": 33, "key_disable": 40, "key_enable": 41}
# What stands before the body of a request with flag 1.
ON_BEHALF_OF = [("uid", "u32"), ("gid", "u32"), ("unit", "text")]
KEY_ENTRY = [("name", "text"), ("class", "u8"), ("standing", "standing"), ("standing_reason", "text"),
             ("created_at", "u64"), ("due_at", "u64"), ("due_reason", "text"), ("note", "text"),
             ("access", ("list", "text")),
             ("versions", ("list", [("number", "u32"), ("state", "u8"), ("reason", "u8"),
                                    ("created_at", "u64"), ("key_id", "array")]))]
CHANGED = [("changed", "u32"), ("generation", "u64")]
# Every message by direction and name: (field, type) in the order of the body.
REQUESTS = {
    "hello": [("protocol_min", "u16"), ("protocol_max", "u16"), ("client", "text")],
    "status": [], "health": [], "stop": [], "lock": [], "reload": [],
    "unlock": [("master", "bytes")],
    "maintenance": [("on", "bool"), ("reason", "text")],
    "audit_query": [("from_seq", "u64"), ("to_seq", "u64"), ("from_micros", "u64"), ("to_micros", "u64"),
                    ("max_bytes", "u32")],
    "watch": [("after", "u64"), ("wait_milliseconds", "u32")],
    "key_create": [("key", "text"), ("class", "u8"), ("note", "text")],
    "key_list": [("after", "text"), ("limit", "u32")],
    "key_disable": [("key", "text"), ("compromised", "bool"), ("reason", "text")],
    "key_enable": [("key", "text"), ("lift_compromised", "bool"), ("reason", "text")],
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
    "reload": [("generation", "u64"), ("policy", "array"), ("policy_changed", "bool")],
    "maintenance": [("changed", "bool")],
    "audit_query": [("first_seq", "u64"), ("last_seq", "u64"), ("next_seq", "u64"), ("lines", "bytes")],
    "watch": [("next", "u64"), ("lost", "bool"),
              ("events", ("list", [("number", "u64"), ("unix_micros", "u64"), ("kind", "text"),
                                   ("severity", "severity"), ("key", "text"), ("message", "text")]))],
    "key_create": [("version", "u32"), ("key_id", "array"), ("generation", "u64")],
    "key_list": [("keys", ("list", KEY_ENTRY)), ("more", "bool")],
    "key_disable": CHANGED, "key_enable": CHANGED,
    "encrypt": [("version", "u32"), ("envelope", "bytes")],
    "decrypt": [("version", "u32"), ("current", "bool"), ("plaintext", "bytes")],
    "data_key": [("version", "u32"), ("plain", "bytes"), ("envelope", "bytes")],
    "data_key_open": [("version", "u32"), ("current", "bool"), ("plain", "bytes")],
    "error": [("what", "text"), ("why", "text"), ("fix", "text")],
}
NUMBERS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q"}
CHOICES = {"result": ["ok", "warning", "failed"], "standing": ["active", "disabled", "compromised"],
           "severity": ["info", "warning", "critical"]}


def encode(kind, value):
    if isinstance(kind, str) and kind in NUMBERS:
        return struct.pack(NUMBERS[kind], value)
    if kind == "bool":
        return bytes([value])
    if isinstance(kind, str) and kind in CHOICES:
        return struct.pack("<I", CHOICES[kind].index(value))
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


def message(name, direction, of, request_id, fields, code=None, on_behalf_of=None):
    kinds = (REQUESTS if direction == "request" else REPLIES)[of]
    code = code if code is not None else (CODES[of] if direction == "request" else 0)
    body = encode(kinds, fields)
    case = {"name": name, "direction": direction, "message": of, "code": code, "request_id": request_id}
    if on_behalf_of is not None:
        body = encode(ON_BEHALF_OF, on_behalf_of) + body
        case["on_behalf_of"] = on_behalf_of
    messages.append(case | {"fields": fields,
                            "frame": frame(request_id, code, body, flags=int(on_behalf_of is not None)).hex()})


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
message("maintenance begins", "request", "maintenance", 9, {"on": True, "reason": "database is being moved"})
message("maintenance ends, without a reason", "request", "maintenance", 9, {"on": False, "reason": ""})
message("maintenance, the longest reason", "request", "maintenance", 9, {"on": True, "reason": "é" * 128})
message("audit_query for everything", "request", "audit_query", 10,
        {"from_seq": 0, "to_seq": 2**64 - 1, "from_micros": 0, "to_micros": 2**64 - 1, "max_bytes": 2**32 - 1})
message("audit_query for lines of a day", "request", "audit_query", 10,
        {"from_seq": 12, "to_seq": 4711, "from_micros": 1795305600000000, "to_micros": 1795391999999999,
         "max_bytes": 49152})
message("audit_query for nothing", "request", "audit_query", 10,
        {"from_seq": 2, "to_seq": 1, "from_micros": 2, "to_micros": 1, "max_bytes": 0})
message("watch from the present end", "request", "watch", 11, {"after": 2**64 - 1, "wait_milliseconds": 0})
message("watch from the first event", "request", "watch", 11, {"after": 0, "wait_milliseconds": 30000})
message("watch, the longest wish", "request", "watch", 11, {"after": 7, "wait_milliseconds": 2**32 - 1})
message("key_create", "request", "key_create", 12,
        {"key": "billing/cards", "class": 1, "note": "card numbers; ask payments@example.com"})
message("key_create without a note", "request", "key_create", 12, {"key": "a", "class": 1, "note": ""})
message("key_create, the longest name and note", "request", "key_create", 12,
        {"key": "/".join(["n" * 63, "m" * 64]), "class": 1, "note": "x" * 1024})
message("key_list from the beginning", "request", "key_list", 13, {"after": "", "limit": 0})
message("key_list, going on", "request", "key_list", 13, {"after": "billing/cards", "limit": 2**32 - 1})
message("key_disable", "request", "key_disable", 14,
        {"key": "billing/cards", "compromised": False, "reason": "migration"})
message("key_disable for every key, compromised", "request", "key_disable", 14,
        {"key": "", "compromised": True, "reason": "host was broken into"})
message("key_enable", "request", "key_enable", 15,
        {"key": "billing/cards", "lift_compromised": True, "reason": "false alarm"})
message("key_enable for every key, the longest reason", "request", "key_enable", 15,
        {"key": "", "lift_compromised": False, "reason": "r" * 256})

# --- requests on behalf of somebody else
CALLER = {"uid": 1001, "gid": 1001, "unit": "billing.service"}
message("encrypt on behalf of a unit", "request", "encrypt", 16,
        {"key": "billing/cards", "context": "0000", "plaintext": "736563726574"}, on_behalf_of=CALLER)
message("decrypt on behalf of a user without a unit", "request", "decrypt", 17,
        {"context": "0000", "envelope": SEALED}, on_behalf_of=dict(CALLER, unit=""))
message("data_key on behalf of the largest ids", "request", "data_key", 18,
        {"key": "default", "context": "0000", "kind": 3}, on_behalf_of={"uid": 2**32 - 1, "gid": 2**32 - 1, "unit": "keyagent-web@1.service"})

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
DIGEST = "c0" * 32
message("hello answered, requests on behalf of others are known", "reply", "hello", 1,
        {"protocol": 1, "protocol_min": 1, "protocol_max": 1, "server": "keyagentd/0.1.0",
         "instance": "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", "features": 1, "limits": LIMITS})
message("reload answered", "reply", "reload", 6, {"generation": 9, "policy": DIGEST, "policy_changed": True})
message("reload answered, as it was", "reply", "reload", 6,
        {"generation": 2**64 - 1, "policy": "00" * 32, "policy_changed": False})
message("maintenance answered", "reply", "maintenance", 9, {"changed": True})
message("maintenance answered, as it was", "reply", "maintenance", 9, {"changed": False})
LINE = '{"seq":12,"id":"1-12","timestamp":"2026-11-22T02:20:05.000000Z","event_type":"lock"}\n'
message("audit_query answered", "reply", "audit_query", 10,
        {"first_seq": 1, "last_seq": 4711, "next_seq": 14, "lines": (LINE + LINE).encode().hex()})
message("audit_query answered, the end", "reply", "audit_query", 10,
        {"first_seq": 2**64 - 1, "last_seq": 2**64 - 1, "next_seq": 0, "lines": LINE.encode().hex()})
message("audit_query answered, no line", "reply", "audit_query", 10,
        {"first_seq": 0, "last_seq": 0, "next_seq": 0, "lines": ""})
EVENT = {"number": 8, "unix_micros": 1795305605000000, "kind": "lock", "severity": "info", "key": "",
         "message": "locked by uid 0"}
message("watch answered", "reply", "watch", 11,
        {"next": 10, "lost": False,
         "events": [EVENT, dict(EVENT, number=9, kind="decryption_failures", severity="warning", key="billing/cards",
                                message="6 failures within an hour"),
                    dict(EVENT, number=10, kind="audit_unwritable", severity="critical", message="é\u202e")]})
message("watch answered, nothing happened", "reply", "watch", 11, {"next": 10, "lost": False, "events": []})
message("watch answered, events were lost", "reply", "watch", 11, {"next": 2**64 - 2, "lost": True, "events": []})
message("key_create answered", "reply", "key_create", 12, {"version": 1, "key_id": DIGEST, "generation": 10})
VERSION = {"number": 1, "state": 2, "reason": 1, "created_at": 1795305600, "key_id": DIGEST}
KEY = {"name": "default", "class": 1, "standing": "active", "standing_reason": "", "created_at": 1795305600,
       "due_at": 0, "due_reason": "", "note": "", "access": [], "versions": [VERSION]}
message("key_list answered", "reply", "key_list", 13,
        {"keys": [dict(KEY, name="billing/cards", standing="disabled", standing_reason="migration",
                       due_at=1795392000, due_reason="personnel", note="é",
                       access=["uid 1001", "unit billing.service"],
                       versions=[dict(VERSION, state=5, key_id="00" * 32), dict(VERSION, number=2)]),
                  KEY, dict(KEY, name="old", standing="compromised", standing_reason="laptop stolen", versions=[])],
         "more": True})
message("key_list answered, no key", "reply", "key_list", 13, {"keys": [], "more": False})
message("key_disable answered", "reply", "key_disable", 14, {"changed": 1, "generation": 11})
message("key_disable answered, as it was", "reply", "key_disable", 14, {"changed": 0, "generation": 11})
message("key_enable answered", "reply", "key_enable", 15, {"changed": 2**32 - 1, "generation": 12})
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
for number, name in [(20, "rate limited"), (21, "in maintenance"), (22, "key disabled"), (23, "key compromised"),
                     (24, "key exists"), (119, "wrong passphrase")]:
    message(f"error: {name}", "reply", "error", 6, {"what": name, "why": "", "fix": ""}, code=number)
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
bad("an unknown flag", "request", None, frame(1, 2, b"", flags=2), "frame.unknown_flags", answer(0, "MALFORMED"))
bad("a known flag and an unknown one", "request", None, frame(1, 2, b"", flags=3), "frame.unknown_flags",
    answer(0, "MALFORMED"))
bad("the highest flag", "request", None, frame(1, 1, HELLO[12:], flags=0x8000), "frame.unknown_flags",
    answer(0, "MALFORMED"))
bad("a flag in a reply", "reply", None, frame(2, 0, b"", flags=2), "frame.unknown_flags")
bad("nothing", "request", None, b"", "frame.incomplete")
bad("a header without its last byte", "request", None, frame(2, 2, b"")[:11], "frame.incomplete")
bad("a body without its last byte", "request", "hello", HELLO[:-1], "frame.incomplete")
bad("a length that claims one byte more than there is", "request", "hello",
    frame(1, 1, HELLO[12:], length=9 + len(HELLO[12:])), "frame.incomplete")
for number in (0, 11, 15, 18, 21, 0x1000, 0xFFFF):
    bad(f"operation {number}", "request", None, frame(3, number, b""), "operation.unknown",
        answer(3, "UNKNOWN_OPERATION"))

# --- bodies that are wrong: in every message a byte too many, one too few, and a length beyond the body
seen = set()
for case in list(messages):
    direction, of = case["direction"], case["message"]
    if (direction, of) in seen:
        continue
    seen.add((direction, of))
    assert "on_behalf_of" not in case, "the first message of a kind has no flag"
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
bad_body("reload without a policy", "reply", "reload", u64(9))
bad_body("reload with bool 2", "reply", "reload", u64(9) + bytes(32) + b"\x02")
bad_body("reload with a policy that has a length", "reply", "reload", u64(9) + u64(32) + bytes(33),
         "body.trailing")
bad_body("maintenance with bool 2", "request", "maintenance", b"\x02" + text(""))
bad_body("maintenance answered with bool 255", "reply", "maintenance", b"\xff")
bad_body("maintenance without a reason's length", "request", "maintenance", b"\x01")
bad_body("audit_query with 64 bits for max_bytes", "request", "audit_query", bytes(40), "body.trailing")
bad_body("audit_query with lines that claim 2^64 - 1 bytes", "reply", "audit_query",
         u64(1) + u64(2) + u64(3) + u64(2**64 - 1) + b"{}\n")
bad_body("watch with a wait of 64 bits", "request", "watch", bytes(16), "body.trailing")
bad_body("watch with severity 3", "reply", "watch",
         u64(1) + b"\0" + u64(1) + u64(1) + u64(1) + text("lock") + struct.pack("<I", 3) + text("") + text(""))
bad_body("watch with a severity of one byte", "reply", "watch",
         u64(1) + b"\0" + u64(1) + u64(1) + u64(1) + text("lock") + b"\0" + text("") + text(""))
bad_body("watch with a list that claims 2^64 - 1 events", "reply", "watch", u64(1) + b"\0" + u64(2**64 - 1))
bad_body("watch with lost 2", "reply", "watch", u64(1) + b"\x02" + u64(0))
bad_body("key_create with a class of 32 bits", "request", "key_create",
         text("a") + struct.pack("<I", 1) + text(""), "body.trailing")
bad_body("key_create with a note not UTF-8", "request", "key_create", text("a") + b"\x01" + u64(1) + b"\xff")
bad_body("key_create with an id that has a length", "reply", "key_create",
         struct.pack("<I", 1) + u64(32) + bytes(32) + u64(1), "body.trailing")


def key_entry(standing=struct.pack("<I", 0), access=u64(0), versions=u64(0)):
    return (u64(1) + text("a") + b"\x01" + standing + text("") + u64(0) + u64(0) + text("") + text("")
            + access + versions + b"\0")


bad_body("key_list with standing 3", "reply", "key_list", key_entry(standing=struct.pack("<I", 3)))
bad_body("key_list with access that claims 2^63 names", "reply", "key_list", key_entry(access=u64(2**63)))
bad_body("key_list with access not UTF-8", "reply", "key_list", key_entry(access=u64(1) + u64(1) + b"\xfe"))
bad_body("key_list with versions that claim one more", "reply", "key_list", key_entry(versions=u64(1)))
bad_body("key_list with a limit of 16 bits", "request", "key_list", text("") + b"\1\0")
bad_body("key_disable with bool 2", "request", "key_disable", text("a") + b"\x02" + text("r"))
bad_body("key_disable without its bool", "request", "key_disable", text("a") + text("r"))
bad_body("key_enable with bool 3", "request", "key_enable", text("a") + b"\x03" + text("r"))
bad_body("error with a text not UTF-8", "reply", "error", u64(1) + b"\x80" + text("") + text(""))
bad_body("error with a surrogate", "reply", "error", u64(3) + b"\xed\xa0\x80" + text("") + text(""))


# --- what stands before the body of a request on behalf of somebody else
ASSERTION = encode(ON_BEHALF_OF, CALLER)
DECRYPT = body_of("request", "decrypt", {"context": "0000", "envelope": SEALED})


def bad_assertion(name, of, body, reason="body.malformed"):
    bad(name, "request", of, frame(9, CODES[of], body, flags=1), reason, answer(9, "MALFORMED"))


bad_assertion("the flag without anything behind it", "decrypt", b"")
bad_assertion("the flag and half a caller", "decrypt", ASSERTION[:7])
bad_assertion("the flag, a caller, and no request", "decrypt", ASSERTION)
bad_assertion("the flag and a request without a caller", "decrypt", DECRYPT)
bad_assertion("a caller behind the request", "decrypt", DECRYPT + ASSERTION)
bad_assertion("a caller twice", "decrypt", ASSERTION + ASSERTION + DECRYPT)
bad_assertion("a caller and a byte too many", "decrypt", ASSERTION + DECRYPT + b"\0", "body.trailing")
bad_assertion("a caller and a request without its last byte", "decrypt", ASSERTION + DECRYPT[:-1])
bad_assertion("a unit not UTF-8", "decrypt", struct.pack("<IIQ", 1, 1, 1) + b"\xff" + DECRYPT)
bad_assertion("a unit that claims 2^64 - 1 bytes", "decrypt", struct.pack("<IIQ", 1, 1, 2**64 - 1) + DECRYPT)
bad("a caller without the flag", "request", "decrypt", frame(9, CODES["decrypt"], ASSERTION + DECRYPT),
    "body.malformed", answer(9, "MALFORMED"))


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
for of, fields in [("key_list", {"after": "", "limit": 10}), ("health", {}),
                   ("maintenance", {"on": True, "reason": ""}), ("key_disable", {"key": "a", "compromised": True,
                                                                                "reason": ""})]:
    bad(f"{of} on behalf of somebody else", "request", of,
        frame(10, CODES[of], ASSERTION + body_of("request", of, fields), flags=1), "request.on_behalf_of",
        answer(10, "INVALID_REQUEST"))
LONG = "r" * 257
refused("maintenance with a reason of 257 bytes", "maintenance", {"on": True, "reason": LONG}, "request.reason",
        "INVALID_REQUEST")
refused("maintenance with 129 letters of two bytes", "maintenance", {"on": True, "reason": "é" * 129},
        "request.reason", "INVALID_REQUEST")
refused("maintenance with a reason of two lines", "maintenance", {"on": True, "reason": "a\nb"}, "request.reason",
        "INVALID_REQUEST")
for key in ["", "Default", "a//b", "../a", "a" * 65]:
    refused(f"new key name {key[:12]!r}, {len(key)} characters", "key_create", {"key": key, "class": 1, "note": ""},
            "request.key", "INVALID_REQUEST")
for number in (0, 255):
    refused(f"new key of class {number}", "key_create", {"key": "a", "class": number, "note": ""}, "request.class",
            "INVALID_REQUEST")
refused("a note of 1025 bytes", "key_create", {"key": "a", "class": 1, "note": "n" * 1025}, "request.note",
        "INVALID_REQUEST")
for word, flag in [("key_disable", "compromised"), ("key_enable", "lift_compromised")]:
    refused(f"{word} with a key name '*'", word, {"key": "*", flag: False, "reason": "x"}, "request.key",
            "INVALID_REQUEST")
    refused(f"{word} with a reason of 257 bytes", word, {"key": "a", flag: False, "reason": LONG}, "request.reason",
            "INVALID_REQUEST")

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
