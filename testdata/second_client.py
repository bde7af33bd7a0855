#!/usr/bin/python3
"""A second ChatSecure client, written from PROTOCOL.md and nothing else: it shows that the text is enough.

    second_client.py -relay HOST:PORT -fingerprint HEX -name NAME -card DIR -ca-bundle FILE COMMAND
      list              one "name id takes" a line
      send NAME TEXT    one message to the first connection of NAME that takes messages; prints its id and READ
      recv              one message; prints "from: text" and answers with receipts
      pipe NAME         standard input to a pipe connection of NAME, which begins, and what comes from it to standard output

It makes an Ed25519 K, and knows ASCII names. It keeps no history and looks at no revocation list: it is there for the
tests. second_history.py verifies a history. -step takes every turn of the ratchet at once, and has recv go on until a message
brings a step of the peer's; -spoil WHAT flips a bit of one thing that it sends, to see others refuse it.
"""
import argparse, base64, contextlib, json, os, re, select, socket, sys, time

sys.dont_write_bytecode = True
import second_crypto
from second_crypto import *

LINE, HANDSHAKE_LINE = 1 << 20, 64 << 10  # bytes
CHUNK, PIPE_WINDOW = 88 << 10, 2 << 20  # bytes of a pipe
PATIENCE, KEEP_ALIVE = 60, 30  # seconds
EXIT = {"malformed": 1, "too-long": 1, "unexpected": 1, "busy": 3, "lost": 3, "timeout": 6, "no-such-name": 6, "gone": 6, "not-taking": 6,
        "no-conversation": 6, "signature-invalid": 8, "decrypt-failed": 8}  # the others: 4


# The line to the relay.

