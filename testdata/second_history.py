#!/usr/bin/python3
"""Verifies a history and proofs, written from PROTOCOL.md, "History", "Proofs", "Letters" and "Who is judged when", and nothing else.

    second_history.py vectors FILE                                  internal/history/testdata/vectors.json: every outcome there
    second_history.py -ca-bundle FILE [-crl FILE...] history FILE   a lines.jsonl
    second_history.py -ca-bundle FILE [-crl FILE...] proof FILE

Of certificates it looks at signatures, times, cA and keyUsage of the leaf, on one path, and of revocation lists at complete
ones by the issuer in that path. It leaves out name constraints, policies, path lengths, extended key usage, pinned anchors
and so the identity of a citizen, other paths, other signers of lists, deltas, and the scopes of lists; and names that are
not in ASCII. It says so.
"""
import argparse, functools, sys

sys.dont_write_bytecode = True
import second_letter, second_names
from second_client import *

LEFT_OUT = "NOT checked: name constraints, policies, path lengths, extended key usage, other paths, deltas and scopes of revocation lists"
FIRST, SIGNED = "v:i prev time:i type", "header:o cipher_hash:b signature:b"
FORMS = {  # the fields of each type of line
    "owner": "name identity", "bundle": "hash:b bundle:o", "head": "hash:b signature:b",
    "conversation": "conversation:b suite direction me:o peer:o", "pending": "run names:l record:o",
    "sent": SIGNED + " before:b records:l", "received": SIGNED + " before:b records:l", "receipt": SIGNED + " receipt:o", "end": SIGNED,
    "taken": "conversation:b direction seq:i", "shown": "conversation:b direction seq:i", "seen": "conversation:b direction seq:i",
    "failed": "id name reason", "gap": "conversation:b direction reason", "run": "run reason",
    "letter-sent": "name identity until:i header:o signature:b records:l", "letter-received": "name identity run left:i header:o signature:b records:l",
    "letter-receipt": "name identity left:i header:o signature:b receipts:l",
}
PARTS = {  # the fields of each line of a proof
    "bundle": FORMS["bundle"], "text": FORMS["sent"], "receipt": FORMS["receipt"] + " records:l?",
    "letter": "header:o signature:b records:l", "letter-receipt": "header:o signature:b receipts:l",
}
LEVELS = ["no receipt", "DELIVERED", "READ"]
END = "name conn identity bundle:b"
OURS = ("sent", "taken", "text")  # the direction in such a line is ours
IN_ORDER = {"affiliation_changed", "superseded", "cessation_of_operation", "privilege_withdrawn"}  # the key was in order
OTHER = {"AB": "BA", "BA": "AB"}


def hexes(text, size):
    need(re.fullmatch("[0-9a-f]{%d}" % (2 * size), text), "malformed", "hex of another size")
    return bytes.fromhex(text)


def form(f):
    """None is empty or 0; hashes, identities, runs and directions have their form."""
    need(all(x not in ("", 0, b"", []) for x in f.values()), "malformed", "an empty field")
    need(all(len(f[x]) == 32 for x in ("hash", "conversation", "cipher_hash", "before") if x in f), "malformed", "a hash")
    for name, size in (("identity", 32), ("prev", 32), ("run", 8)):
        if name in f:
            hexes(f[name], size)
    need(f.get("direction", "AB") in OTHER, "malformed", "a direction")
    return f


def revoked(entry):
    """When; older versions of the library give UTC without saying so."""
    t = entry.revocation_date_utc if hasattr(entry, "revocation_date_utc") else entry.revocation_date
    return t.replace(tzinfo=datetime.timezone.utc).timestamp()


