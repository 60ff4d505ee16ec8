#!/usr/bin/env python3
"""Writes common/vectors/failing.json: inputs that every implementation of docs/FORMATS.md must refuse.

Made from formats.json by editing bytes; no cipher runs here. The published vectors never change: run it
into another file and compare (`make_failing_vectors.py OUT`).
"""
import base64
import json
import pathlib
import struct
import sys

vectors = pathlib.Path(__file__).resolve().parent / "../vectors"
formats = json.loads((vectors / "formats.json").read_text())


def pairs(*items, count=None):
    out = struct.pack("<H", len(items) if count is None else count)
    for name, value in items:
        out += struct.pack("<H", len(name)) + name + struct.pack("<H", len(value)) + value
    return out


contexts = [
    ("no bytes", b"", "Framing"),
    ("half a count", b"\0", "Framing"),
    ("a byte behind an empty context", b"\0\0\0", "Framing"),
    ("a byte behind the last pair", pairs((b"a", b"1")) + b"\0", "Framing"),
    ("one pair fewer than counted", pairs((b"a", b"1"), count=2), "Framing"),
    ("one pair more than counted", pairs((b"a", b"1"), (b"b", b"2"), count=1), "Framing"),
    ("a name that ends beyond the bytes", b"\x01\0\x02\0a", "Framing"),
    ("a value that ends beyond the bytes", b"\x01\0\x01\0a\xff\xff1", "Framing"),
    ("no length of the value", b"\x01\0\x01\0a\0", "Framing"),
    ("big-endian count", b"\0\x01\x01\0a\0\0", "TooManyPairs"),
    ("17 pairs", pairs(*[(bytes([97 + i]), b"") for i in range(17)]), "TooManyPairs"),
    ("65535 pairs", b"\xff\xff", "TooManyPairs"),
    ("names descending", pairs((b"b", b""), (b"a", b"")), "Order"),
    ("a longer name before its own beginning", pairs((b"a.b", b""), (b"a", b"")), "Order"),
    ("a name twice", pairs((b"a", b"1"), (b"a", b"1")), "Duplicate"),
    ("an empty name", pairs((b"", b"")), "Name"),
    ("a name of 65 bytes", pairs((b"a" * 65, b"")), "Name"),
    ("upper case", pairs((b"Row", b"")), "Name"),
    ("white space", pairs((b"a b", b"")), "Name"),
    ("a slash", pairs((b"a/b", b"")), "Name"),
    ("a colon", pairs((b"a:b", b"")), "Name"),
    ("a NUL", pairs((b"a\0", b"")), "Name"),
    ("a letter beyond ASCII", pairs(("ä".encode(), b"")), "Name"),
    ("a value of 4097 bytes", pairs((b"a", b"v" * 4097)), "Value"),
    ("8193 bytes in all", pairs((b"a", b"v" * 4096), (b"b", b"v" * 4085)), "TooLong"),
]

HEX = formats["root"]["root"]
RAW = bytes.fromhex(HEX)
PADDED, URL = base64.b64encode(RAW).decode(), base64.urlsafe_b64encode(RAW).decode()
key_texts = [
    ("nothing", "", "Empty"), ("a newline only", "\n", "Empty"),
    ("63 digits", HEX[1:], "Length"), ("65 digits", HEX + "0", "Length"), ("66 digits", HEX + "00", "Length"),
    ("two newlines", HEX + "\n\n", "Length"), ("carriage return and newline", HEX + "\r\n", "Length"),
    ("a space behind", HEX + " ", "Length"), ("a byte order mark", "\ufeff" + HEX, "Length"),
    ("0x in front", "0x" + HEX, "Length"), ("quotes", f'"{HEX}"', "Length"),
    ("31 bytes in base64", base64.b64encode(RAW[1:]).decode(), "Characters"),
    ("33 bytes in base64", base64.b64encode(RAW + b"\1").decode(), "Characters"),
    ("a space instead of the first digit", " " + HEX[1:], "Characters"),
    ("a digit g", "g" + HEX[1:], "Characters"),
    ("both alphabets of base64", "-+" + PADDED[2:], "Characters"),
    ("base64 with spare bits", PADDED[:-2] + chr(ord(PADDED[-2]) + 1) + "=", "Characters"),
    ("padding in the middle", PADDED[:20] + "=" + PADDED[21:], "Characters"),
    ("44 characters without padding", URL[:-1] + "A", "Characters"),
    ("43 characters with padding", URL[:42] + "=", "Characters"),
    ("an UTF-8 letter", "é" + HEX[2:], "Characters"),
    ("zeros", "00" * 32, "Constant"), ("one byte 32 times", "ab" * 32, "Constant"),
    ("zeros in base64", base64.b64encode(bytes(32)).decode(), "Constant"),
    ("published: 00 to 1f", bytes(range(32)).hex(), "Published"),
    ("published: 01 to 20", bytes(range(1, 33)).hex(), "Published"),
    ("published: 20 to 3f", bytes(range(32, 64)).hex(), "Published"),
    ("published: an example in base64", "k7Jm9XpL4zR2vN8qYwE5uT3hS6gF1aD0bC4xM7oP2nA=", "Published"),
    ("published: a test key of GCM", "feffe9928665731c6d6a8f9467308308" * 2, "Published"),
]

