"""What second_client.py computes: tuples, derivations, canonical JSON, keys, suites and identities, as PROTOCOL.md,
"Notation", "Identity" and "Suites", has them. Of names it knows those in ASCII.
"""
import base64, datetime, functools, hashlib, hmac as hmaclib, json, os, re, time
from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, padding as blocks, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
import second_mlkem

MLKEM = "MLKEM768X25519_AES256_GCM"
SUITES = {MLKEM: 32, "RSA_AES256_CBC_HMAC": 32, "RSA_AES128_CBC_HMAC": 16}  # and the length of the AES key
DER, SPKI = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
CLOCK, DELEGATION, MAILBOX = 300, 24 * 3600, 14 * 24 * 3600  # seconds
spoiled = None  # what -spoil names


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__("%s: %s" % (code, message))
        self.code = code


def need(holds, code, message):
    if not holds:
        raise Refused(code, message)


def spoil(what, data):
    return data[:-1] + bytes([data[-1] ^ 1]) if spoiled == what else data


# Notation: tuples, derivations, canonical JSON.

def H(data):
    return hashlib.sha256(data).digest()


def hmac(key, data):
    return hmaclib.new(key, data, hashlib.sha256).digest()


def item(v):
    if isinstance(v, int):
        v = v.to_bytes(8, "big")
    elif isinstance(v, str):
        v = v.encode()
    elif isinstance(v, list):
        v = b"".join(map(item, v))
    return len(v).to_bytes(4, "big") + v


def tup(context, *items):
    return item("chatsecure/2 " + context) + b"".join(map(item, items))