class Relay:
    HEADER = "type phase:i? name? id? takes? watch:t? src? src-id? dst? dst-id? done? answers:i? code? message? kind? mailbox:h? identity:h? letter:h? left:i? until:i?"

    def __init__(self, address, fingerprint, me, takes, ciphers, collects=()):
        host, port = address.rsplit(":", 1)
        try:
            self.socket = socket.create_connection((host, int(port)), 10)
        except OSError as e:
            raise Refused("lost", str(e))
        self.me, self.takes, self.buffer, self.deadline, self.acked = me, takes, b"", time.time() + PATIENCE, {}
        self.attempt = self.t3 = None  # that go on
        line1 = encode({"type": "connect", "phase": 1, "ciphers": ciphers, "data": os.urandom(32)})
        line2 = self.exchange(line1)
        t1 = H(tup("connect-T1", line1))
        f = decode(line2, "type phase:i cipher data:b public_key:b signature:b")
        need((f["type"], f["phase"]) == ("connect", 2) and f["cipher"] in ciphers, "unexpected", "phase 2")
        self.suite = f["cipher"]
        check(public(f["public_key"]), f["signature"], tup("connect-2", t1, self.suite, f["data"], f["public_key"]), "the relay's")
        need(H(f["public_key"]).hex() == fingerprint, "relay-changed", "another fingerprint: " + H(f["public_key"]).hex())
        t2 = H(tup("connect-T2", t1, line2))
        secret, enc = encapsulate(self.suite, f["data"], t2)
        c2s, s2c = derive(secret, t2, ("c2s", "s2c"), "hs-keys", self.suite, enc)
        collects = list(collects)  # of mailboxes of its own, of which it has none
        plain = encode({"name": me.name, "takes": takes, "bundle": me.bundle.json, "mailbox": b"", "collects": collects,
                        "data_signature": spoil("connect", me.sign("connect-3", t2, enc, me.name, me.bundle.hash, collects))})
        line3 = encode({"type": "connect", "phase": 3, "data": enc, "payload": seal(self.suite, c2s, tup("hs-c2s", t2, enc), plain)})
        line4 = self.exchange(line3)
        t3 = H(tup("connect-T3", t2, line3))
        f = decode(line4, "type phase:i payload:b")
        need((f["type"], f["phase"]) == ("connect", 4), "unexpected", "phase 4")
        f = decode(unseal(self.suite, s2c, tup("hs-s2c", t3), f["payload"]), "done? id? error:o?")
        if f["error"]:
            f = decode(f["error"], "code message")
            raise Refused(f["code"], f["message"])
        need(f["done"] == "ok" and re.fullmatch("[0-9a-f]{16}", f["id"] or ""), "unexpected", "phase 4")
        self.id, self.t4 = f["id"], H(tup("connect-T4", t3, line4))
        self.out, self.into = (Chain(self.suite, self.t4, d, ck) for d, ck in zip(("c2s", "s2c"), derive(secret, self.t4, ("c2s", "s2c"), "app", self.suite)))

    def exchange(self, line):
        self.socket.sendall(line + b"\n")
        line = self.line()
        if line.startswith(b'{"type":"error"'):
            f = decode(line, "type code message")
            raise Refused(f["code"], "the relay says, without proof: " + f["message"])
        return line

    def line(self):
        blank, silent = 0, time.time()
        while True:
            line, newline, rest = self.buffer.partition(b"\n")
            if newline:
                self.buffer = rest
                if line:
                    return line
                blank += 1
                need(blank <= 64, "malformed", "blank lines")
                continue
            need(len(self.buffer) <= (LINE if hasattr(self, "out") else HANDSHAKE_LINE), "too-long", "a line")
            need(time.time() < self.deadline, "timeout", "nothing came")
            if not select.select([self.socket], [], [], 1)[0]:
                if time.time() - silent > KEEP_ALIVE and hasattr(self, "out"):
                    silent = time.time()
                    self.send({"type": "ack"})
                continue
            more = self.socket.recv(1 << 16)
            need(more, "lost", "the relay closed the connection")
            self.buffer += more

    def send(self, header, body=b"", signed=False, beside=b""):
        """Sends a header, whose fields stand in order, and gives the number of the line. What is beside the payload is the line's body."""
        header, chain, random = encode(header), self.out, os.urandom(32)
        signature = spoil("request", self.me.sign("request", self.t4, chain.n, header)) if signed else b""
        sealed = seal(self.suite, chain.mk(random), base64.b64encode(beside), join(header, signature) + b"\n" + body)
        line = {"type": "secure", "sa-data": {"seq": chain.n, "random": random}, "payload": sealed, "body": beside or None}
        self.socket.sendall(encode(line) + b"\n")
        chain.forward()
        return chain.n - 1

    def receive(self):
        f = decode(self.line(), "type sa-data:o payload:b body:b?")
        sa, chain = decode(f["sa-data"], "seq:i random:b"), self.into
        need(f["type"] == "secure" and sa["seq"] == chain.n and len(sa["random"]) == 32, "unexpected", "a line with another number")
        need(f["body"] != b"", "malformed", "an empty body")
        beside = f["body"] or b""
        plain = unseal(self.suite, chain.mk(sa["random"]), base64.b64encode(beside), f["payload"])
        chain.forward()
        header, _, body = split(plain, 3)
        header = decode(header, self.HEADER)
        if header["type"] == "ack" and header["dst-id"]:
            self.acked[header["dst-id"]] = header["answers"]
        idle = header["src-id"] and body != (self.t3 or self.attempt)  # about another one, or none
        need(header["type"] != "error" or idle, header["code"], header["message"])
        need(not beside or header["type"] == "client-com", "malformed", "a body in another line")
        return header, body + beside

    def until(self, *types):
        while True:
            header, body = self.receive()
            if header["type"] in types:
                return header, body

    def list(self, name=None):
        seq, out = self.send({"type": "list", "name": name}, signed=True), []
        while True:
            header, body = self.until("list")
            if header["answers"] == seq:
                rows = json.loads(body.decode())
                need(encode(rows) == body, "malformed", "a list")
                out += [decode(encode(row), "name id takes since:i identity:h letters:t?") for row in rows]
                if header["done"] == "ok":
                    return out

    def await_ack(self, dst_id, seq):
        """Waits until the relay has written the line seq to that connection."""
        while self.acked.get(dst_id, -1) < seq:
            header, _ = self.receive()
            need(header["type"] != "client-disconnect" or header["dst"] or header["src-id"] != dst_id, "gone", "the peer left")

    def leave(self):
        self.send({"type": "client-disconnect"})
        self.socket.shutdown(socket.SHUT_WR)
        while self.socket.recv(1 << 16):  # the relay writes what is queued, and closes
            pass