TEXT = formats["envelope"][1]["text"]
DATA_KEY_TEXT = "kd1." + base64.urlsafe_b64encode(
    bytes.fromhex(formats["stream"]["cases"][0]["header177"])[16:121]).decode().rstrip("=")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
spare = TEXT[:-1] + ALPHABET[ALPHABET.index(TEXT[-1]) + 1]
texts = [
    ("nothing", "", "UnknownPrefix"), ("the prefix without its dot", "ka1", "UnknownPrefix"),
    ("upper-case prefix", "KA1." + TEXT[4:], "UnknownPrefix"), ("a later version", "ka2." + TEXT[4:], "UnknownPrefix"),
    ("a space in front", " " + TEXT, "UnknownPrefix"), ("no prefix", TEXT[4:], "UnknownPrefix"),
    ("the prefix alone", "ka1.", "TooShort"), ("72 bytes", "ka1." + TEXT[4:100], "TooShort"),
    ("padding", TEXT + "=", "NotCanonical"), ("a newline", TEXT + "\n", "NotCanonical"),
    ("a space inside", TEXT[:20] + " " + TEXT[20:], "NotCanonical"),
    ("a tab inside", TEXT[:20] + "\t" + TEXT[21:], "NotCanonical"),
    ("the other alphabet", TEXT.replace("-", "+").replace("_", "/"), "NotCanonical"),
    ("spare bits not zero", spare, "NotCanonical"), ("one character more", TEXT + "AAA", "NotCanonical"),
    ("a message under the prefix of data keys", "kd1." + TEXT[4:], "PrefixMismatch"),
    ("a data key under the prefix of messages", "ka1." + DATA_KEY_TEXT[4:], "PrefixMismatch"),
    ("kind 0", "ka1.AA" + TEXT[6:], "UnknownKind"),
]

envelopes = []


def envelope(name, base, error, edit=lambda data: data, context=None):
    case = formats["envelope"][base]
    data = bytearray.fromhex(case["envelope"])
    edited = edit(data)
    data = bytes(data if edited is None else edited)
    envelopes.append({"name": name, "envelope": data.hex(),
                      "context": case["context_encoded"] if context is None else context.hex(), "error": error})


def flip(at, bits=1):
    def edit(data):
        data[at] ^= bits
    return edit


envelope("empty", 1, "TooShort", lambda data: bytearray())
envelope("72 bytes", 0, "TooShort", lambda data: data[:72])
envelope("72 bytes of a longer one", 1, "TooShort", lambda data: data[:72])
for kind in (0, 4, 0x41, 255):
    envelope(f"kind {kind}", 1, "UnknownKind", flip(0, kind ^ 1))
for kind in (2, 3):
    envelope(f"a message that says kind {kind}", 1, "DoesNotOpen", flip(0, kind ^ 1))
for at in (1, 16, 32):
    envelope(f"key id, byte {at}", 1, "UnknownKeyId", flip(at))
for at, what in [(33, "nonce, first byte"), (44, "nonce, byte 12"), (45, "nonce, byte 13"), (56, "nonce, last byte"),
                 (57, "ciphertext, first byte"), (62, "ciphertext, last byte"), (63, "tag, first byte"),
                 (78, "tag, last byte")]:
    envelope(what, 1, "DoesNotOpen", flip(at, 0x80))
envelope("tag of an empty message", 0, "DoesNotOpen", flip(60))
envelope("without the last byte", 1, "DoesNotOpen", lambda data: data[:-1])
envelope("without the first byte of the ciphertext", 1, "DoesNotOpen", lambda data: data[:57] + data[58:])
envelope("tag of 12 bytes", 2, "DoesNotOpen", lambda data: data[:-4])
envelope("a byte behind the tag", 1, "DoesNotOpen", lambda data: data + b"\0")
envelope("tag of zeros", 1, "DoesNotOpen", lambda data: data[:-16] + bytes(16))
envelope("another context", 1, "DoesNotOpen", context=pairs((b"a", b"1")))
envelope("no context", 2, "DoesNotOpen", context=b"\0\0")
envelope("a pair fewer", 2, "DoesNotOpen", context=pairs((b"column", b"api_key")))
envelope("a value of another case", 2, "DoesNotOpen",
         context=pairs((b"column", b"API_key"), (b"table", b"users")))
envelope("values exchanged", 2, "DoesNotOpen", context=pairs((b"column", b"users"), (b"table", b"api_key")))
envelope("the boundary between name and value moved", 3, "DoesNotOpen", context=pairs((b"a", b"bc")))
envelope("the boundary moved back", 4, "DoesNotOpen", context=pairs((b"ab", b"c")))
envelope("a final newline in the value", 3, "DoesNotOpen", context=pairs((b"ab", b"c\n")))

streams = []


def stream(name, base, error, *edits, context=None):
    streams.append({"name": name, "base": base, "edits": list(edits), "error": error}
                   | ({} if context is None else {"context": context.hex()}))


