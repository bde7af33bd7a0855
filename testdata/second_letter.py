"""Opens letters, by PROTOCOL.md, "Letters"."""
import sys

sys.dont_write_bytecode = True
from second_client import *

LETTER, ENTRIES, TAG = 64 << 10, 512, 16
OUTSIDE = "letter:b suite mailbox:b enc:b"
HEADER = "letter:b kind src-bundle:b dst-bundle:b mailbox:b enc-hash:b time:i n:i count:i digest:b"


def mailbox_hash(key):
    return H(tup("mailbox", MLKEM, key))


def split_letter(body):
    """Its exact outside, the fields of that, and the sealed bytes: all that a relay looks at."""
    need(len(body) <= LETTER, "too-long", "a letter")
    outside, newline, sealed = body.partition(b"\n")
    need(newline and len(sealed) > TAG, "malformed", "nothing is sealed")
    f = decode(outside, OUTSIDE)
    need(f["suite"] == MLKEM, "no-common-suite", f["suite"])
    need((len(f["letter"]), len(f["mailbox"]), len(f["enc"])) == (32, 32, 1120), "malformed", "a field outside")
    return outside, f, sealed


def check_own_mailbox(key, bundle):
    if key:
        need(mailbox_hash(key) == bundle["mailbox"], "malformed", "a mailbox key that the bundle does not name")
        kem_public(MLKEM, key)


def read_letter_header(raw):
    h = decode(raw, HEADER)
    need(all(len(x) == 32 for x in h.values() if type(x) is bytes) and h["kind"] in ("text", "receipt"), "malformed", "a header")
    need(h["n"] > 0 and 0 < h["count"] <= ENTRIES, "malformed", "a number in a header")
    return h


def open_letter(box, body, sender):
    """A letter to the mailbox with this key, of a sender with this identity; which it proves elsewhere."""
    outside, o, sealed = split_letter(body)
    need(o["mailbox"] == mailbox_hash(box.public), "malformed", "another mailbox")
    ss = decapsulate(box, o["enc"], tup("letter-kem", o["letter"], o["mailbox"]))
    mk = expand(hmac(o["letter"], ss), tup("letter-key", MLKEM, H(outside)))
    bundle, key, header, signature, inside = split(unseal(MLKEM, mk, outside, sealed), 5)
    b, b_hash = Bundle.read(bundle)
    key, signature, h = unbase64(key), unbase64(signature), read_letter_header(header)
    need((h["letter"], h["mailbox"], h["enc-hash"]) == (o["letter"], o["mailbox"], H(o["enc"])), "malformed", "the inside of another letter")
    need(h["src-bundle"] == b_hash, "malformed", "another bundle")
    need(b["x509"], "bundle-malformed", "no certificate")
    check_own_mailbox(key, b)
    try:
        k = public(b["public_key"])
    except Refused as e:
        raise Refused("bundle-malformed", str(e))
    check(k, signature, tup("letter", header), "a letter's")
    (records if h["kind"] == "text" else receipts)(h, inside, sender)
    return {"mailbox": o["mailbox"], "ss": ss, "mk": mk, "bundle": bundle, "mailbox_key": key, "header": header, "signature": signature, "inside": inside}


def records(h, inside, sender):
    raw, d = inside.split(b"\n"), H(tup("letter-records", h["letter"], h["mailbox"]))
    need(len(raw) == h["count"], "malformed", "the number of records")
    for r in raw:
        d = next_digest(d, r)
    equal(h["digest"], d, "the digest of the records")
    for i, r in enumerate(raw):
        f, _ = read_record(r, sender)
        need(f["seq"] == i + 1 and f["time"] <= h["time"] + CLOCK * 1000, "malformed", "a record's seq or time")


def receipts(h, inside, _):
    try:
        entries = json.loads(inside.decode())
        need(type(entries) is list and encode(entries) == inside, "malformed", "receipts")
    except (ValueError, RecursionError):
        raise Refused("malformed", "receipts")
    entries = [decode(encode(e), "id:b level time:i") for e in entries]
    need(all(len(e["id"]) == 32 and e["level"] in ("DELIVERED", "READ") for e in entries), "malformed", "a receipt")
    need(len(entries) == h["count"], "malformed", "the number of receipts")
    equal(h["digest"], H(tup("letter-receipts", h["letter"], h["mailbox"], [list(e.values()) for e in entries])), "the digest of the receipts")