# A conversation.

RECEIPT = "delivered:i delivered_digest:b read:i read_digest:b time:i salt:b"


def record_id(sender, to, f):
    return H(tup("id", sender, to, f["time"], f["salt"], f["text"]))[:16]


def read_record(raw, sender):
    f = decode(raw, "id seq:i time:i to:l text salt:b")
    to = [list(decode(encode(x), "name identity:h").values()) for x in f["to"]]
    names = [n for n, _ in to]
    need(names == sorted(set(names)) and len(f["salt"]) == 16 and f["time"] >= 1577836800000, "malformed", "a record")
    need(f["id"] == record_id(sender, to, f).hex(), "malformed", "a record's id")
    return f, to


def first_digest(t3, direction):
    return H(tup("records", t3, direction))


def next_digest(digest, record):
    return H(tup("record", digest, H(record)))


def receipt_digest(t3, direction, f):
    return H(tup("receipt", t3, direction, *f.values()))


def message_signs(header, cipher_hash):
    return tup("message", header, cipher_hash)


def read_header(raw):
    f = decode(raw, Conversation.HEADER)
    need(all(len(f[x]) == 32 for x in ("conversation", "random", "src-bundle", "dst-bundle")) and f["direction"] in ("AB", "BA"), "malformed", "sizes")
    seq, count, digest = {"text": (f["seq"] > 0, 0 < f["count"] <= 1024, 32), "receipt": (f["seq"] == 0, f["count"] == 0, 32),
                          "end": (True, f["count"] == 0, 32), "pipe": (f["seq"] == 0, f["count"] == 0, 0)}.get(f["kind"], (False, False, 0))
    need(seq and count and len(f["digest"] or b"") == digest, "malformed", "a " + f["kind"])
    return f


TRAVELS = {"text": "client-com", "pipe": "client-com", "receipt": "comm-ack", "end": "client-disconnect"}


