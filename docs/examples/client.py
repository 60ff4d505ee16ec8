#!/usr/bin/env python3
"""A keyagent client in Python's standard library alone, written from docs/PROTOCOL.md.

    client.py encrypt [NAME=VALUE ...] < plaintext > ka1-text
    client.py decrypt [NAME=VALUE ...] < ka1-text > plaintext
    client.py reload
"""
import base64, os, pwd, socket, struct, sys

def text(data): return struct.pack("<Q", len(data)) + data

def take(body, at):
    start = at + 8
    end = start + struct.unpack_from("<Q", body, at)[0]
    if end > len(body): raise ValueError("the reply claims more than it holds")
    return body[start:end], end

def context(pairs):
    short = lambda data: struct.pack("<H", len(data)) + data
    return struct.pack("<H", len(pairs)) + b"".join(short(n) + short(v) for n, v in sorted(pairs.items()))

class Agent:
    def __init__(self):
        runtime = [os.environ["XDG_RUNTIME_DIR"]] if os.environ.get("XDG_RUNTIME_DIR") else []
        named = os.environ.get("KEYAGENT_SOCK")
        places = [named] if named else [f"{folder}/keyagent/agent.sock" for folder in
            (*runtime, f"/run/user/{os.geteuid()}", os.path.expanduser("~/.local/state"), "/run")]
        self.socket, self.next_id = socket.socket(socket.AF_UNIX), 1
        self.socket.settimeout(5)
        path = next((p for p in places if not self.socket.connect_ex(p)), None) or sys.exit(f"no agent at {places}")
        server = struct.unpack("iII", self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        trusted = {os.geteuid(), 0} | {user.pw_uid for user in pwd.getpwall() if user.pw_name == "keyagent"}
        if not {server, os.stat(os.path.dirname(path) or ".").st_uid} <= trusted: sys.exit("not an agent to be trusted")
        reply = self.call(1, struct.pack("<HH", 1, 1) + text(b"example/1.0"))
        if struct.unpack_from("<H", reply)[0] != 1: sys.exit("no common protocol version")

    def receive(self, count):
        data = b""
        while len(data) < count:
            data += self.socket.recv(count - len(data)) or sys.exit("the agent closed the connection")
        return data

    def call(self, code, body):
        request, self.next_id = self.next_id, self.next_id + 1
        self.socket.sendall(struct.pack("<IIHH", 8 + len(body), request, code, 0) + body)
        length, answered, status, flags = struct.unpack("<IIHH", self.receive(12))
        if not 8 <= length <= 1114112 or flags: sys.exit("not a keyagent reply")
        reply = self.receive(length - 8)
        if status: sys.exit(f"error {status}: {take(reply, 0)[0].decode()}")
        if answered != request: sys.exit("a reply to another request")
        return reply

    def encrypt(self, plaintext, pairs, key=b"default"):
        return take(self.call(16, text(key) + text(context(pairs)) + text(plaintext)), 4)[0]

    def decrypt(self, envelope, pairs):
        return take(self.call(17, text(context(pairs)) + text(envelope)), 5)[0]

    def reload(self):
        generation, policy, changed = struct.unpack("<Q32s?", self.call(7, b""))
        return generation, policy.hex(), changed

if __name__ == "__main__":
    if sys.argv[1:] == ["reload"]:
        sys.exit(print("generation %d, policy %s, changed %s" % Agent().reload()))
    if sys.argv[1:2] not in (["encrypt"], ["decrypt"]): sys.exit(__doc__)
    pairs = dict(argument.encode().split(b"=", 1) for argument in sys.argv[2:])
    data, agent = sys.stdin.buffer.read(), Agent()
    if sys.argv[1] == "encrypt":
        print("ka1." + base64.urlsafe_b64encode(agent.encrypt(data, pairs)).decode().rstrip("="))
    else:
        sealed = data.decode().strip().removeprefix("ka1.")
        sys.stdout.buffer.write(agent.decrypt(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)), pairs))
