#!/usr/bin/python3
"""Holds the second client against test vectors: second_vectors.py crypto/testdata/vectors.json"""
import json, sys, types

sys.dont_write_bytecode = True
import second_letter, second_mlkem, second_names
from second_client import *


def unhex(v):
    """The hex of a vector as bytes; suites, directions and exact JSON are text."""
    text = ("suite", "direction", "context", "name", "why", "record", "records", "receipt", "header", "bundle", "items", "line",
            "folded", "shapes", "by", "from", "p1", "retry", "again", "inside", "code")
    return {k: x if k in text or isinstance(x, int) else [unhex(y) if isinstance(y, dict) else bytes.fromhex(y) for y in x]
            if isinstance(x, list) else bytes.fromhex(x) for k, x in v.items()}


def field(v):
    (kind, x), = v.items()
    return bytes.fromhex(x) if kind == "bytes" else [field(y) for y in x] if kind == "list" else x


def tuples(v):
    t = tup(v["context"].removeprefix("chatsecure/2 "), *map(field, v["items"]))
    return [(t, v["tuple"]), (H(t), v["hash"])]


def kem(v):
    key, pub = stored_kem_key(v["suite"], v["private"])
    return [(pub, v["public"]), (decapsulate(key, v["enc"], v["info"]), v["secret"])]


def seals(v):
    how = v["suite"], v["mk"], v["aad"]
    return [(seal(*how, v["plaintext"]), v["sealed"]), (unseal(*how, v["sealed"]), v["plaintext"])]


def line(v):
    sealed = seal(v["suite"], v["mk"], base64.b64encode(v["body"]), v["payload"])
    sa = {"seq": v["seq"], "random": v["random"]}
    return [(encode({"type": "secure", "sa-data": sa, "payload": sealed, "body": v["body"] or None}), v["line"].encode())]


def chain(v):
    c = Chain(v["suite"], v["session"], v["direction"], v["ck"])
    for link in v["links"]:
        yield c.n, link["n"]
        yield c.mk(link["random"]), link["mk"]
        c.forward()
        yield c.ck, link["next_ck"]


def step(v):
    at = types.SimpleNamespace(root=v["root"], suite=v["suite"], t3=v["t3"], steps=v["number"] - 1)
    keys = Conversation.derive_step(at, v["secret"], v["direction"], v["key_used"], v["enc"], v["new_key"])
    return [(keys, [v["next_root"], v["next_ck"]])]


def digests(v):
    d = [first_digest(v["t3"], v["direction"])]
    for record in v["records"]:
        d.append(next_digest(d[-1], record.encode()))
    return [(d, v["digests"])]


def message(v):
    header = v["header"].encode()
    message_header(v)
    return [(message_signs(header, v["cipher_hash"]), v["signed"])]


def holds(test, *args):
    try:
        return test(*args) is not False
    except Refused:
        return False


def names(v):
    name = v["name"]
    return [(second_names.is_name(name), True), (second_names.fold(name), v["folded"]), (sorted(second_names.shapes(v["folded"])), v["shapes"])]


def identity(v):
    """The identity of a path, as if the state's root had the hash that the vector gives."""
    path = [x509.load_der_x509_certificate(c) for c in v["path"]]
    leaf, above = path[0], [[a.value for a in c.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)] for c in path[1:3]]
    spki = [parts(parts(c)[0])[6] for c in v["path"]]  # of version 3, see person
    numbered = ["EC de Autenticação do Cartão de Cidadão", "Cartão de Cidadão"]
    citizen = len(path) > 3 and H(spki[3]) == v["state_root"] and all(len(a) == 1 and re.fullmatch(n + " [0-9]+", a[0]) for n, a in zip(numbered, above))
    if citizen:
        (number,) = leaf.subject.get_attributes_for_oid(x509.NameOID.SERIAL_NUMBER)
        return [(H(tup("identity-citizen", "PT-CC", number.value)), v["identity"])]
    fields = parts(parts(v["path"][0])[0])
    return [(H(tup("identity-subject", H(spki[1]), [fields[3], fields[5]])), v["identity"])]


def signature(v):
    if v["by"] == "K":
        return [(holds(lambda: check(public(v["spki"]), v["signature"], v["message"], "")), v["holds"])]
    key = serialization.load_der_public_key(v["spki"])
    return [(signed(types.SimpleNamespace(public_key=lambda: key), v["signature"], v["message"]), v["holds"])]


def retried(v):
    p1, retry, again = (decode(v[name].encode(), form) for name, form in (("p1", Conversation.P1), ("retry", "type cipher bundle:o"), ("again", Conversation.P1)))
    (a, _), (b, b_hash) = Bundle.read(p1["bundle"]), Bundle.read(retry["bundle"])
    check(public(a["public_key"]), v["signature1"], tup("cc-1", v["p1"].encode()), "A's")
    t1 = H(tup("cc-T1", v["p1"].encode(), v["signature1"]))
    asks = tup("cc-retry", t1, retry["cipher"], b_hash)
    check(public(b["public_key"]), v["signature"], asks, "B's")
    kept = [{name: p[name] for name in p if name not in ("data", "cipher", "key", "retry")} for p in (p1, again)]
    return [(t1, v["t1"]), (asks, v["signed"]), (again["retry"], H(tup("cc-retried", v["p1"].encode(), v["retry"].encode()))),
            (again["cipher"], retry["cipher"]), (kept[0], kept[1]), (H(v["p1"].encode()), v["order"])]


