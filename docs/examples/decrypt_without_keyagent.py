#!/usr/bin/env python3
"""Opens what keyagent sealed, from key file and keyring alone, by docs/FORMATS.md. No agent is needed.

    decrypt_without_keyagent.py KEY_FILE KEYRING [NAME=VALUE ...] < sealed > plaintext

Sealed is an envelope or a stream, as bytes or as ka1. or ks1. text; NAME=VALUE is the context it was sealed
with. Needs the package `cryptography`. For emergencies and for proof: nothing is recorded, and the keys lie in
ordinary memory. Nothing is written unless all of the input opened.
"""
import base64
import hmac
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

U16, U32, U64 = (struct.Struct(form).pack for form in ("<H", "<I", "<Q"))


def kdf(key, label, length=32, extra=b""):
    """FORMATS.md, "Derivation"."""
    return HKDFExpand(hashes.SHA256(), length, b"keyagent/v1 " + label.encode() + b"\0" + extra).derive(key)


def xaes_gcm(key, nonce):
    """The AES-256-GCM cipher and 12-byte nonce that XAES-256-GCM makes of a 24-byte nonce."""
    aes = lambda block: Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)
    whole = int.from_bytes(aes(bytes(16)), "big")
    mask = (whole << 1) & (1 << 128) - 1 ^ 0x87 * (whole >> 127)
    half = lambda number: aes((int.from_bytes(bytes([0, number, 0x58, 0]) + nonce[:12], "big") ^ mask).to_bytes(16, "big"))
    return AESGCM(half(1) + half(2)), nonce[12:]


def xaes_open(key, nonce, sealed, associated):
    cipher, short_nonce = xaes_gcm(key, nonce)
    return cipher.decrypt(short_nonce, sealed, associated)


def read_key(text):
    """FORMATS.md, "Key file"."""
    text = text.removesuffix(b"\n")
    if len(text) == 64:
        return bytes.fromhex(text.decode())
    key = base64.b64decode(text.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(text) % 4), validate=True)
    if len(key) != 32:
        raise ValueError("the key file holds no key of 32 bytes")
    return key


def encode_context(pairs):
    short = lambda data: U16(len(data)) + data
    return U16(len(pairs)) + b"".join(short(name) + short(value) for name, value in sorted(pairs.items()))


class Keyring:
    """FORMATS.md, "Keyring file"."""

    def __init__(self, data, master):
        if data[:16] != b"keyagent/keyring" or data[16:18] != U16(1):
            raise ValueError("not a keyring of version 1")
        slots = struct.unpack_from("<H", data, 18)[0]
        identity = data[20:40]  # keyring id and epoch
        fingerprint = kdf(master, "master fingerprint", 16)
        for at in range(48, 48 + 88 * slots, 88):
            if data[at:at + 16] == fingerprint:
                associated = b"keyagent/v1 slot\0" + identity + fingerprint
                root = xaes_open(kdf(master, "slot"), data[at + 16:at + 40], data[at + 40:at + 88], associated)
                break
        else:
            raise ValueError("this key opens no slot of the keyring")
        at = 48 + 88 * slots
        head_length = struct.unpack_from("<I", data, at)[0]
        self.head = xaes_open(kdf(root, "head"), data[at + 4:at + 28], data[at + 28:at + 44 + head_length],
                              b"keyagent/v1 head\0" + data[:at + 4])
        self.secrets, at = {}, at + 44 + head_length
        while at < len(data):
            prefix, nonce = data[at:at + 53], data[at + 53:at + 77]
            length = struct.unpack_from("<H", data, at + 77)[0]
            sealed, at = data[at + 79:at + 95 + length], at + 95 + length
            secret = xaes_open(kdf(root, "record"), nonce, sealed, b"keyagent/v1 record\0" + identity + prefix)
            kind, key_id = prefix[20:21], prefix[21:53]
            if kind == b"\x01" and key_id != kdf(secret, "key id", 32, kind):
                raise ValueError("a key id does not name its secret")
            self.secrets[key_id] = (kind, secret)

    def open_envelope(self, envelope, context, kinds):
        """FORMATS.md, "Envelope"."""
        if len(envelope) < 73 or envelope[0] not in kinds:
            raise ValueError("not an envelope of a kind that opens here")
        kind, secret = self.secrets.get(envelope[1:33], (None, None))
        if kind != b"\x01":
            raise ValueError("sealed by a key that is not in this keyring")
        associated = b"keyagent/v1 envelope\0" + envelope[:33] + context
        return xaes_open(kdf(secret, "message"), envelope[33:57], envelope[57:], associated)

    def open_stream(self, stream, context):
        """FORMATS.md, "Stream"."""
        if stream[:16] != b"keyagent/stream\x01":
            raise ValueError("not a stream of version 1")
        data_key = self.open_envelope(stream[16:121], context, {2})
        info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + stream[121:145] + stream[:16] + context
        derived = HKDFExpand(hashes.SHA512(), 76, info).derive(data_key)
        if not hmac.compare_digest(derived[44:], stream[145:177]):
            raise ValueError("the stream does not open: another context, or a changed header")
        cipher, base = AESGCM(derived[:32]), int.from_bytes(derived[32:44], "big")
        chunks = [stream[at:at + 16400] for at in range(177, len(stream), 16400)]
        if not chunks or len(chunks[-1]) == 16400:
            raise ValueError("the stream is cut off")
        opened = (cipher.decrypt((base ^ number).to_bytes(12, "big"), chunk, b"") for number, chunk in enumerate(chunks))
        return b"".join(opened)

    def open(self, sealed, context):
        if sealed.startswith(b"keyagent/stream"):
            return self.open_stream(sealed, context)
        if sealed.startswith(b"\x01"):
            return self.open_envelope(sealed, context, {1})
        text = sealed.removesuffix(b"\n")
        data = base64.urlsafe_b64decode(text[4:] + b"=" * (-len(text[4:]) % 4))
        if text.startswith(b"ka1."):
            return self.open_envelope(data, context, {1})
        if text.startswith(b"ks1."):
            return self.open_stream(data, context)
        raise ValueError("neither an envelope nor a stream, nor the text of one")


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    pairs = dict(argument.encode().split(b"=", 1) for argument in sys.argv[3:])
    try:
        with open(sys.argv[1], "rb") as file:
            master = read_key(file.read())
        with open(sys.argv[2], "rb") as file:
            keyring = Keyring(file.read(), master)
        plaintext = keyring.open(sys.stdin.buffer.read(), encode_context(pairs))
    except InvalidTag:
        sys.exit("does not open: changed, cut, or sealed with another context")
    except (OSError, ValueError, struct.error) as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(plaintext)


if __name__ == "__main__":
    main()