class Conversation:
    P1 = "type data:b ciphers:l cipher key:b src src-id dst dst-id bundle:o takes retry:b?"
    HEADER = "conversation:b direction kind n:i random:b step:o? src-bundle:b dst-bundle:b time:i seq:i count:i digest:b?"

    letter = 0  # the number of the last one left in the other side's mailbox

    def __init__(self, relay, peer, conn, step=False):
        self.relay, self.me, self.peer, self.conn, self.eager = relay, relay.me, peer, conn, step
        need(conn != relay.id, "unexpected", "an own connection id")

    def to_peer(self, type, body, phase=None, beside=b""):
        return self.relay.send({"type": type, "phase": phase, "dst": self.peer, "dst-id": self.conn}, body, beside=beside)

    @contextlib.contextmanager
    def refusing(self):
        """Ends the attempt at the other side too, with the fault of what it sent, and leaves."""
        try:
            yield
        except Refused as e:
            self.relay.send({"type": "error", "dst": self.peer, "dst-id": self.conn, "code": e.code, "message": str(e)}, self.relay.attempt)
            self.relay.leave()
            raise

    def from_peer(self, *types):
        while True:
            header, body = self.relay.until(*types)
            if header["type"] == "client-disconnect" and header["src-id"] == self.conn and not header["dst"]:
                raise Refused("gone", "the peer left")
            if self.conn in (header["src-id"], header.get("dst-id")):  # or an ack for it
                return header, body

    def begin(self, ciphers):
        """As A: p1, p2 (or a retry, once), p3."""
        p1 = {"type": "p1", "data": None, "ciphers": ciphers, "cipher": ciphers[0], "key": None, "src": self.me.name, "src-id": self.relay.id,
              "dst": self.peer, "dst-id": self.conn, "bundle": self.me.bundle.json, "takes": self.relay.takes}
        retried = None
        while True:
            key, p1["key"] = kem_key(p1["cipher"])
            p1["data"] = os.urandom(32)
            raw = encode(p1)
            sig1 = self.me.sign("cc-1", raw)
            t1 = H(tup("cc-T1", raw, sig1))
            sent = join(raw, spoil("sig1", sig1))
            self.relay.attempt = H(sent)
            self.to_peer("client-connect", sent, 1)
            header, body = self.from_peer("client-connect", "client-disconnect")
            with self.refusing():
                need(header["phase"] == 2, "unexpected", "phase 2")
                if not body.startswith(b'{"type":"retry"'):
                    break
                need(retried is None, "unexpected", "a second retry")
                raw2, sig = lines(body, 2)
                f = decode(raw2, "type cipher bundle:o")
                need(f["cipher"] in ciphers and f["cipher"] != p1["cipher"], "no-common-suite", "retry")
                retried = Bundle(f["bundle"])
                check(retried.key, sig, tup("cc-retry", t1, f["cipher"], retried.hash), "a retry's")
                retried.verify(self.peer, self.me.roots)
            p1["cipher"], p1["retry"] = f["cipher"], H(tup("cc-retried", raw, raw2))
        with self.refusing():
            p2, sig2, confirm2 = lines(body, 3)
            f = decode(p2, "type cipher data:b key:b bundle:o takes letter:i")
            need(f["type"] == "p2" and f["cipher"] == p1["cipher"], "unexpected", "p2")
            self.taken(f)
            suite, theirs, t2 = f["cipher"], Bundle(f["bundle"]), H(tup("cc-T2", t1, p2))
            need(retried is None or retried.hash == theirs.hash, "unexpected", "p2 with another bundle than the retry")
            check(theirs.key, sig2, tup("cc-2", t2), "p2's")
            root0 = hmac(t2, decapsulate(key, f["data"], t1))
            equal(confirm2, hmac(expand(root0, b"chatsecure/2 confirm B"), t2), "p2's confirmation")
            self.identity = theirs.verify(self.peer, self.me.roots)
            ss2, enc2 = encapsulate(suite, f["key"], t2)
        mine, pub = kem_key(suite)
        p3 = encode({"type": "p3", "data": enc2, "key": pub, "letter": self.letter})
        kc = self.start(suite, H(tup("cc-T3", t2, sig2, confirm2, p3)), ss2, root0, "AB", theirs)
        self.mine, self.theirs = (mine, pub), None
        sig3, confirm3 = self.me.sign("cc-3", self.t3), hmac(kc, self.t3)
        self.to_peer("client-connect", join(p3, spoil("sig3", sig3), spoil("confirm3", confirm3)), 3)

    def taken(self, f):
        """Notes the kind of message that the other side takes."""
        need(f["takes"] in ("messages", "pipe", "none"), "malformed", "takes")
        self.takes = f["takes"]

    def answer(self, header, body, ciphers):
        """As B: a p1 that came, p2 (before it a retry, if need be), p3, and the receipt for nothing."""
        first = None
        while True:
            self.relay.attempt = H(body)
            with self.refusing():
                p1, sig1 = lines(body, 2)
                f = decode(p1, self.P1)
                need(header["phase"] == 1 and f["type"] == "p1" and len(f["data"]) == 32, "unexpected", "p1")
                self.taken(f)
                need((f["src"], f["src-id"], f["dst"], f["dst-id"]) == (self.peer, self.conn, self.me.name, self.relay.id), "unexpected", "names or connections")
                theirs = Bundle(f["bundle"])
                check(theirs.key, sig1, tup("cc-1", p1), "p1's")
                self.identity, t1 = theirs.verify(self.peer, self.me.roots), H(tup("cc-T1", p1, sig1))
                if first:
                    need((f["retry"], f["cipher"], f["ciphers"], f["bundle"], f["takes"]) == (first, suite, offered, *kept), "unexpected", "the p1 after a retry")
                    break
                need(f["retry"] is None and f["cipher"] == f["ciphers"][0], "unexpected", "p1")
                suite, offered, kept = next((c for c in f["ciphers"] if c in ciphers), None), f["ciphers"], (f["bundle"], f["takes"])
                need(suite, "no-common-suite", "none of " + ", ".join(offered))
                if suite == f["cipher"]:
                    break
            retry = encode({"type": "retry", "cipher": suite, "bundle": self.me.bundle.json})
            first = H(tup("cc-retried", p1, retry))
            self.to_peer("client-connect", join(retry, spoil("retry", self.me.sign("cc-retry", t1, suite, self.me.bundle.hash))), 2)
            header, body = self.from_peer("client-connect", "client-disconnect")
        with self.refusing():
            ss1, enc1 = encapsulate(suite, f["key"], t1)
        key, pub = kem_key(suite)
        p2 = encode({"type": "p2", "cipher": suite, "data": enc1, "key": pub, "bundle": self.me.bundle.json,
                     "takes": self.relay.takes, "letter": self.letter})
        t2 = H(tup("cc-T2", t1, p2))
        root0 = hmac(t2, ss1)
        sig2, confirm2 = spoil("sig2", self.me.sign("cc-2", t2)), spoil("confirm2", hmac(expand(root0, b"chatsecure/2 confirm B"), t2))
        self.to_peer("client-connect", join(p2, sig2, confirm2), 2)
        header, body = self.from_peer("client-connect", "client-disconnect")
        p3, sig3, confirm3 = lines(body, 3)
        f = decode(p3, "type data:b key:b letter:i")
        need(header["phase"] == 3 and f["type"] == "p3", "unexpected", "p3")
        t3 = H(tup("cc-T3", t2, sig2, confirm2, p3))
        check(theirs.key, sig3, tup("cc-3", t3), "p3's")
        kc = self.start(suite, t3, decapsulate(key, f["data"], t2), root0, "BA", theirs)
        equal(confirm3, hmac(kc, t3), "p3's confirmation")
        kem_public(suite, f["key"])
        self.mine, self.theirs = None, f["key"]
        self.receipt()

    def start(self, suite, t3, ss2, root0, direction, theirs):
        self.suite, self.t3, self.bundle, self.steps = suite, t3, theirs, 0
        self.relay.t3 = t3
        self.root, ab, ba, kc = derive(ss2, root0, ("root", "AB", "BA", "confirm"), "root", suite, t3)
        chains = [Chain(suite, t3, "AB", ab), Chain(suite, t3, "BA", ba)]
        self.out, self.into = chains if direction == "AB" else chains[::-1]
        self.d = {c.direction: [first_digest(t3, c.direction)] for c in chains}  # after each record; those sent, those got
        self.read = self.delivered = 0  # of what was sent
        return kc

    def derive_step(self, ss, direction, used, enc, new):
        return derive(ss, self.root, ("root", "chain"), "step", self.suite, self.t3, direction, self.steps + 1, H(used), H(enc), H(new))

    def message(self, kind, plain, seq=0, count=0, digest=None):
        step, chain = None, self.out
        if self.eager and self.theirs:
            ss, enc = encapsulate(self.suite, self.theirs, self.t3)
            key, pub = kem_key(self.suite)
            self.root, chain.ck = self.derive_step(ss, chain.direction, self.theirs, enc, pub)
            self.steps, self.mine, self.theirs, step = self.steps + 1, (key, pub), None, {"enc": enc, "key": pub}
        random = os.urandom(32)
        header = encode({"conversation": self.t3, "direction": chain.direction, "kind": kind, "n": chain.n, "random": random, "step": step,
                         "src-bundle": self.me.bundle.hash, "dst-bundle": self.bundle.hash, "time": int(time.time() * 1000),
                         "seq": seq, "count": count, "digest": digest})
        sealed = spoil("seal-" + kind, seal(self.suite, chain.mk(random), header, plain))
        signature = spoil("signature-" + kind, self.me.k.sign(message_signs(header, H(sealed))))
        chain.forward()
        body = join(header, signature) + b"\n"
        if kind == "pipe":
            return self.to_peer(TRAVELS[kind], body, beside=sealed)
        return self.to_peer(TRAVELS[kind], body + sealed)

    def receive(self):
        """The next message, checked: its header, and records or the chunk of a pipe."""
        return self.take(*self.from_peer("client-com", "comm-ack", "client-disconnect"))

    def take(self, line, body):
        raw, signature, sealed = split(body, 3)
        f, chain = decode(raw, self.HEADER), self.into
        need(TRAVELS.get(f["kind"]) == line["type"], "unexpected", "a message of another kind than its line")
        if f["conversation"] != self.t3:
            self.relay.send({"type": "error", "dst": self.peer, "dst-id": self.conn, "code": "no-conversation", "message": "another conversation"}, f["conversation"])
            raise Refused("no-conversation", "another conversation")
        ends = (chain.direction, self.bundle.hash, self.me.bundle.hash)
        need((f["direction"], f["src-bundle"], f["dst-bundle"]) == ends, "unexpected", "a message's direction or bundles")
        check(self.bundle.key, unbase64(signature), message_signs(raw, H(sealed)), "a message's")
        need(f["n"] == chain.n, "unexpected", "messages are missing")
        need(abs(f["time"] / 1000 - time.time()) <= CLOCK, "unexpected", "a message's time")
        self.bundle.verify(self.peer, self.me.roots)
        trial, root = Chain(self.suite, self.t3, chain.direction, chain.ck), self.root
        trial.n = chain.n
        if f["step"]:
            need(self.mine, "unexpected", "a step out of turn")
            step = decode(f["step"], "enc:b key:b")
            root, trial.ck = self.derive_step(decapsulate(self.mine[0], step["enc"], self.t3), chain.direction, self.mine[1], step["enc"], step["key"])
            kem_public(self.suite, step["key"])
        plain = unseal(self.suite, trial.mk(f["random"]), raw, sealed)
        records = self.check_text(f, plain) if f["kind"] == "text" else [plain] if f["kind"] == "pipe" else []
        if f["kind"] == "receipt":
            self.check_receipt(f, plain)
        elif f["kind"] == "end":
            d = self.d[chain.direction]
            need((f["seq"], f["digest"]) == (len(d) - 1, d[-1]) and len(plain) <= 1024, "unexpected", "an end that is not the end")
            need(plain == b"", "not-accepted", plain.decode())
        if f["step"]:
            self.root, self.steps, self.mine, self.theirs = root, self.steps + 1, None, step["key"]
        trial.forward()
        self.into = trial
        return f, records

    def record(self, text):
        f = {"id": None, "seq": len(self.d[self.out.direction]), "time": int(time.time() * 1000), "to": [{"name": self.peer.lower(), "identity": self.identity.hex()}],
             "text": text, "salt": os.urandom(16)}
        f["id"] = spoil("id", record_id(self.me.identity, [[f["to"][0]["name"], self.identity]], f)).hex()
        self.records(encode(f))
        return f["id"]

    def records(self, *raw):
        need(self.takes == "messages", "not-taking", "the other side takes no messages")
        d = self.d[self.out.direction]
        seq = len(d)
        for r in raw:
            d.append(next_digest(d[-1], r))
        self.message("text", b"\n".join(raw), seq, len(raw), spoil("digest-text", d[-1]))

    def check_text(self, header, plain):
        d, out = list(self.d[self.into.direction]), []
        need(header["count"] <= 1024, "malformed", "the count of records")
        for i, raw in enumerate(split(plain, header["count"])):
            f, to = read_record(raw, self.identity)
            need(f["seq"] == header["seq"] + i == len(d), "malformed", "a record's number")
            need(any(n == self.me.name.lower() and x in (b"", self.me.identity) for n, x in to), "unexpected", "a record to somebody else")
            need(f["time"] <= header["time"] + CLOCK * 1000, "unexpected", "a record's time")
            d.append(next_digest(d[-1], raw))
            out.append(f)
        equal(header["digest"] or b"", d[-1], "the digest of the records")
        self.d[self.into.direction] = d
        return out

    def receipt(self, read=None):
        """For all that came; read up to a number, or all."""
        direction, d = self.out.direction, self.d[self.into.direction]
        n, now, salt = len(d) - 1, int(time.time() * 1000), os.urandom(16)
        read = n if read is None else read
        f = {"delivered": n, "delivered_digest": d[n], "read": read, "read_digest": d[read], "time": now, "salt": salt}
        return self.message("receipt", encode(f), digest=spoil("digest-receipt", receipt_digest(self.t3, direction, f)))

    def check_receipt(self, header, plain):
        f, d = decode(plain, RECEIPT), self.d[self.out.direction]
        v = list(f.values())
        equal(header["digest"] or b"", receipt_digest(self.t3, header["direction"], f), "the digest of a receipt")
        need(self.read <= v[2] <= v[0] < len(d) and self.delivered <= v[0], "unexpected", "a receipt for what was not sent")
        equal(v[1] + v[3], d[v[0]] + d[v[2]], "the digests in a receipt")
        self.delivered, self.read = v[0], v[2]

    def end(self):
        """Ends the conversation and leaves; the peer may have left already."""
        d = self.d[self.out.direction]
        seq = self.message("end", b"", len(d) - 1, 0, d[-1])
        try:
            self.relay.await_ack(self.conn, seq)
        except Refused as e:
            need(e.code == "gone", e.code, str(e))
        self.relay.leave()