class Judge:
    """Judges people at a time: with trusted roots, lists, and a clock of its own, in Unix seconds."""

    def __init__(self, roots, lists, now):
        self.roots, self.now = roots, now
        self.by = functools.lru_cache(lambda issuer: [l for l in lists if l.issuer == issuer.subject and l.is_signature_valid(issuer.public_key())])

    def at(self, bundle, at):
        """The identity of a bundle, and the later revocation that puts it in doubt: its time, or None."""
        need(at <= self.now + CLOCK, "delegation-not-yet-valid", "a time to come")
        identity = bundle.verify(bundle.name, self.roots, at)
        doubt = None
        for cert, issuer in zip(bundle.path, bundle.path[1:]):
            for crl in self.by(issuer):
                entry = crl.get_revoked_certificate_by_serial_number(cert.serial_number)
                if not entry:
                    continue
                date, why = revoked(entry), "unspecified"
                need(date > at, "certificate-revoked", "it was revoked by then")
                try:
                    why = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.name
                except x509.ExtensionNotFound:
                    pass
                if why not in IN_ORDER:
                    doubt = min(date, doubt or date)
        return identity, doubt

    def both(self, sender, addressee, ms):
        """The signer of something and its addressee, at a time in its header. Gives what `at` gives, of both."""
        at = ms // 1000
        begin, end = addressee.times
        return self.at(sender, at), self.at(addressee, max(begin, min(at, end)))

    def letter(self, sender, addressee, ms):
        """The same of a letter."""
        need(ms // 1000 <= addressee.mailbox_end, "delegation-expired", "its mailbox had ended")
        return self.both(sender, addressee, ms)


class Talk:
    """A conversation: both ends by direction, and what each has sent."""

    def __init__(self, t3, ours, me, peer):
        self.t3, self.ours = t3, ours
        self.name, self.bundle, self.identity = ({ours: m, OTHER[ours]: p} for m, p in zip(me, peer))
        self.n, self.d = {"AB": 0, "BA": 0}, {x: [first_digest(t3, x)] for x in OTHER}
        self.base = 0  # the number of the first digest of ours
        self.taken = self.delivered = self.read = 0
        self.doubts = []  # lines of ours in doubt until a receipt: number of the line, of the last record, doubt


class Verification:
    def __init__(self, judge):
        self.judge, self.name, self.identity, self.bundles, self.talks = judge, None, None, {}, {}
        self.wrong, self.doubtful, self.heads, self.waiting, self.doubted = [], [], [], [], set()
        self.letters, self.letter_doubts = {}, []
        self.counts = dict.fromkeys(("bundles", "conversations", "messages", "letters", "records", "receipts", "ends", "heads"), 0)

    # A history.

    def history(self, data):
        *lines, tail = data.split(b"\n")
        prev, self.lines, self.torn = bytes(32), len(lines), len(tail)
        for self.number, raw in enumerate(lines, 1):
            try:
                need(len(raw) <= LINE, "too-long", "a line")
                form_of = FORMS.get((re.findall(rb'^\{"v":2,"prev":"[0-9a-f]{64}","time":[0-9]+,"type":"([a-z-]+)"', raw) or [b""])[0].decode())
                need(form_of, "malformed", "no line of this version")
                f = form(decode(raw, FIRST + " " + form_of))
                need(f["prev"] == prev.hex(), "malformed", "it does not follow the line before it")
                need((f["type"] == "owner") == (self.number == 1), "malformed", "the owner's line")
                self.line(f)
            except Refused as e:
                self.wrong.append((self.number, str(e)))
            prev = H(raw)
        self.doubtful += [number for number, _, ids, _ in self.letter_doubts if ids]
        self.doubtful += [number for number, _, _ in self.waiting] + [d[0] for talk in self.talks.values() for d in talk.doubts]
        first = self.wrong[0][0] if self.wrong else 0
        head = max([(n, t) for n, t in self.heads if not first or n < first], default=(0, 0))
        return {"found": first, "doubtful": sorted(self.doubtful), "head": head[0], "after": self.lines - head[0] if head[0] else 0}, head[1]

    def judged(self, sender, addressee, ms, judge=None):
        """Judges both. A fault says nothing about other lines, so what is next is looked at all the same."""
        try:
            return (judge or self.judge.both)(sender, addressee, ms)
        except Refused as e:
            self.wrong.append((self.number, str(e)))

    def talk(self, f):
        t3, direction = f.get("conversation"), f.get("direction")
        if "header" in f:
            header = decode(f["header"], Conversation.HEADER)
            t3, direction = header["conversation"], header["direction"]
        talk = self.talks.get((t3, direction if f["type"] in OURS else OTHER.get(direction)))
        need(talk, "malformed", "no line of its conversation before it")
        return talk

    def line(self, f):
        kind = f["type"]
        shown = self.letters.get((f.get("conversation"), OTHER.get(f.get("direction"))))
        if kind in ("shown", "seen", "gap") and shown is not None:
            need(kind == "gap" or f["seq"] <= shown, "malformed", "more records than the letter has")
        elif kind.startswith("letter-"):
            self.letter(f)
        elif kind == "owner":
            self.name, self.identity = second_names.fold(f["name"]), bytes.fromhex(f["identity"])
        elif kind == "bundle":
            self.add_bundle(f)
        elif kind == "head":
            self.head(f)
        elif kind == "conversation":
            self.conversation(f)
        elif kind == "pending":
            need(self.identity, "malformed", "nobody's record")
            record, to = read_record(f["record"], self.identity)
            need(record["seq"] == 0, "malformed", "the number of one that was sent")
            need({second_names.fold(x) for x in f["names"]} <= {n for n, _ in to}, "malformed", "it waits for somebody else")
        elif kind in ("sent", "received"):
            self.text(self.talk(f), f)
        elif kind == "receipt":
            self.receipt(self.talk(f), f)
        elif kind == "end":
            talk = self.talk(f)
            header, _ = self.signed(talk, f, "end")
            d = talk.d[header["direction"]]
            need((header["seq"], header["digest"]) == (len(d) - 1, d[-1]), "malformed", "an end that is not the end")
            self.counts["ends"] += 1
        elif kind in ("taken", "shown", "seen", "gap"):
            talk = self.talk(f)
            need(kind == "gap" or f["seq"] < len(talk.d[f["direction"]]), "malformed", "more records than there are")
            if kind == "taken":
                need(f["seq"] >= talk.taken, "malformed", "it goes back")
                talk.taken = f["seq"]

    def add_bundle(self, f):
        bundle = Bundle(f["bundle"])
        need(bundle.hash == f["hash"], "malformed", "a bundle of another hash")
        self.bundles[bundle.hash] = bundle
        self.counts["bundles"] += 1

    def bundle(self, hash):
        need(hash in self.bundles, "malformed", "a bundle that is missing")
        return self.bundles[hash]

    def head(self, f):
        bundle = self.bundle(f["hash"])
        need(second_names.fold(bundle.name) == self.name, "malformed", "a head by another name")
        check(bundle.key, f["signature"], tup("head", bytes.fromhex(f["prev"]), f["time"], f["hash"]), "a head's")
        self.counts["heads"] += 1
        (identity, doubt), _ = self.judge.both(bundle, bundle, f["time"])
        need(identity == self.identity, "identity-changed", "a head by another person")
        self.heads.append((self.number, f["time"]))
        if doubt:
            if bundle.hash not in self.doubted:  # nobody else ever attests one: the first says it
                self.doubtful.append(self.number)
            self.doubted.add(bundle.hash)
            return
        self.waiting = [(n, who, date) for n, who, date in self.waiting if who == identity or f["time"] >= date * 1000]

    def conversation(self, f):
        ends = [form(decode(f[x], END)) for x in ("me", "peer")]
        need((f["conversation"], f["direction"]) not in self.talks, "malformed", "it stands there twice")
        me, peer = ((e["name"], self.bundle(e["bundle"]), bytes.fromhex(e["identity"])) for e in ends)
        need(all(bundle.name == name for name, bundle, _ in (me, peer)), "name-mismatch", "a bundle of another name")
        self.talks[f["conversation"], f["direction"]] = Talk(f["conversation"], f["direction"], me, peer)
        self.counts["conversations"] += 1
        need((second_names.fold(me[0]), me[2]) == (self.name, self.identity), "malformed", "a conversation of somebody else's")

    def letter(self, f):
        h, ours = second_letter.read_letter_header(f["header"]), f["type"] == "letter-sent"
        key = h["letter"], "AB" if ours else "BA"
        need(key not in self.letters, "malformed", "it stands there twice")
        self.letters[key] = h["count"] if f["type"] == "letter-received" else 0
        ends = [(self.name, self.identity), (second_names.fold(f["name"]), bytes.fromhex(f["identity"]))]
        people = self.signed_letter(h, f, *(ends if ours else ends[::-1]))
        doubt = people and people[0][1]
        if doubt and not ours:
            self.waiting.append((self.number, people[0][0], doubt))
        if f["type"] == "letter-receipt":
            second_letter.receipts(h, encode(f["receipts"]), None)
            self.counts["receipts"] += 1
            for number, who, ids, date in self.letter_doubts:
                if people and not doubt and people[0][0] != who and h["time"] < date * 1000:
                    ids -= {unbase64(x["id"]) for x in f["receipts"]}
            return
        self.counts["letters"] += 1
        self.counts["messages"] += 1
        self.counts["records"] += len(f["records"])
        ids = set()
        if doubt and ours:
            self.letter_doubts.append((self.number, self.identity, ids, doubt))
        (_, sender), addressee = ends if ours else ends[::-1]
        ids |= {full for full, _ in self.letter_records(h, f["records"], sender, *addressee)}

    # What both have.

    def signed_letter(self, h, f, sender, addressee):
        """Judges both ends of a letter, each a folded name and an identity, or None for one that is not known."""
        src, dst = self.bundle(h["src-bundle"]), self.bundle(h["dst-bundle"])
        need([second_names.fold(b.name) for b in (src, dst)] == [sender[0], addressee[0]], "name-mismatch", "a bundle of another name")
        need(h["mailbox"] == dst.mailbox, "malformed", "another mailbox")
        need(h["kind"] == ("receipt" if f["type"] == "letter-receipt" else "text"), "malformed", "a letter of another kind")
        check(src.key, f["signature"], tup("letter", f["header"]), "a letter's")
        people = self.judged(src, dst, h["time"], self.judge.letter)
        if people and any(known and got != known for (got, _), (_, known) in zip(people, (sender, addressee))):
            self.wrong.append((self.number, "another person"))
            return None
        return people

    def letter_records(self, h, records, sender, name, identity):
        """The whole hash of each record, and the record."""
        need(len(records) == h["count"], "malformed", "the number of records")
        d, found = H(tup("letter-records", h["letter"], h["mailbox"])), []
        for i, record in enumerate(records):
            if isinstance(record, str):
                d = H(tup("record", d, unbase64(record)))
                continue
            raw = encode(record)
            r, to = read_record(raw, sender)
            need(r["seq"] == i + 1 and r["time"] <= h["time"] + CLOCK * 1000, "malformed", "a record's number or time")
            need(any(n == name and x in (b"", identity) for n, x in to), "malformed", "a record for somebody else")
            d = next_digest(d, raw)
            found.append((H(tup("id", sender, to, r["time"], r["salt"], r["text"])), r))
        need(d == h["digest"], "malformed", "other records than were signed")
        return found

    def signed(self, talk, f, kind):
        header = read_header(f["header"])
        direction, ours = header["direction"], header["direction"] == talk.ours
        sender, addressee = talk.bundle[direction], talk.bundle[OTHER[direction]]
        need((header["kind"], header["src-bundle"], header["dst-bundle"]) == (kind, sender.hash, addressee.hash), "malformed", "kind or bundles")
        check(sender.key, f["signature"], message_signs(f["header"], f["cipher_hash"]), "a message's")
        records = kind == "text" or any(talk.base + len(d) > 1 for d in talk.d.values())  # so there was no pipe, whose chunks are not stored
        missing = header["n"] > talk.n[direction] and not ours and records
        need(header["n"] >= talk.n[direction] and not missing, "malformed", "messages are missing or in another order")
        talk.n[direction] = header["n"] + 1
        people = self.judged(sender, addressee, header["time"])
        if people:
            for (identity, _), d in zip(people, (direction, OTHER[direction])):
                need(identity == talk.identity[d], "identity-changed", talk.name[d])
            (identity, doubt), _ = people
            if doubt and ours:
                talk.doubts.append((self.number, header["seq"] + header["count"] - 1, doubt))
            elif doubt:
                self.waiting.append((self.number, identity, doubt))
        return header, people

    def text(self, talk, f):
        header, _ = self.signed(talk, f, "text")
        direction = header["direction"]
        d, peer = talk.d[direction], OTHER[direction]
        base = talk.base if direction == talk.ours else 0
        self.counts["messages"] += 1
        self.counts["records"] += len(f["records"])
        need((header["count"], header["seq"], f["before"]) == (len(f["records"]), base + len(d), d[-1]), "malformed", "count, number or digest of the records")
        found = None
        for record in f["records"]:
            if isinstance(record, str) and f["type"] == "text":
                d.append(H(tup("record", d[-1], unbase64(record))))
                continue
            raw = encode(record)
            r, to = read_record(raw, talk.identity[direction])
            need(r["seq"] == base + len(d), "malformed", "a record's number")
            need(r["time"] <= header["time"] + CLOCK * 1000, "malformed", "a record's time")
            need(any(n == second_names.fold(talk.name[peer]) and x in (b"", talk.identity[peer]) for n, x in to), "malformed", "a record for somebody else")
            d.append(next_digest(d[-1], raw))
            found = r
        need(header["digest"] == d[-1], "malformed", "other records than were signed")
        return header, found

    def receipt(self, talk, f):
        header, people = self.signed(talk, f, "receipt")
        r, d = decode(f["receipt"], RECEIPT), talk.d[talk.ours]
        self.counts["receipts"] += 1
        need(len(r["salt"]) == 16 and header["digest"] == receipt_digest(talk.t3, header["direction"], r), "malformed", "a receipt's digest")
        need(r["read"] <= r["delivered"] < talk.base + len(d) and r["delivered"] >= talk.delivered and r["read"] >= talk.read, "malformed", "a receipt goes back, or too far")
        for seq, digest in ((r["delivered"], r["delivered_digest"]), (r["read"], r["read_digest"])):
            need(len(digest) == 32 and (seq < talk.base or digest == d[seq - talk.base]), "malformed", "a receipt for other records")
        talk.delivered, talk.read = r["delivered"], r["read"]
        if people and not people[0][1]:
            identity = people[0][0]
            talk.doubts = [x for x in talk.doubts if x[1] > r["delivered"] or identity == talk.identity[talk.ours] or header["time"] >= x[2] * 1000]
        return header, r, people

    # A proof.

    def proof(self, raw):
        """What it shows."""
        need(len(raw) <= 2 << 20, "too-long", "a proof")
        p, self.number = decode(raw, "v:i type lines:l"), 0
        kinds = " ".join(x["type"] if isinstance(x, dict) and isinstance(x.get("type"), str) else "?" for x in p["lines"])
        need((p["v"], p["type"]) == (2, "chatsecure-proof"), "malformed", "no proof")
        need(re.fullmatch("bundle bundle (text|letter|text receipt|(text|letter) (bundle ){0,2}letter-receipt)", kinds), "malformed", "no lines of a proof")
        lines = [decode(encode(x), "type " + PARTS[x["type"]]) for x in p["lines"]]
        lines = [form({k: x for k, x in f.items() if x is not None}) for f in lines]
        hashed = [x for f in lines[2:] for x in f.get("records", []) if isinstance(x, str)]
        need(all(len(unbase64(x)) == 32 for x in hashed), "malformed", "a hash")
        text, records = lines[2], lines[2]["records"]
        own = [i for i, x in enumerate(records) if not isinstance(x, str)]
        need(len(own) == 1 and all(isinstance(x, str) for f in lines[3:] for x in f.get("records", [])), "malformed", "not one record")
        for f in lines[:2]:
            self.add_bundle(f)
        me, peer = (self.bundles[f["hash"]] for f in lines[:2])
        # Its identities are those that the bundles prove at the time in the header.
        if text["type"] == "letter":
            h = second_letter.read_letter_header(text["header"])
            need((h["src-bundle"], h["dst-bundle"]) == (me.hash, peer.hash), "malformed", "other bundles")
            (sender, doubt), (recipient, _) = self.judge.letter(me, peer, h["time"])
            self.signed_letter(h, text, (second_names.fold(me.name), sender), (second_names.fold(peer.name), recipient))
            [(full, record)] = self.letter_records(h, records, sender, second_names.fold(peer.name), recipient)
        else:
            h = read_header(text["header"])
            (sender, doubt), (recipient, _) = self.judge.both(me, peer, h["time"])
            talk = Talk(h["conversation"], h["direction"], (me.name, me, sender), (peer.name, peer, recipient))
            talk.n[h["direction"]], talk.base, talk.d[h["direction"]] = h["n"], h["seq"] - 1, [text["before"]]
            _, record = self.text(talk, text)
            full = H(tup("id", sender, [[n, x] for n, x in read_record(encode(records[own[0]]), sender)[1]], record["time"], record["salt"], record["text"]))
        shows = {"id": record["id"], "from": me.name, "from_identity": sender.hex(), "recipient": peer.name, "recipient_identity": recipient.hex(),
                 "text": record["text"], "sent": h["time"], "verdict": "no receipt"}
        need(not self.wrong, "malformed", str(self.wrong))
        level, people, f = 0, None, lines[-1]
        if f["type"] == "receipt":
            header = read_header(f["header"])
            need((header["conversation"], header["direction"]) == (talk.t3, OTHER[talk.ours]), "malformed", "a receipt of another conversation")
            talk.n[header["direction"]] = header["n"]
            for x in f.get("records", []):
                talk.d[talk.ours].append(H(tup("record", talk.d[talk.ours][-1], unbase64(x))))
            _, r, people = self.receipt(talk, f)
            seq, last = h["seq"] + own[0], h["seq"] + h["count"] - 1
            need(r["delivered"] >= seq and last + len(f.get("records", [])) == max(last, r["delivered"]), "malformed", "a receipt for other records")
            level = 2 if r["read"] >= seq else 1
        elif f["type"] == "letter-receipt":
            header = second_letter.read_letter_header(f["header"])
            further = []
            for x in (header["src-bundle"], header["dst-bundle"]):
                if x not in (me.hash, peer.hash, *further):
                    further.append(x)
            need([x["hash"] for x in lines[3:-1]] == further, "malformed", "other bundles than the receipt needs")
            for x in lines[3:-1]:
                self.add_bundle(x)
            second_letter.receipts(header, encode(f["receipts"]), None)
            people = self.signed_letter(header, f, (second_names.fold(peer.name), recipient), (second_names.fold(me.name), sender))
            level = max((LEVELS.index(x["level"]) for x in f["receipts"] if unbase64(x["id"]) == full), default=0)
            need(level, "malformed", "a receipt for other records")
        if level and (not people or people[0][1]):
            shows["verdict"] = "void"  # the message is judged by itself
        elif level:
            shows["verdict"], shows["receipt_time"] = LEVELS[level], header["time"]
        attested = level and shows["verdict"] != "void" and doubt and sender != recipient and header["time"] < doubt * 1000
        return {"verdict": "doubtful"} if doubt and not attested else shows


def verdict(judge, raw):
    try:
        return Verification(judge).proof(raw)["verdict"]
    except Refused:
        return "refused"


def chained(lines, start):
    for i in range(start, len(lines)):
        prev = H(lines[i - 1]).hex() if i else "0" * 64
        lines[i] = re.sub(rb'^(\{"v":[0-9]+,"prev":")[0-9a-f]{64}', rb"\g<1>" + prev.encode(), lines[i])


def vectors(path):
    with open(path, encoding="utf-8") as f:
        v = json.load(f)
    sections = {"note", "now", "root", "bundles", "lists", "history", "whole", "proofs", "judged", "spoilt", "proofs_spoilt"}
    need(set(v) == sections, "malformed", "other sections than " + ", ".join(sorted(sections)))
    roots, wrong, seen = [x509.load_der_x509_certificate(unbase64(v["root"]))], [], 0
    judges = {name: Judge(roots, [x509.load_der_x509_crl(unbase64(x)) for x in lists], v["now"] // 1000) for name, lists in v["lists"].items()}
    judge = judges["nobody is revoked"]
    lines = [line.encode() for line in v["history"]]

    def same(what, got, want):
        nonlocal seen
        seen += 1
        if got != want:
            wrong.append("%s: %r, want %r" % (what, got, want))

    def file(lines, tail=b""):
        return b"\n".join(lines + [tail])

    def part(x):
        return {name: x[name] for name in ("found", "doubtful", "head", "after")}

    check = Verification(judge)
    found, time = check.history(file(lines))
    whole = dict(v["whole"])
    certificate = whole.pop("certificate")
    same("the history", {"owner": json.loads(lines[0])["name"], "identity": check.identity.hex(), "lines": check.lines, **check.counts, "head_time": time, **found}, whole)
    bundle = check.bundles[unbase64(json.loads(lines[found["head"] - 1])["hash"])]
    same("the certificate", bundle.leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value, certificate)
    for s in v["spoilt"]:
        spoilt, at = list(lines), s["at"] - 1
        spoilt[at:at + s["drop"]] = [line.encode() for line in s["put"]]
        if s["chained"]:
            chained(spoilt, at)
        check = Verification(judge)
        same(s["why"], (check.history(file(spoilt, s["tail"].encode()))[0], check.torn), (part(s), s.get("torn", 0)))
    for i, p in enumerate(v["proofs"]):
        shows = Verification(judge).proof(p["proof"].encode())
        same("proof %d" % i, shows, {name: x for name, x in p.items() if name not in ("why", "proof")})
    for s in v["proofs_spoilt"]:
        raw = v["proofs"][s["of"]]["proof"].encode()
        same("proof %d, %s" % (s["of"], s["why"]), verdict(judge, raw[:s["at"]] + s["put"].encode() + raw[s["at"] + s["drop"]:]), "refused")
    for j in v["judged"]:
        judge = judges[j["lists"]]
        same(j["lists"], (Verification(judge).history(file(lines))[0], [verdict(judge, p["proof"].encode()) for p in v["proofs"]]), (part(j), j["proofs"]))
    need(not wrong, "signature-invalid", "\n" + "\n".join(wrong))
    print(seen, "outcomes are those of the vectors.", LEFT_OUT)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-ca-bundle")
    p.add_argument("-crl", nargs="*", default=[])
    p.add_argument("what", choices=["vectors", "history", "proof"])
    p.add_argument("file")
    a = p.parse_args()
    try:
        if a.what == "vectors":
            return vectors(a.file)
        lists = []
        for name in a.crl:
            with open(name, "rb") as f:
                lists.append(x509.load_der_x509_crl(f.read()))
        check = Verification(Judge(pem(a.ca_bundle), lists, time.time()))
        with open(a.file, "rb") as f:
            data = f.read()
        if a.what == "history":
            found, at = check.history(data)
            print(encode({"owner": check.name, "identity": check.identity.hex(), "lines": check.lines, **check.counts, "head_time": at, **found}).decode())
        else:
            print(encode(check.proof(data)).decode())
        print(LEFT_OUT, file=sys.stderr)
        need(not check.wrong and not check.doubtful, "signature-invalid", "\n".join(map(str, check.wrong + check.doubtful)))
    except Refused as e:
        print(e, file=sys.stderr)
        sys.exit(EXIT.get(e.code, 8))


if __name__ == "__main__":
    main()
