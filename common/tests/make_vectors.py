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
         "rewrap": 18, "hmac": 21, "jwt_sign": 22, "jwt_verify": 23, "random": 24, "batch": 25,
         "key_create": 32, "key_list": 33, "key_show": 34, "key_configure": 35, "key_rotate": 36,
         "key_promote": 37, "key_retire": 38, "key_reinstate": 39, "key_disable": 40, "key_enable": 41,
         "key_destroy": 42, "backup_create": 45, "backup_restore": 46, "master_rotate": 47}
# What stands before the body of a request with flag 1.
ON_BEHALF_OF = [("uid", "u32"), ("gid", "u32"), ("unit", "text")]
KEY_ENTRY = [("name", "text"), ("class", "u8"), ("standing", "standing"), ("standing_reason", "text"),
             ("created_at", "u64"), ("due_at", "u64"), ("due_reason", "text"), ("rotates", "bool"),
             ("environment", "text"), ("note", "text"), ("access", ("list", "text")),
             ("versions", ("list", [("number", "u32"), ("state", "u8"), ("reason", "u8"),
                                    ("created_at", "u64"), ("key_id", "array"), ("used_at", "u64")]))]
POLICY = [("enabled", "bool"), ("interval_days", "u32"), ("grace_period_days", "u32"),
          ("next_rotation_at", "u64"), ("last_rotation_at", "u64"), ("auto_retire", "bool")]
USAGE = [("number", "u32"), ("encryptions", "u64"), ("decryptions", "u64"), ("encrypted_at", "u64"),
         ("decrypted_at", "u64"), ("exact", "bool"), ("grace_ends_at", "u64")]
OF_A_VERSION = [("key", "text"), ("version", "u32"), ("reason", "text")]
VERSION_MOVED = [("version", "u32"), ("key_id", "array"), ("from", "u8"), ("to", "u8"), ("replaced", "u32"),
                 ("generation", "u64")]
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
    "key_disable": [("key", "text"), ("version", "u32"), ("compromised", "bool"), ("reason", "text")],
    "key_enable": [("key", "text"), ("version", "u32"), ("lift_compromised", "bool"), ("reason", "text")],
    "encrypt": [("key", "text"), ("context", "bytes"), ("plaintext", "bytes")],
    "decrypt": [("context", "bytes"), ("envelope", "bytes")],
    "data_key": [("key", "text"), ("context", "bytes"), ("kind", "u8")],
    "data_key_open": [("context", "bytes"), ("envelope", "bytes")],
    "rewrap": [("context", "bytes"), ("envelope", "bytes")],
    "hmac": [("key", "text"), ("context", "bytes"), ("value", "bytes"), ("tag_bytes", "u8"),
             ("every_version", "bool")],
    "jwt_sign": [("key", "text"), ("claims", "bytes")],
    "jwt_verify": [("key", "text"), ("token", "text"), ("leeway_seconds", "u32")],
    "random": [("bytes", "u32")],
    "batch": [("operation", "u16"), ("items", "bytes")],
    "key_show": [("key", "text")],
    "key_configure": [("key", "text"), ("enabled", ("option", "bool")), ("interval_days", ("option", "u32")),
                      ("grace_period_days", ("option", "u32")), ("auto_retire", ("option", "bool")),
                      ("environment", ("option", "text")), ("purpose", ("option", "text")),
                      ("owner", ("option", "text")), ("url", ("option", "text")), ("note", ("option", "text"))],
    "key_rotate": [("key", "text"), ("reason", "u8"), ("takeover", "takeover"), ("lift", "standing"),
                   ("note", "text")],
    "key_promote": OF_A_VERSION, "key_retire": OF_A_VERSION, "key_reinstate": OF_A_VERSION,
    "key_destroy": [("key", "text"), ("version", "u32"), ("force", "bool"), ("reason", "text")],
    "backup_create": [("backup_key", "bytes"), ("keys", "text"), ("after", "bytes")],
    "backup_restore": [("backup_key", "bytes"), ("page", "bytes"), ("dry_run", "bool"), ("promote", "bool")],
    "master_rotate": [("step", "step"), ("current", "bytes"), ("next", "bytes")],
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
    "rewrap": [("version", "u32"), ("changed", "bool"), ("envelope", "bytes")],
    "hmac": [("tags", ("list", [("version", "u32"), ("tag", "bytes")]))],
    "jwt_sign": [("version", "u32"), ("token", "text")],
    "jwt_verify": [("version", "u32"), ("current", "bool"), ("claims", "bytes")],
    "random": [("random", "bytes")],
    "batch": [("results", "bytes")],
    "key_show": [("key", KEY_ENTRY), ("policy", POLICY), ("purpose", "text"), ("owner", "text"), ("url", "text"),
                 ("usage", ("list", USAGE)), ("generation", "u64")],
    "key_configure": [("changed", ("list", "text")), ("next_rotation_at", "u64"), ("generation", "u64")],
    "key_rotate": [("version", "u32"), ("key_id", "array"), ("replaced", "u32"), ("replaced_state", "u8"),
                   ("lifted", "standing"), ("next_rotation_at", "u64"), ("generation", "u64")],
    "key_promote": VERSION_MOVED, "key_retire": VERSION_MOVED, "key_reinstate": VERSION_MOVED,
    "key_destroy": [("destroyed", ("list", "u32")),
                    ("needed", ("list", [("version", "u32"), ("why", "text")])),
                    ("from_master", "bool"), ("generation", "u64")],
    "backup_create": [("keyring_id", "array"), ("epoch", "u32"), ("generation", "u64"), ("master", "array"),
                      ("page", "bytes"), ("next", "bytes")],
    "backup_restore": [("keys", ("list", [("name", "text"), ("outcome", "outcome"), ("added", "u32"),
                                          ("why", "text")])), ("generation", "u64")],
    "master_rotate": [("masters", ("list", "array")), ("epoch", "u32"), ("generation", "u64")],
    "error": [("what", "text"), ("why", "text"), ("fix", "text")],
}
NUMBERS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q"}
CHOICES = {"result": ["ok", "warning", "failed"], "standing": ["active", "disabled", "compromised"],
           "severity": ["info", "warning", "critical"], "takeover": ["staged", "grace", "refuse_old"],
           "outcome": ["same", "added", "extended", "replaced", "differs"],
           "step": ["begin", "finish", "abandon"]}


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
    if isinstance(kind, tuple) and kind[0] == "option":
        return b"\0" if value is None else b"\1" + encode(kind[1], value)
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
        {"key": "billing/cards", "version": 0, "compromised": False, "reason": "migration"})
