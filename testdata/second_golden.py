#!/usr/bin/python3
"""Has the second client play the golden transcripts again: second_golden.py crypto/testdata

The times, keys, random numbers and encapsulations are those of a transcript, and each side hears the golden lines of the
other. What a side says must be its own golden lines, byte for byte. A value that nothing looked at is refused.
"""
import json, os, socket, sys, time
from types import SimpleNamespace as Namespace

sys.dont_write_bytecode = True
import second_client
from second_client import *

given = Namespace(now=0, random=[], keys=[], enc={})  # what the second client gets, where it would make its own
plain = []  # what it sealed and opened


def same(got, want, what):
    need(got == want, "malformed", "%s is %r, want %r" % (what, got, want))


def draw(n):
    same(len(given.random[0]), n, "the size of a random number")
    return given.random.pop(0)


def encapsulation(suite, public, info):
    """The one that was made for this key, with its secret."""
    private, enc = given.enc[public]
    return decapsulate(private, enc, info), enc


def noting(function):
    def noted(suite, mk, aad, data):
        out = function(suite, mk, aad, data)
        plain.append(data if function is seal else out)
        return out
    return noted


time.time = lambda: given.now
second_client.os = Namespace(urandom=draw)
second_client.kem_key = lambda suite: given.keys.pop(0)
second_client.encapsulate, second_client.seal, second_client.unseal = encapsulation, noting(seal), noting(unseal)


class Golden(dict):
    """The values of a file, by key, which are taken out to be checked."""
    def __init__(self, *path):
        with open(os.path.join(*path), "rb") as f:
            for line in f.read().split(b"\n"):
                if line and not line.startswith(b"#"):
                    key, _, value = line.partition(b": ")
                    self.setdefault(key.decode(), []).append(value)

    def one(self, key):
        value, = self.pop(key)
        return value

    def hexes(self, key):
        values = [bytes.fromhex(v.decode()) for v in self[key]]
        same([v.hex().encode() for v in values], self.pop(key), key)
        return values

    def hex(self, key):
        value, = self.hexes(key)
        return value

    def phase(self, key):
        return b"\n".join([self.one(key)] + self.pop(key + "-with"))


def inside(line, *path):
    """A field of a line or body, from base64."""
    v = json.loads(line.split(b"\n")[0])
    for name in path:
        v = v[name]
    return unbase64(v)


class Known(Me):
    def __init__(self, k, bundle, roots):
        self.k, self.bundle, self.roots = serialization.load_der_private_key(k, None), Bundle(bundle), roots
        self.name, self.identity = self.bundle.name, self.bundle.verify(self.bundle.name, roots)


def connect(golden, suite, alice, fingerprint, key):
    """The client's side, over a socket into which the relay has already written. Gives the connection id."""
    lines = [golden.one("line%d" % n) for n in (1, 2, 3, 4)]
    c2s, s2c, plaintexts = golden.pop("c2s"), golden.pop("s2c"), [golden.one("hello"), golden.one("welcome")]
    requests, answers, bodies = golden.hexes("c2s-payload"), golden.hexes("s2c-payload"), golden.hexes("c2s-body")
    same(golden.hexes("s2c-body"), [b""] * len(s2c), "the bodies of the relay's lines")
    given.enc[key[1]] = key[0], inside(lines[2], "data")
    given.random = [inside(lines[0], "data")] + [inside(line, "sa-data", "random") for line in c2s]
    here, there = socket.socketpair()
    there.sendall(b"\n".join([lines[1], lines[3], *s2c, b""]))
    there.shutdown(socket.SHUT_WR)
    socket.create_connection = lambda *_: here
    hello = json.loads(plaintexts[0])
    relay = Relay("the relay:0", fingerprint, alice, hello["takes"], [suite], map(unbase64, hello["collects"]))
    for request, beside in zip(requests, bodies):
        header, signature, body = request.split(b"\n", 2)
        relay.send(json.loads(header), body, signature != b"", beside)
    for _ in s2c:
        relay.receive()
    here.close()
    same(there.makefile("rb").read(), b"\n".join([lines[0], lines[2], *c2s, b""]), "what the client writes")
    same(plain, plaintexts + requests + answers, "hello, welcome or a payload")
    return relay.id


