#!/usr/bin/env python3
"""Runs docs/examples/decrypt_without_keyagent.py on the vectors. Needs the package `cryptography`.

A keyring of slot, head and record is built from formats.json (only the head is sealed here), then every
envelope and every stream of the vectors is opened, and every failing one is refused.
"""
import hashlib
import importlib.util
import json
import pathlib

here = pathlib.Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("script", here / "../../docs/examples/decrypt_without_keyagent.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
formats = json.loads((here / "../vectors/formats.json").read_text())
failing = json.loads((here / "../vectors/failing.json").read_text())
read = lambda value: bytes.fromhex(value)

master, root = read(formats["master"]["master"]), read(formats["root"]["root"])
slot = formats["slot"]
before = (b"keyagent/keyring" + script.U16(1) + script.U16(1) + read(slot["keyring_id"]) + script.U32(slot["epoch"])
          + script.U64(1) + read(slot["slot"]))
before += script.U32(4)
cipher, nonce = script.xaes_gcm(script.kdf(root, "head"), bytes(24))
head = bytes(24) + cipher.encrypt(nonce, b"head", b"keyagent/v1 head\0" + before)
keyring = script.Keyring(before + head + read(formats["record"]["record"]), master)
assert script.read_key(formats["master"]["master"].encode() + b"\n") == master

for case in formats["envelope"]:
    context = script.encode_context({name.encode(): read(value) for name, value in case["context"].items()})
    assert context == read(case["context_encoded"])
    assert keyring.open(case["text"].encode(), context) == read(case["plaintext"])

streams = []
for case in formats["stream"]["cases"]:
    context = script.encode_context({name.encode(): read(value) for name, value in case["context"].items()})
    length = case["plaintext_len"]
    plaintext = {5: b"hello", 40000: bytes(i % 251 for i in range(40000))}.get(length, bytes(length))
    assert hashlib.sha256(plaintext).hexdigest() == case["plaintext_sha256"]
    header = read(case["header177"])
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + header[121:145] + header[:16] + context
    derived = script.HKDFExpand(script.hashes.SHA512(), 76, info).derive(read(formats["stream"]["data_key"]))
    aes, base = script.AESGCM(derived[:32]), int.from_bytes(derived[32:44], "big")
    stream = header + b"".join(aes.encrypt((base ^ k).to_bytes(12, "big"), plaintext[16384 * k:16384 * (k + 1)], b"")
                               for k in range(length // 16384 + 1))
    assert hashlib.sha256(stream).hexdigest() == case["stream_sha256"]
    assert keyring.open(stream, context) == plaintext
    assert keyring.open(b"ks1." + script.base64.urlsafe_b64encode(stream).rstrip(b"="), context) == plaintext
    streams.append((stream, context))


def edited(case):
    stream, context = streams[case["base"]]
    data = bytearray(stream)
    for name, *numbers in case["edits"]:
        if name == "cut":
            del data[numbers[0]:]
        elif name == "flip":
            data[numbers[0]] ^= numbers[1]
        elif name == "append":
            data += read(numbers[0])
        elif name == "remove":
            del data[numbers[0]:numbers[1]]
        else:
            a, b, count = numbers
            data[a:a + count], data[b:b + count] = data[b:b + count], data[a:a + count]
    return bytes(data), read(case["context"]) if "context" in case else context


attempts = [(keyring.open_envelope, (read(case["envelope"]), read(case["context"]), {1})) for case in failing["envelope"]]
attempts += [(keyring.open_stream, edited(case)) for case in failing["stream"]]
for attempt, arguments in attempts:
    try:
        attempt(*arguments)
    except (script.InvalidTag, ValueError):
        continue
    raise AssertionError(f"opened: {arguments}")
print(len(formats["envelope"]), "envelopes and", len(streams), "streams opened,", len(attempts), "refused")