def expand(key, info, n=32):
    out, block = b"", b""
    while len(out) < n:
        block = hmac(key, block + info + bytes([len(out) // 32 + 1]))
        out += block
    return out[:n]


def derive(secret, salt, labels, *info):
    prk = hmac(salt, secret)
    return [expand(prk, tup(*info, label)) for label in labels]


def encode(v):
    def plain(v):
        if isinstance(v, bytes):
            return base64.b64encode(v).decode()
        if isinstance(v, dict):
            return {k: plain(x) for k, x in v.items() if x is not None}
        return [plain(x) for x in v] if isinstance(v, list) else v
    text = json.dumps(plain(v), ensure_ascii=False, separators=(",", ":"))
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


def unbase64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused("malformed", "not base64")
    need(base64.b64encode(data) == (text if isinstance(text, bytes) else text.encode()), "malformed", "base64 in another encoding")
    return data


def join(p, *with_it):
    return b"\n".join([p] + [base64.b64encode(w) for w in with_it])


def split(data, n):
    """The n parts of a body or payload, the last of which may hold newlines."""
    parts = data.split(b"\n", n - 1)
    need(len(parts) == n, "malformed", "a body with lines missing")
    return parts


def lines(body, n):
    """A client-connect body: the JSON, then base64."""
    first, *others = split(body, n)
    return [first] + [unbase64(x) for x in others]

READ = {"s": (str, str), "i": (int, int), "b": (str, unbase64), "o": (dict, encode), "l": (list, list), "h": (str, bytes.fromhex), "t": (bool, bool)}


def decode(raw, form):
    """The fields of a canonical object: name:kind, b is base64, h hex, o an object (its bytes); ? may be left out."""
    try:
        v = json.loads(raw.decode())
        need(type(v) is dict and encode(v) == raw, "malformed", "not canonical JSON")
        out, names = {}, []
        for name, kind, optional in re.findall(r"([a-z0-9_-]+)(?::(\w))?(\?)?", form):
            names.append(name)
            if name not in v and optional:
                out[name] = None
                continue
            want, read = READ[kind or "s"]
            need(type(v.get(name)) is want and (want is not int or 0 <= v[name] < 1 << 63), "malformed", "field " + name)
            out[name] = read(v[name])
            need(kind != "h" or out[name].hex() == v[name], "malformed", "field " + name)
        need(list(v) == [n for n in names if n in v], "malformed", "fields unknown or in another order")
        return out
    except (ValueError, RecursionError) as e:
        raise Refused("malformed", str(e))


# Keys and suites.

@functools.lru_cache(maxsize=None)
def public(der):
    """A public key from its SubjectPublicKeyInfo; what is refused everywhere is refused here."""
    try:
        key = serialization.load_der_public_key(der)
    except ValueError:
        raise Refused("malformed", "a public key")
    need(key.public_bytes(DER, SPKI) == der, "malformed", "a public key in another encoding")
    if isinstance(key, ed25519.Ed25519PublicKey):
        p, y = 2**255 - 19, int.from_bytes(der[-32:], "little") & (2**255 - 1)
        eighth = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
        need(y < p and y not in (0, 1, p - 1, eighth, p - eighth), "malformed", "an Ed25519 key that is not canonical or of small order")
    else:
        need(isinstance(key, rsa.RSAPublicKey) and key.key_size == 2048, "malformed", "another kind or size of key")
        need(key.public_numbers().e == 65537 and key.public_numbers().n % 2 == 1, "malformed", "an RSA key")
    return key


def check(key, signature, data, what):
    """A signature by a K or by a relay."""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        else:
            key.verify(signature, data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    except InvalidSignature:
        raise Refused("signature-invalid", what)


def equal(a, b, what):
    need(hmaclib.compare_digest(a, b), "decrypt-failed", what)


ready = []  # RSA keys made before they are needed, as the other side does not wait for long


def make_key():
    key = rsa.generate_private_key(65537, 2048)
    return key, key.public_key().public_bytes(DER, SPKI)


def kem_key(suite):
    if suite == MLKEM:
        key = second_mlkem.Key()
        return key, key.public
    return ready.pop() if ready else make_key()


def stored_kem_key(suite, private):
    """A pair as kem_key makes it, from a seed or PKCS #8."""
    if suite == MLKEM:
        key = second_mlkem.Key(private)
        return key, key.public
    key = serialization.load_der_private_key(private, None)
    return key, key.public_key().public_bytes(DER, SPKI)


def oaep(info):
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), info)


def kem_public(suite, key):
    """Refuses what is no key, and tries nothing."""
    try:
        key = second_mlkem.halves_of(key) if suite == MLKEM else public(key)
    except ValueError as e:
        raise Refused("malformed", str(e))
    need(suite == MLKEM or isinstance(key, rsa.RSAPublicKey), "malformed", "not an RSA key")
    return key


def encapsulate(suite, key, info):
    parsed = kem_public(suite, key)
    if suite == MLKEM:
        try:
            return second_mlkem.encapsulate(key, info)
        except ValueError as e:
            raise Refused("malformed", str(e))
    secret = os.urandom(32)
    return secret, parsed.encrypt(secret, oaep(info))


def decapsulate(key, enc, info):
    instead = os.urandom(32)
    try:
        secret = key.decapsulate(enc, info) if isinstance(key, second_mlkem.Key) else key.decrypt(enc, oaep(info))
        return secret if len(secret) == 32 else instead
    except ValueError:
        return instead


def cbc_keys(suite, mk):
    n = SUITES[suite]
    keys = expand(mk, b"chatsecure/2 cbc", n + 16 + 32)
    return keys[:n], keys[n:n + 16], keys[n + 16:]


def seal(suite, mk, aad, plain):
    if suite == MLKEM:
        return AESGCM(mk).encrypt(bytes(12), plain, aad)
    key, iv, mac = cbc_keys(suite, mk)
    pad, aes = blocks.PKCS7(128).padder(), Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    sealed = aes.update(pad.update(plain) + pad.finalize()) + aes.finalize()
    return sealed + hmac(mac, item(aad) + item(iv) + item(sealed))


def unseal(suite, mk, aad, sealed):
    try:
        if suite == MLKEM:
            return AESGCM(mk).decrypt(bytes(12), sealed, aad)
        key, iv, mac = cbc_keys(suite, mk)
        sealed, tag = sealed[:-32], sealed[-32:]
        equal(hmac(mac, item(aad) + item(iv) + item(sealed)), tag, "a seal")
        aes, pad = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor(), blocks.PKCS7(128).unpadder()
        return pad.update(aes.update(sealed) + aes.finalize()) + pad.finalize()
    except (InvalidTag, ValueError):
        raise Refused("decrypt-failed", "a seal")


class Chain:
    def __init__(self, suite, session, direction, ck):
        self.suite, self.session, self.direction, self.ck, self.n = suite, session, direction, ck, 0

    def mk(self, random):
        keys = expand(self.ck, tup("mk", self.suite, self.session, self.direction, self.n, random), 64)
        self.next = keys[32:]
        return keys[:32]

    def forward(self):
        """Once the message of mk's last call is sealed or taken."""
        self.ck, self.n = self.next, self.n + 1


# Identity: certificates and bundles.

def parts(der):
    """The exact encodings inside a DER value."""
    def ends(at):
        n, head = der[at + 1], 2
        if n & 0x80:
            head += n & 0x7F
            n = int.from_bytes(der[at + 2:at + head], "big")
        return at + head, at + head + n
    (at, end), out = ends(0), []
    while at < end:
        out.append(der[at:ends(at)[1]])
        at = ends(at)[1]
    return out


def how(key, digest=None):
    """How a card or CA signs: the delegation's hash follows from the key."""
    if isinstance(key, (rsa.RSAPublicKey, rsa.RSAPrivateKey)):
        return padding.PKCS1v15(), digest or hashes.SHA256()
    return (ec.ECDSA(digest or {256: hashes.SHA256, 384: hashes.SHA384, 521: hashes.SHA512}[key.curve.key_size]()),)


def signed(cert, signature, data, digest=None):
    try:
        cert.public_key().verify(signature, data, *how(cert.public_key(), digest))
        return True
    except InvalidSignature:
        return False


@functools.lru_cache(maxsize=None)
def issued(issuer, cert):
    return issuer.subject == cert.issuer and signed(issuer, cert.signature, cert.tbs_certificate_bytes, cert.signature_hash_algorithm)


def extension(cert, kind):
    try:
        return cert.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def validity(cert):
    """Its first and last second; older versions of the library give UTC without saying so."""
    times = (cert.not_valid_before_utc, cert.not_valid_after_utc) if hasattr(cert, "not_valid_after_utc") else (cert.not_valid_before, cert.not_valid_after)
    return [t.replace(tzinfo=datetime.timezone.utc).timestamp() for t in times]


def path_of(leaf, chain, roots, now=None):
    """The certificates from the leaf to a trusted root, which hold at a time in Unix seconds, or now."""
    path, now = [leaf], time.time() if now is None else now
    while path[-1] not in roots:
        at = path[-1]
        begins, ends = validity(at)
        need(begins - CLOCK <= now <= ends + CLOCK, "certificate-expired", "a certificate is not valid then")
        up = [c for c in roots + chain if issued(c, at)]
        need(up, "certificate-untrusted", "no chain to a trusted root")
        path.append(up[0])
        need(extension(up[0], x509.BasicConstraints) and extension(up[0], x509.BasicConstraints).ca, "certificate-untrusted", "an issuer is no CA")
        need(len(path) <= 10, "certificate-untrusted", "the chain is too long")
    return path


def person(leaf, signer):
    """The identity of the leaf's holder, once its chain holds. The PT-CC domain needs a pinned anchor: not here."""
    basic, usage = extension(leaf, x509.BasicConstraints), extension(leaf, x509.KeyUsage)
    need(not (basic and basic.ca) and (not usage or usage.digital_signature), "certificate-unsuitable", "a CA, or it may not sign")
    fields = parts(parts(leaf.public_bytes(DER))[0])  # version, serial, algorithm, issuer, validity, subject, key
    spki = parts(parts(signer.public_bytes(DER))[0])[6]
    need(parts(fields[5]), "certificate-unsuitable", "the leaf has no subject")
    return H(tup("identity-subject", H(spki), [fields[3], fields[5]]))


def delegation(leaf, name, spki, begin, end, mailbox=b"", mailbox_end=0):
    return tup("delegation", H(leaf), name, spki, begin, end, mailbox, mailbox_end)


class Bundle:
    FORM = "name public_key:b not_before:i not_after:i mailbox:b mailbox_end:i public_key_signature:b x509:b x509_chain:l"

    def __init__(self, raw):
        self.json, f, self.hash = json.loads(raw), *self.read(raw)
        self.name, self.signature, self.times = f["name"], f["public_key_signature"], (f["not_before"], f["not_after"])
        self.mailbox, self.mailbox_end = mailbox, _ = f["mailbox"], f["mailbox_end"]
        need(len(mailbox) in (0, 32) and (mailbox == b"") == (self.mailbox_end == 0), "bundle-malformed", "a mailbox")
        chain = f["x509_chain"]
        need(len(chain) < 8 and len(f["x509"]) + sum(map(len, chain)) <= 20 << 10, "bundle-malformed", "too many certificates")
        need(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,30}[A-Za-z0-9])?", self.name), "name-invalid", self.name)
        try:
            self.leaf, self.chain = x509.load_der_x509_certificate(f["x509"]), [x509.load_der_x509_certificate(c) for c in chain]
        except ValueError:
            raise Refused("bundle-malformed", "a certificate")
        self.key, self.path, self.identity = public(f["public_key"]), None, None
        self.delegation = delegation(f["x509"], self.name, f["public_key"], *self.times, mailbox, self.mailbox_end)

    @classmethod
    def read(cls, raw):
        """Its fields and its hash."""
        f = decode(raw, cls.FORM)
        f["x509_chain"] = [unbase64(c) for c in f["x509_chain"]]
        box = [f[name] for name in ("mailbox", "mailbox_end")]
        others = [f[name] for name in f if name not in ("mailbox", "mailbox_end")]
        return f, H(tup("bundle", *others[:5], *box, *others[5:]))

    def verify(self, name, roots, now=None):
        """After K's signature: the delegation, then the chain, at a time in Unix seconds, or now. Gives the identity."""
        now = time.time() if now is None else now
        need(self.name == name, "name-mismatch", self.name)
        begin, end = self.times
        first, last = validity(self.leaf)
        need(0 <= end - begin <= DELEGATION and first <= begin and end <= last, "delegation-invalid", "it lasts too long, or longer than the certificate")
        need(self.mailbox_end == 0 or begin < self.mailbox_end <= min(begin + MAILBOX, last), "delegation-invalid", "its mailbox")
        need(begin - CLOCK <= now <= end + CLOCK, "delegation-expired", "it is not valid then")
        need(signed(self.leaf, self.signature, self.delegation), "delegation-invalid", "its signature")
        self.path = path_of(self.leaf, self.chain, roots, now)
        self.identity = person(*self.path[:2])
        return self.identity


class Me:
    def __init__(self, name, card, roots):
        with open(os.path.join(card, "key.pem"), "rb") as f:
            key = serialization.load_pem_private_key(f.read(), None)
        certs = pem(os.path.join(card, "cert.pem"))
        self.k, now, leaf = ed25519.Ed25519PrivateKey.generate(), int(time.time()), certs[0].public_bytes(DER)
        spki, times = self.k.public_key().public_bytes(DER, SPKI), (now - 60, now + 3600)
        signature = key.sign(delegation(leaf, name, spki, *times), *how(key))
        chain = [c.public_bytes(DER) for c in certs[1:] if c.subject != c.issuer]
        self.bundle = Bundle(encode({"name": name, "public_key": spki, "not_before": times[0], "not_after": times[1], "mailbox": b"", "mailbox_end": 0,
                                     "public_key_signature": spoil("delegation", signature), "x509": leaf, "x509_chain": chain}))
        self.name, self.roots, self.identity = name, roots, person(*path_of(self.bundle.leaf, self.bundle.chain, roots)[:2])

    def sign(self, *t):
        return self.k.sign(tup(*t))


def pem(path):
    with open(path, "rb") as f:
        return [x509.load_pem_x509_certificate(c) for c in re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", f.read(), re.S)]