message("key_disable for every key, compromised", "request", "key_disable", 14,
        {"key": "", "version": 0, "compromised": True, "reason": "host was broken into"})
message("key_enable", "request", "key_enable", 15,
        {"key": "billing/cards", "version": 0, "lift_compromised": True, "reason": "false alarm"})
message("key_enable for every key, the longest reason", "request", "key_enable", 15,
        {"key": "", "version": 0, "lift_compromised": False, "reason": "r" * 256})

# --- derived data, the life of keys, recovery
CARDS = "billing/cards"


def items(of, *all_fields):
    body = lambda fields: encode(REQUESTS[of], fields)
    return b"".join(frame(place, CODES[of], body(fields)) for place, fields in enumerate(all_fields)).hex()


NOTHING = {name: None for name, _ in REQUESTS["key_configure"][1:]}
for name, of, fields in [
    ("rewrap", "rewrap", {"context": CONTEXT_TABLE, "envelope": SEALED_TABLE}),
    ("rewrap of a data key", "rewrap", {"context": "0000", "envelope": SEALED_DATA_KEY}),
    ("hmac", "hmac", {"key": "search", "context": CONTEXT_TABLE, "value": "616e6140", "tag_bytes": 16,
                      "every_version": False}),
    ("hmac for a look-up", "hmac", {"key": "search", "context": "0000", "value": "", "tag_bytes": 32,
                                    "every_version": True}),
    ("jwt_sign", "jwt_sign", {"key": "login", "claims": b'{"sub":"ana","exp":1795309200}'.hex()}),
    ("jwt_verify", "jwt_verify", {"key": "login", "token": "eyJhbGciOiJIUzI1NiJ9.e30.AA", "leeway_seconds": 60}),
    ("random", "random", {"bytes": 32}),
    ("random, the most", "random", {"bytes": 4096}),
    ("batch", "batch", {"operation": 16, "items": items(
        "encrypt", {"key": "default", "context": "0000", "plaintext": "68656c6c6f"},
        {"key": CARDS, "context": CONTEXT_TABLE, "plaintext": ""})}),
    ("batch of one", "batch", {"operation": 17, "items": items(
        "decrypt", {"context": "0000", "envelope": SEALED})}),
    ("key_show", "key_show", {"key": CARDS}),
    ("key_configure nothing", "key_configure", {"key": CARDS, **NOTHING}),
    ("key_configure everything", "key_configure",
     {"key": CARDS, "enabled": True, "interval_days": 90, "grace_period_days": 30, "auto_retire": False,
      "environment": "production", "purpose": "card numbers", "owner": "payments",
      "url": "https://example.com/keys", "note": ""}),
    ("key_rotate", "key_rotate", {"key": CARDS, "reason": 5, "takeover": "grace", "lift": "active",
                                  "note": "yearly"}),
    ("key_rotate, staged", "key_rotate", {"key": CARDS, "reason": 1, "takeover": "staged", "lift": "active",
                                          "note": ""}),
    ("key_rotate in an emergency", "key_rotate",
     {"key": CARDS, "reason": 2, "takeover": "refuse_old", "lift": "compromised", "note": "host was broken into"}),
    ("key_promote", "key_promote", {"key": CARDS, "version": 2, "reason": "all hosts have it"}),
    ("key_promote the staged one", "key_promote", {"key": CARDS, "version": 0, "reason": ""}),
    ("key_retire", "key_retire", {"key": CARDS, "version": 1, "reason": ""}),
    ("key_reinstate", "key_reinstate", {"key": CARDS, "version": 1, "reason": "an old backup came up"}),
    ("key_disable a version", "key_disable", {"key": CARDS, "version": 1, "compromised": True, "reason": ""}),
    ("key_enable a version", "key_enable", {"key": CARDS, "version": 2**32 - 1, "lift_compromised": False,
                                            "reason": ""}),
    ("key_destroy a version", "key_destroy", {"key": CARDS, "version": 1, "force": False, "reason": ""}),
    ("key_destroy the whole key", "key_destroy", {"key": CARDS, "version": 0, "force": True,
                                                  "reason": "tenant left"}),
    ("backup_create", "backup_create", {"backup_key": "b0" * 32, "keys": "", "after": ""}),
    ("backup_create of some keys, going on", "backup_create",
     {"backup_key": "b0" * 32, "keys": CARDS + "\nopenai", "after": "0102"}),
    ("backup_restore", "backup_restore", {"backup_key": "b0" * 32, "page": "0001020304", "dry_run": True,
                                          "promote": False}),
    ("master_rotate begins", "master_rotate", {"step": "begin", "current": MASTER, "next": "b0" * 32}),
    ("master_rotate ends", "master_rotate", {"step": "finish", "current": "", "next": ""}),
    ("master_rotate is given up", "master_rotate", {"step": "abandon", "current": MASTER, "next": ""}),
]:
    message(name, "request", of, 20, fields)

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
VERSION = {"number": 1, "state": 2, "reason": 1, "created_at": 1795305600, "key_id": DIGEST, "used_at": 0}
KEY = {"name": "default", "class": 1, "standing": "active", "standing_reason": "", "created_at": 1795305600,
       "due_at": 0, "due_reason": "", "rotates": False, "environment": "", "note": "", "access": [], "versions": [VERSION]}