def request(v):
    asks = tup("request", v["t4"], v["seq"], v["header"].encode())
    check(public(v["spki"]), v["signature"], asks, "a request's")
    return [(asks, v["signed"])]


TO, FROM = "dst dst-id", "src src-id dst dst-id"
FORMS = {  # by "Requests and routing": the fields of each type, ? may be left out
    "client": {"list": ["name? watch?"], "release": ["mailbox?"], "letter-to": ["name"], "letter": ["kind identity"], "letter-ack": ["done letter"], "client-connect": ["phase " + TO], "client-com": [TO],
               "comm-ack": [TO], "client-disconnect": ["", TO], "ack": [""], "error": [TO + " code message"]},
    "relay": {"list": ["done? answers"], "release": ["done answers"], "peer": ["name id takes done"],
              "letter-to": ["done answers"], "letter": ["done answers until", "kind identity left"], "letter-end": ["mailbox left"],
              "client-connect": ["phase " + FROM], "client-com": [FROM], "comm-ack": [FROM], "client-disconnect": ["src src-id", FROM],
              "ack": ["", "dst-id answers"], "error": [FROM + " code message", "dst-id? answers? code message"]},
}


DONE = {"peer": "came left", "letter": "kept", "letter-ack": "stored refused later"}  # the others: ok


def header(v):
    f = decode(v["header"].encode(), Relay.HEADER)
    f = {name: x for name, x in f.items() if x is not None}
    forms = FORMS[v["from"]].get(f["type"], [])
    need(any({x for x in form.split() if x[-1] != "?"} <= set(f) - {"type"} <= set(form.replace("?", "").split()) for form in forms), "malformed", "fields")
    need(all(x or name == "answers" for name, x in f.items()), "malformed", "an empty field")
    need(f.get("phase", 1) in (1, 2, 3) and f.get("takes", "pipe") in ("messages", "pipe", "none"), "malformed", "phase or takes")
    need(f.get("kind", "text") in ("text", "receipt"), "malformed", "the kind of a letter")
    need(f.get("done", DONE.get(f["type"], "ok")) in DONE.get(f["type"], "ok").split(), "malformed", "done")
    need(all(len(f.get(x, bytes(32))) == 32 for x in ("mailbox", "identity", "letter")), "malformed", "a hash")
    need(all(re.fullmatch("[0-9a-f]{16}", f[x]) for x in ("id", "src-id", "dst-id") if x in f), "malformed", "a connection id")
    need(all(second_names.is_name(f[x]) for x in ("name", "src", "dst") if x in f), "malformed", "a name")
    need(len(f.get("code", "").encode()) <= 64 and len(f.get("message", "").encode()) <= 1024, "too-long", "an error")


def message_header(v):
    read_header(v["header"].encode())


def letter(v):
    got = second_letter.open_letter(second_mlkem.Key(v["private"]), v["body"], v["sender"])
    return [(got["mailbox"], v["mailbox"]), (got["ss"], v["secret"]), (got["mk"], v["mk"]), (got["bundle"], v["bundle"].encode()),
            (got["mailbox_key"], v["mailbox_key"]), (got["header"], v["header"].encode()), (got["signature"], v["signature"]),
            (tup("letter", got["header"]), v["signed"]), (got["inside"], v["inside"].encode())]


def refused_letter(v):
    try:
        second_letter.open_letter(second_mlkem.Key(v["private"]), v["body"], v["sender"])
    except Refused as e:
        return [(e.code, v["code"])]
    return [(v["why"], "refused")]


def main(path):
    with open(path, encoding="utf-8") as f:
        vectors = json.load(f)
    del vectors["note"]
    vectors = {name: [unhex(v) for v in (part if isinstance(part, list) else [part])] for name, part in vectors.items()}
    sender = vectors["record"][0]["sender"]
    sections = {
        "tuple": tuples, "kem": kem, "seal": seals, "chain": chain, "line": line, "step": step, "digest": digests,
        "delegation": lambda v: [(delegation(v["leaf"], v["name"], v["spki"], v["not_before"], v["not_after"], v["mailbox"], v["mailbox_end"]), v["message"])],
        "bundle": lambda v: [(Bundle.read(v["bundle"].encode())[1], v["hash"])],
        "record": lambda v: [(read_record(v["record"].encode(), v["sender"])[0]["id"], v["id"].hex())],
        "receipt": lambda v: [(receipt_digest(v["t3"], v["direction"], decode(v["receipt"].encode(), RECEIPT)), v["digest"])],
        "message": message,
        "canonical": lambda v: [(encode(v["text"].decode()), v["json"])],
        "records_refused": lambda v: [(holds(read_record, v["record"].encode(), sender), False)],
        "name": names, "names_refused": lambda v: [(second_names.is_name(v["name"]), False)],
        "identity": identity, "signature": signature, "retry": retried, "request": request,
        "header": lambda v: [(holds(header, v), True)], "headers_refused": lambda v: [(holds(header, v), False)],
        "message_headers_refused": lambda v: [(holds(message_header, v), False)],
        "letter": letter, "letters_refused": refused_letter,
    }
    need(set(vectors) == set(sections), "malformed", "other sections than " + ", ".join(sections))
    for name in ("seal", "chain", "line", "step"):
        need({v["suite"] for v in vectors[name]} == set(SUITES), "malformed", name + " of other suites")
    for name, part in vectors.items():
        for i, v in enumerate(part):
            checked = list(sections[name](v))
            need(checked and all(got == want for got, want in checked), "malformed", "%s %d: %r" % (name, i, checked))


if __name__ == "__main__":
    main(*sys.argv[1:])