def side(me, id, peer, conn):
    """An end of a conversation that keeps what it says."""
    said, heard = [], []
    talk = Conversation(Namespace(me=me, id=id, takes="messages", said=said, heard=heard, until=lambda *types: heard.pop(0),
                                  send=lambda header, body, beside=b"": said.append(body + beside)), peer, conn)
    talk.hear = lambda type, body, phase=None: heard.append(({"type": type, "phase": phase, "src-id": conn, "dst": me.name}, body))
    return talk


def converse(golden, suite, alice, bob, conn, keys):
    p1, p2, p3 = map(golden.phase, ("p1", "p2", "p3"))
    messages = {name: b"\n".join([golden.one(name), golden.one(name + "-signature"), golden.hex(name + "-sealed")])
                for name in ("answer", "text", "receipt", "last")}
    encs = inside(p2, "data"), inside(p3, "data"), inside(messages["receipt"], "step", "enc"), inside(messages["last"], "step", "enc")
    given.enc = {public: (private, enc) for (private, public), enc in zip(keys, encs)}
    given.keys = [keys[0], keys[2], keys[1], keys[3], keys[4]]  # alice begins with two
    given.random = [inside(p1, "data")]
    conn_b = json.loads(p1.split(b"\n")[0])["dst-id"]
    a, b = side(alice, conn, bob.name, conn_b), side(bob, conn_b, alice.name, conn)
    a.letter, b.letter = (json.loads(p.split(b"\n")[0])["letter"] for p in (p3, p2))
    a.hear("client-connect", p2, 2)
    a.begin([suite])
    same(a.t3, golden.hex("t3"), "T3")
    for (name, body), (talks, listens) in zip(messages.items(), [(b, a), (a, b)] * 2):
        header = decode(body.split(b"\n")[0], Conversation.HEADER)
        given.now, given.random, talks.eager = header["time"] / 1000, [header["random"]], header["step"]
        listens.hear(TRAVELS[header["kind"]], body)
        listens.receive()
        if talks is a:
            records = golden.pop(name + "-record")
            same(plain[-1], b"\n".join(records), "the records of " + name)
            a.records(*records)
            continue
        receipt = decode(plain[-1], RECEIPT)
        given.random.insert(0, receipt["salt"])
        if name == "answer":
            b.hear("client-connect", p3, 3)
            b.answer({"phase": 1}, p1, [suite])
        else:
            b.receipt(receipt["read"])
    same([a.relay.attempt, b.relay.attempt], 2 * [golden.hex("attempt")], "the name of the attempt")
    same(a.relay.said, [p1, p3, messages["text"], messages["last"]], "what A says")
    same(b.relay.said, [p2, messages["answer"], messages["receipt"]], "what B says")


def play(directory, suite):
    golden, people = Golden(directory, "golden-%s.txt" % suite), Golden(directory, "golden-identities.txt")
    same(golden.one("suite"), suite.encode(), "the suite")
    given.now, plain[:] = json.loads(golden["answer"][0])["time"] / 1000, []
    root = x509.load_der_x509_certificate(people.hex("root"))
    need(signed(root, root.signature, root.tbs_certificate_bytes, root.signature_hash_algorithm), "certificate-untrusted", "the root")
    alice, bob = (Known(people.hex(name + "-k"), people.one(name + "-bundle"), [root]) for name in ("alice", "bob"))
    relay = serialization.load_der_private_key(people.hex("relay-k"), None).public_key().public_bytes(DER, SPKI)
    privates = [golden.hex(name + "-private") for name in ("relay-kem", "p1", "p2", "p3", "receipt")]
    *used, spare = people.hexes("rsa")
    keys, last = [stored_kem_key(suite, p) for p in privates], inside(golden["last"][0], "step", "key")
    if suite != MLKEM:
        same(privates, used, "the keys")
        same(last, stored_kem_key(suite, spare)[1], "the last key")
    conn = connect(golden, suite, alice, H(relay).hex(), keys[0])
    converse(golden, suite, alice, bob, conn, keys[1:] + [(None, last)])
    same([*golden, *people], [], "what is left")


if __name__ == "__main__":
    directory = sys.argv[1]
    files = [f for f in os.listdir(directory) if f.startswith("golden-")]
    same(sorted(files), sorted("golden-%s.txt" % name for name in [*SUITES, "identities"]), "the files")
    for suite in SUITES:
        play(directory, suite)