def connect(*how):
    for tries in range(PATIENCE):
        try:
            return Relay(*how)
        except Refused as e:  # the relay makes RSA keys as it finds time
            need(e.code == "busy" and tries < PATIENCE - 1, e.code, str(e))
            time.sleep(0.2)


def send(relay, name, text, ciphers, step):
    conns = [row for row in relay.list(name) if row["takes"] == "messages"]
    need(conns, "no-such-name", name)
    talk = Conversation(relay, conns[0]["name"], conns[0]["id"], step)
    talk.begin(ciphers)
    need(talk.identity == conns[0]["identity"], "identity-changed", "the relay named another person")
    print(talk.record(text), flush=True)
    while talk.read < 1:
        need(talk.receive()[0]["kind"] != "end", "gone", "the peer ended the conversation")
    print("READ", flush=True)
    talk.end()


def receive(relay, ciphers, step):
    print("ready", file=sys.stderr, flush=True)
    header, body = relay.until("client-connect")
    talk = Conversation(relay, header["src"], header["src-id"], step)
    talk.answer(header, body, ciphers)
    while True:
        header, records = talk.receive()
        need(header["kind"] != "end", "gone", "the peer ended the conversation")
        for record in records:
            print("%s: %s" % (talk.peer, record["text"]), flush=True)
        if records:
            seq = talk.receipt()
            print("a message", "with a step" if header["step"] else "without", file=sys.stderr, flush=True)
            if header["step"] or not step:
                break
    relay.await_ack(talk.conn, seq)
    talk.end()