message("key_list answered", "reply", "key_list", 13,
        {"keys": [dict(KEY, name="billing/cards", standing="disabled", standing_reason="migration",
                       due_at=1795392000, due_reason="personnel", environment="production", note="é",
                       access=["uid 1001", "unit billing.service"],
                       versions=[dict(VERSION, state=5, key_id="00" * 32), dict(VERSION, number=2, used_at=1795305601)]),
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
DAY = 86400
OLDER = dict(VERSION, state=3, reason=0, key_id="a1" * 32, used_at=1795305605)
for name, of, fields in [
    ("rewrap answered", "rewrap", {"version": 2, "changed": True, "envelope": SEALED}),
    ("rewrap answered, current", "rewrap", {"version": 1, "changed": False, "envelope": SEALED_DATA_KEY}),
    ("hmac answered", "hmac", {"tags": [{"version": 2, "tag": "c0" * 24}, {"version": 1, "tag": "a1" * 24}]}),
    ("jwt_sign answered", "jwt_sign", {"version": 1, "token": "eyJhbGciOiJIUzI1NiJ9.e30.AA"}),
    ("jwt_verify answered", "jwt_verify", {"version": 1, "current": True, "claims": "7b7d"}),
    ("random answered", "random", {"random": "00ff" * 16}),
    ("batch answered", "batch", {"results": (
        frame(0, 0, encode(REPLIES["encrypt"], {"version": 1, "envelope": SEALED}))
        + frame(1, 10, encode(REPLIES["error"], {"what": "not allowed", "why": "", "fix": ""}))).hex()}),
    ("key_show answered", "key_show",
     {"key": dict(KEY, name=CARDS, due_at=1795305600 + 90 * DAY, due_reason="scheduled", rotates=True,
                  environment="production", versions=[OLDER, dict(VERSION, number=2, used_at=1795305700)]),
      "policy": {"enabled": True, "interval_days": 90, "grace_period_days": 30,
                 "next_rotation_at": 1795305600 + 90 * DAY, "last_rotation_at": 1795305600, "auto_retire": False},
      "purpose": "card numbers", "owner": "payments", "url": "",
      "usage": [{"number": 1, "encryptions": 17, "decryptions": 4, "encrypted_at": 1795305601,
                 "decrypted_at": 1795305605, "exact": True, "grace_ends_at": 1795305600 + 30 * DAY},
                {"number": 2, "encryptions": 1024, "decryptions": 0, "encrypted_at": 1795305700,
                 "decrypted_at": 0, "exact": False, "grace_ends_at": 0}],
      "generation": 12}),
    ("key_configure answered", "key_configure", {"changed": ["enabled", "interval_days"],
                                                 "next_rotation_at": 1795305600 + 90 * DAY, "generation": 13}),
    ("key_configure answered, as it was", "key_configure", {"changed": [], "next_rotation_at": 0,
                                                            "generation": 13}),
    ("key_rotate answered", "key_rotate", {"version": 3, "key_id": DIGEST, "replaced": 2, "replaced_state": 3,
                                           "lifted": "active", "next_rotation_at": 1795305600, "generation": 14}),
    ("key_rotate answered, staged", "key_rotate",
     {"version": 3, "key_id": DIGEST, "replaced": 0, "replaced_state": 0, "lifted": "active",
      "next_rotation_at": 0, "generation": 14}),
    ("key_promote answered", "key_promote", {"version": 3, "key_id": DIGEST, "from": 1, "to": 2, "replaced": 2,
                                             "generation": 15}),
    ("key_retire answered", "key_retire", {"version": 2, "key_id": DIGEST, "from": 3, "to": 4, "replaced": 0,
                                           "generation": 16}),
    ("key_reinstate answered, as it was", "key_reinstate",
     {"version": 2, "key_id": DIGEST, "from": 3, "to": 3, "replaced": 0, "generation": 16}),
    ("key_destroy answered", "key_destroy",
     {"destroyed": [1, 2], "needed": [{"version": 1, "why": "it opened 17 values yesterday"}],
      "from_master": False, "generation": 17}),
    ("key_destroy answered, gone before", "key_destroy", {"destroyed": [], "needed": [], "from_master": False,
                                                          "generation": 17}),
    ("backup_create answered", "backup_create",
     {"keyring_id": "1d" * 16, "epoch": 1, "generation": 17, "master": FINGERPRINT, "page": "0001020304",
      "next": "0102"}),
    ("backup_create answered, the last page", "backup_create",
     {"keyring_id": "1d" * 16, "epoch": 2**32 - 1, "generation": 17, "master": FINGERPRINT, "page": "00",
      "next": ""}),
    ("backup_restore answered", "backup_restore",
     {"keys": [{"name": "a", "outcome": "same", "added": 0, "why": ""},
               {"name": "b", "outcome": "added", "added": 2, "why": ""},
               {"name": "c", "outcome": "extended", "added": 1, "why": "version 3 is staged"},
               {"name": "d", "outcome": "replaced", "added": 1, "why": ""},
               {"name": "e", "outcome": "differs", "added": 0, "why": "another key of this name is here"}],
      "generation": 18}),
    ("master_rotate answered", "master_rotate", {"masters": [FINGERPRINT, "4e" * 16], "epoch": 2,
                                                 "generation": 19}),
]:
    message(name, "reply", of, 20, fields)
message("error", "reply", "error", 4,
        {"what": "this value does not open", "why": "it was changed", "fix": ""}, code=7)
message("error about the connection", "reply", "error", 0,
        {"what": "the frame does not follow the protocol", "why": "", "fix": ""}, code=1)
for number, name in [(20, "rate limited"), (21, "in maintenance"), (22, "key disabled"), (23, "key compromised"),
                     (24, "key exists"), (25, "version retired"), (26, "version stopped"), (27, "wrong state"),
                     (28, "still needed"), (29, "wrong class"), (30, "key differs"), (31, "token refused"), (119, "wrong passphrase")]:
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
for number in (0, 11, 15, 0x1000, 0xFFFF):
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
    return (u64(1) + text("a") + b"\x01" + standing + text("") + u64(0) + u64(0) + text("") + b"\0" + text("")
            + text("") + access + versions + b"\0")


bad_body("key_list with standing 3", "reply", "key_list", key_entry(standing=struct.pack("<I", 3)))
bad_body("key_list with access that claims 2^63 names", "reply", "key_list", key_entry(access=u64(2**63)))
bad_body("key_list with access not UTF-8", "reply", "key_list", key_entry(access=u64(1) + u64(1) + b"\xfe"))
bad_body("key_list with versions that claim one more", "reply", "key_list", key_entry(versions=u64(1)))
bad_body("key_list with a limit of 16 bits", "request", "key_list", text("") + b"\1\0")
bad_body("key_disable with bool 2", "request", "key_disable", text("a") + bytes(4) + b"\x02" + text("r"))
bad_body("key_disable without its bool", "request", "key_disable", text("a") + bytes(4) + text("r"))
bad_body("key_enable with bool 3", "request", "key_enable", text("a") + bytes(4) + b"\x03" + text("r"))
bad_body("key_rotate with takeover 3", "request", "key_rotate",
         text("a") + b"\x05" + struct.pack("<II", 3, 0) + text(""))
bad_body("key_rotate with lift 3", "request", "key_rotate",
         text("a") + b"\x05" + struct.pack("<II", 1, 3) + text(""))
bad_body("master_rotate with step 3", "request", "master_rotate", struct.pack("<I", 3) + text("") + text(""))
bad_body("key_configure with a choice that is neither", "request", "key_configure", text("a") + b"\x02" + bytes(8))
bad_body("key_configure with a number cut short", "request", "key_configure", text("a") + b"\0\1\x5a" + bytes(7))
bad_body("hmac with bool 2", "request", "hmac", text("a") + text("\0\0") + text("") + b"\x10\x02")
bad_body("batch with an operation of 32 bits", "request", "batch", struct.pack("<I", 16) + text(""), "body.trailing")
bad_body("backup_restore with outcome 5", "reply", "backup_restore",
         u64(1) + text("a") + struct.pack("<II", 5, 0) + text("") + u64(1))
bad_body("key_destroy with a list that claims 2^62 numbers", "reply", "key_destroy", u64(2**62) + bytes(20))
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
                   ("maintenance", {"on": True, "reason": ""}), ("key_disable", {"key": "a", "version": 0,
                                                                                "compromised": True, "reason": ""})]:
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
    refused(f"{word} with a key name '*'", word, {"key": "*", "version": 0, flag: False, "reason": "x"}, "request.key",
            "INVALID_REQUEST")
    refused(f"{word} with a reason of 257 bytes", word, {"key": "a", "version": 0, flag: False, "reason": LONG}, "request.reason",
            "INVALID_REQUEST")
for name, of, fields, reason, error in [
    ("hmac with a key name 'A'", "hmac", {"key": "A", "context": "0000", "value": "", "tag_bytes": 16,
                                          "every_version": False}, "request.key", "INVALID_REQUEST"),
    ("rewrap of no envelope", "rewrap", {"context": "0000", "envelope": "ff"}, "request.envelope",
     "DOES_NOT_OPEN"),
    ("jwt_sign with a key name ''", "jwt_sign", {"key": "", "claims": "7b7d"}, "request.key", "INVALID_REQUEST"),
    ("jwt_verify with a key name ''", "jwt_verify", {"key": "", "token": "", "leeway_seconds": 0}, "request.key",
     "INVALID_REQUEST"),
    ("key_show with a key name ''", "key_show", {"key": ""}, "request.key", "INVALID_REQUEST"),
    ("key_configure with a key name '*'", "key_configure", {"key": "*", **NOTHING}, "request.key",
     "INVALID_REQUEST"),
    ("key_rotate with a key name ''", "key_rotate", {"key": "", "reason": 5, "takeover": "grace",
                                                     "lift": "active", "note": ""}, "request.key",
     "INVALID_REQUEST"),
    ("key_retire with a reason of 257 bytes", "key_retire", {"key": "default", "version": 1, "reason": LONG},
     "request.reason", "INVALID_REQUEST"),
    ("key_destroy with a key name ''", "key_destroy", {"key": "", "version": 0, "force": True, "reason": ""},
     "request.key", "INVALID_REQUEST"),
]:
    refused(name, of, fields, reason, error)
bad("key_show on behalf of somebody else", "request", "key_show",
    frame(10, CODES["key_show"], ASSERTION + body_of("request", "key_show", {"key": "a"}), flags=1),
    "request.on_behalf_of", answer(10, "INVALID_REQUEST"))

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