SMALL, WITH_CONTEXT, FULL, LONG = 1, 7, 3, 5  # 5 bytes; 5 bytes; 16384 bytes; 40000 bytes: three chunks
chunk = lambda index: 177 + 16400 * index
stream("empty", SMALL, "HeaderTooShort", ["cut", 0])
stream("14 bytes of the name", SMALL, "HeaderTooShort", ["cut", 14])
stream("header without its last byte", SMALL, "HeaderTooShort", ["cut", 176])
stream("another name", SMALL, "NotAStream", ["flip", 0, 1])
stream("the last letter of the name", SMALL, "NotAStream", ["flip", 14, 32])
stream("version 0", SMALL, "UnknownVersion", ["flip", 15, 1])
stream("version 2", SMALL, "UnknownVersion", ["flip", 15, 3])
for kind in (1, 3, 0, 4):
    stream(f"sealed key of kind {kind}", SMALL, "SealedKeyKind", ["flip", 16, kind ^ 2])
stream("key id", SMALL, "UnknownKeyId", ["flip", 17, 1])
for at, what in [(49, "nonce"), (73, "ciphertext"), (104, "last byte of the ciphertext"), (105, "tag"), (120, "last byte of the tag")]:
    stream(f"sealed key, {what}", SMALL, "DoesNotOpen", ["flip", at, 1])
stream("another context", SMALL, "DoesNotOpen", context=pairs((b"file", b"a")))
stream("no context", WITH_CONTEXT, "DoesNotOpen", context=b"\0\0")
stream("salt, first byte", SMALL, "Commitment", ["flip", 121, 1])
stream("salt, last byte", SMALL, "Commitment", ["flip", 144, 128])
stream("commitment, first byte", SMALL, "Commitment", ["flip", 145, 1])
stream("commitment, last byte", SMALL, "Commitment", ["flip", 176, 128])
stream("nothing behind the header", SMALL, "Truncated", ["cut", 177])
stream("15 bytes behind the header", SMALL, "Truncated", ["cut", 192])
stream("the last byte cut off", SMALL, "Chunk 0", ["cut", 197])
stream("a byte behind the end", SMALL, "Chunk 0", ["append", "00"])
stream("first byte of the chunk", SMALL, "Chunk 0", ["flip", 177, 1])
stream("last byte of the tag", SMALL, "Chunk 0", ["flip", 197, 1])
stream("the chunk emptied, its tag kept", SMALL, "Chunk 0", ["remove", 177, 182])
stream("a full chunk without the empty last one", FULL, "Truncated", ["cut", chunk(1)])
stream("a full chunk and half a tag", FULL, "Truncated", ["cut", chunk(1) + 8])
stream("the empty last chunk changed", FULL, "Chunk 1", ["flip", chunk(1) + 15, 1])
stream("an empty chunk of zeros behind the end", FULL, "Chunk 1", ["append", "00" * 16])
stream("cut behind the first chunk", LONG, "Truncated", ["cut", chunk(1)])
stream("cut behind the second chunk", LONG, "Truncated", ["cut", chunk(2)])
stream("cut inside the second chunk", LONG, "Chunk 1", ["cut", chunk(1) + 5000])
stream("cut inside the last chunk", LONG, "Chunk 2", ["cut", chunk(2) + 100])
stream("first and second chunk exchanged", LONG, "Chunk 0", ["swap", chunk(0), chunk(1), 16400])
stream("second chunk in the place of the first", LONG, "Chunk 0", ["remove", chunk(0), chunk(1)])
stream("second chunk removed", LONG, "Chunk 1", ["remove", chunk(1), chunk(2)])
stream("a byte of the second chunk", LONG, "Chunk 1", ["flip", chunk(1) + 8000, 4])
stream("last byte of the last tag", LONG, "Chunk 2", ["flip", chunk(2) + 7231 + 16, 1])
stream("bytes behind the end up to a full chunk", LONG, "Chunk 2", ["append", "00" * (16400 - 7232 - 16)])

named = lambda kind, cases, encode: [{"name": n, kind: encode(v), "error": e} for n, v, e in cases]
same = lambda value: value
lists = {
    "context": named("bytes", contexts, bytes.hex),
    "key_text": named("text", key_texts, same),
    "envelope_text": named("text", texts, same),
    "envelope": envelopes,
    "stream": streams,
}
about = ("Inputs to be refused, see docs/FORMATS.md, \"Vectors\". Secret, data key, salt and the streams by number "
         "(`base`) are those of formats.json. Edits, in order: cut to a length; flip bits at an offset; append hex; "
         "remove from-to; swap two ranges. `error` is the first rule that a reader finds broken.")
show = lambda cases: ",\n".join("    " + json.dumps(case, ensure_ascii=False) for case in cases)
body = ",\n".join(f'  "{name}": [\n{show(cases)}\n  ]' for name, cases in lists.items())
out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else vectors / "failing.json"
out.write_text(f'{{\n  "about": {json.dumps(about)},\n{body}\n}}\n')
print({name: len(cases) for name, cases in lists.items()})