def pipe(relay, name, ciphers, step):
    print("ready", file=sys.stderr, flush=True)
    header, body = relay.until("client-connect")
    need(header["src"].lower() == name.lower(), "unexpected", "another's handshake")
    talk = Conversation(relay, header["src"], header["src-id"], step)
    talk.answer(header, body, ciphers)
    data, stream, agreed = sys.stdin.buffer.read(), os.urandom(8), False
    sent = credit = got = lines = 0
    ended = confirmed = theirs = False

    def frame(letter, rest=b""):
        return talk.message("pipe", letter + stream + (rest if isinstance(rest, bytes) else rest.to_bytes(8, "big")))

    if relay.id < talk.conn:
        frame(b"O")
    while not (confirmed and theirs):
        header, body = talk.from_peer("ack", "client-com", "comm-ack", "client-disconnect")
        f, chunks = ({}, []) if header["type"] == "ack" else talk.take(header, body)
        need(f.get("kind") != "end", "gone", "the peer ended the conversation")
        for chunk in chunks:
            letter, id, rest = chunk[:1], chunk[1:9], chunk[9:]
            number = int.from_bytes(rest, "big")
            if letter == b"O":
                stream, agreed = id, True
                frame(b"A")
            elif id != stream:
                continue
            elif letter == b"A":
                agreed = True
            elif letter == b"B":
                time.sleep(0.2)
                frame(b"O")
            elif letter == b"D":
                need(rest and got + len(rest) <= PIPE_WINDOW, "unexpected", "a chunk")
                sys.stdout.buffer.write(rest)
                sys.stdout.flush()
                got += len(rest)
                frame(b"C", got)
            elif letter == b"E":
                need(number == got and not theirs, "unexpected", "an end after other bytes")
                theirs = True
                frame(b"F", got)
            elif letter in (b"C", b"F"):
                need(credit <= number <= sent and (letter == b"C" or ended and number == sent), "unexpected", "a credit")
                credit, confirmed = number, letter == b"F"
            else:
                raise Refused("unexpected", "the pipe was cut short: %r" % rest)
        # One chunk is on its way to the relay at a time.
        while agreed and not ended and sent < credit + PIPE_WINDOW and relay.acked.get(talk.conn, -1) >= lines:
            chunk = data[sent:sent + CHUNK]
            ended = not chunk
            lines = frame(b"D", chunk) if chunk else frame(b"E", sent)
            sent += len(chunk)
    talk.end()


