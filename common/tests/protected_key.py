#!/usr/bin/env python3
"""Writes or checks common/vectors/protected_key.json from docs/FORMATS.md alone. Needs `cryptography` 44 or later.

    protected_key.py           opens every vector and seals it again, then refuses every changed bit
    protected_key.py OUT       writes the vectors into OUT

The published vectors never change: run it into another file and compare.
"""
import base64
import json
import pathlib
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

PATH = pathlib.Path(__file__).resolve().parent / "../vectors/protected_key.json"
LABEL = b"keyagent/v1 protected key\0"
CASES = [
    ("the default parameters", "correct horse battery staple".encode(), 65536, 3, 1, 1),
    ("letters of many scripts, spaces at both ends", "  Gr\u00fc\u00dfe an \u6771\u4eac ".encode(), 19456, 2, 1, 2),
    ("bytes that are no text, several lanes", bytes([255, 0, 254, 13, 128, 7, 1, 200]), 32768, 4, 4, 3),
]


def xaes(key, nonce):
    """XAES-256-GCM (c2sp.org/XAES-256-GCM): a key for AES-256-GCM, and the rest of the nonce."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update
    last = block(bytes(16))
    number = int.from_bytes(last, "big") << 1
    if number >> 128:
        number = number & ((1 << 128) - 1) ^ 0x87
    k1 = number.to_bytes(16, "big")
    xor = lambda a, b: bytes(x ^ y for x, y in zip(a, b))
    derived = b"".join(block(xor(bytes([0, i]) + b"X\0" + nonce[:12], k1)) for i in (1, 2))
    return AESGCM(derived), nonce[12:]


def fingerprint(master):
    return HKDFExpand(SHA256(), 16, b"keyagent/v1 master fingerprint\0").derive(master)


def cipher_of(header, passphrase):
    memory, passes, lanes = struct.unpack("<III", header[:12])
    if not (19456 <= memory <= 1 << 20 and 2 <= passes <= 16 and 1 <= lanes <= 8):
        raise ValueError("parameters out of bounds")
    derive = Argon2id(salt=header[12:28], length=32, iterations=passes, lanes=lanes, memory_cost=memory)
    return xaes(derive.derive(passphrase), header[44:68])


def seal(master, passphrase, memory, passes, lanes, salt, nonce):
    header = struct.pack("<III", memory, passes, lanes) + salt + fingerprint(master) + nonce
    cipher, rest = cipher_of(header, passphrase)
    return "kp1." + base64.urlsafe_b64encode(header + cipher.encrypt(rest, master, LABEL + header)).rstrip(b"=").decode()


def decode(text):
    if not text.startswith("kp1.") or len(text) != 159:
        raise ValueError("no protected key")
    data = base64.urlsafe_b64decode(text[4:] + "=")
    if "kp1." + base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise ValueError("not canonical")
    return data


def unseal(text, passphrase):
    data = decode(text)
    cipher, rest = cipher_of(data[:68], passphrase)
    master = cipher.decrypt(rest, data[68:], LABEL + data[:68])
    if fingerprint(master) != data[28:44]:
        raise ValueError("another key than it says")
    return master


def pattern(first, count):
    """Bytes without a meaning; not equal, not ascending by one."""
    return bytes((first * 89 + 37 * i * i + 11 * i) & 255 for i in range(count))


def make():
    cases = []
    for name, passphrase, memory, passes, lanes, number in CASES:
        master, salt, nonce = pattern(number, 32), pattern(number + 10, 16), pattern(number + 20, 24)
        text = seal(master, passphrase, memory, passes, lanes, salt, nonce)
        cases.append({"name": name, "passphrase": passphrase.hex(), "memory_kib": memory, "passes": passes, "lanes": lanes,
                      "salt": salt.hex(), "nonce": nonce.hex(), "master": master.hex(),
                      "fingerprint": fingerprint(master).hex(), "associated_data": (LABEL + decode(text)[:68]).hex(),
                      "text": text})
    return {"protected_key": cases}


def check():
    published = json.loads(PATH.read_text())
    assert published == make(), "the vectors are others"
    for case in published["protected_key"]:
        passphrase, data = bytes.fromhex(case["passphrase"]), decode(case["text"])
        assert unseal(case["text"], passphrase).hex() == case["master"]
        cipher, rest = cipher_of(data[:68], passphrase)
        for bit in range(len(data) * 8):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            try:
                cipher.decrypt(bytes(changed[56:68]), bytes(changed[68:]), LABEL + bytes(changed[:68]))
            except InvalidTag:
                continue
            raise AssertionError(f"bit {bit} can be changed")
    print(f"{len(published['protected_key'])} protected keys open, are made again, and bear no changed bit")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        pathlib.Path(sys.argv[1]).write_text(json.dumps(make(), indent=1) + "\n")
    else:
        check()