def main():
    parser = argparse.ArgumentParser()
    for flag in ("-relay", "-fingerprint", "-name", "-card", "-ca-bundle"):
        parser.add_argument(flag, required=True)
    parser.add_argument("-ciphers", default=",".join(SUITES))
    parser.add_argument("-step", action="store_true")
    parser.add_argument("-spoil")
    parser.add_argument("command", choices=("list", "send", "recv", "pipe"))
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    second_crypto.spoiled = args.spoil
    ciphers, me = args.ciphers.split(","), Me(args.name, args.card, pem(args.ca_bundle))
    ready.extend(make_key() for _ in range({"list": 0, "send": 2}.get(args.command, 3 if args.step else 1)))
    relay = connect(args.relay, args.fingerprint, me, {"recv": "messages", "pipe": "pipe"}.get(args.command, "none"), ciphers)
    if args.command == "list":
        for row in relay.list():
            print(row["name"], row["id"], row["takes"])
        relay.leave()
    elif args.command == "send":
        send(relay, *args.words, ciphers, args.step)
    elif args.command == "pipe":
        pipe(relay, *args.words, ciphers, args.step)
    else:
        receive(relay, ciphers, args.step)


if __name__ == "__main__":
    try:
        main()
    except Refused as e:
        print("second client: error:", e, file=sys.stderr)
        sys.exit(EXIT.get(e.code, 4))
