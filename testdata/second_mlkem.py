"""The KEM of the first suite, from its standards alone: ML-KEM-768 (FIPS 203), with X25519 as MLKEM768-X25519
(draft-ietf-hpke-pq), in HPKE base mode, export only (RFC 9180). Slow, and not in constant time: for tests.
"""
import hashlib, hmac, os
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

Q, K = 3329, range(3)
ROOTS = [pow(17, int("{:07b}".format(i)[::-1], 2), Q) for i in range(128)]
EK, CT = 1184, 1088  # bytes of ML-KEM's public key and ciphertext


def ntt(f):
    f, i, size = list(f), 1, 128
    while size > 1:
        for start in range(0, 256, 2 * size):
            for j in range(start, start + size):
                t = ROOTS[i] * f[j + size]
                f[j], f[j + size] = (f[j] + t) % Q, (f[j] - t) % Q
            i += 1
        size //= 2
    return f


def inverse(f):
    f, i, size = list(f), 127, 2
    while size < 256:
        for start in range(0, 256, 2 * size):
            for j in range(start, start + size):
                f[j], f[j + size] = (f[j] + f[j + size]) % Q, ROOTS[i] * (f[j + size] - f[j]) % Q
            i -= 1
        size *= 2
    return [x * 3303 % Q for x in f]


def add(*polynomials):
    return [sum(x) % Q for x in zip(*polynomials)]


def dot(a, b):
    """The product of two vectors in the transformed domain."""
    c = [0] * 256
    for f, g in zip(a, b):
        for i in range(0, 256, 2):
            root = ROOTS[64 + i // 4] * (1 - i % 4)
            c[i] += f[i] * g[i] + f[i + 1] * g[i + 1] * root
            c[i + 1] += f[i] * g[i + 1] + f[i + 1] * g[i]
    return [x % Q for x in c]


def pack(f, bits):
    return sum(x << bits * i for i, x in enumerate(f)).to_bytes(32 * bits, "little")


def unpack(data, bits):
    n = int.from_bytes(data, "little")
    return [n >> bits * i & (1 << bits) - 1 for i in range(len(data) * 8 // bits)]


def compress(f, bits):
    return pack([((x << bits) + Q // 2) // Q % (1 << bits) for x in f], bits)


def decompress(data, bits):
    return [(x * Q + (1 << bits - 1)) >> bits for x in unpack(data, bits)]


def polynomials(f):
    return [f[i:i + 256] for i in range(0, len(f), 256)]


def matrix(rho):
    def sample(i, j):
        stream = unpack(hashlib.shake_128(rho + bytes([j, i])).digest(1344), 12)
        return [x for x in stream if x < Q][:256]
    return [[sample(i, j) for j in K] for i in K]


def small(seed, n):
    bits = unpack(hashlib.shake_256(seed + bytes([n])).digest(128), 1)
    return [(bits[i] + bits[i + 1] - bits[i + 2] - bits[i + 3]) % Q for i in range(0, 1024, 4)]


def halves(data):
    g = hashlib.sha3_512(data).digest()
    return g[:32], g[32:]


def encrypt(ek, m, r):
    t, a = polynomials(unpack(ek[:-32], 12)), matrix(ek[-32:])
    y = [ntt(small(r, i)) for i in K]
    u = [add(inverse(dot([a[j][i] for j in K], y)), small(r, 3 + i)) for i in K]
    return b"".join(compress(x, 10) for x in u) + compress(add(inverse(dot(t, y)), small(r, 6), decompress(m, 1)), 4)


def raw(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def combine(secret, shared, ct, pub):
    return hashlib.sha3_256(secret + shared + ct + pub + b"\\.//^\\").digest()


def export(secret, info):
    """HPKE's Export("chatsecure/2 kem", 32)."""
    mac, suite = lambda key, data: hmac.new(key, data, hashlib.sha256).digest(), b"HPKE\x64\x7a\x00\x01\xff\xff"
    extract = lambda salt, label, data: mac(salt, b"HPKE-v1" + suite + label + data)
    expand = lambda key, label, data: mac(key, b"\x00\x20HPKE-v1" + suite + label + data + b"\x01")
    context = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    return expand(expand(extract(secret, b"secret", b""), b"exp", context), b"sec", b"chatsecure/2 kem")


class Key:
    def __init__(self, seed=None):
        seed = hashlib.shake_256(seed or os.urandom(32)).digest(96)
        (rho, sigma), self.z, self.x = halves(seed[:32] + b"\x03"), seed[32:64], X25519PrivateKey.from_private_bytes(seed[64:])
        a, self.s = matrix(rho), [ntt(small(sigma, i)) for i in K]
        self.ek = b"".join(pack(add(dot(a[i], self.s), ntt(small(sigma, 3 + i))), 12) for i in K) + rho
        self.public = self.ek + raw(self.x)

    def decapsulate(self, enc, info):
        ct, point = enc[:CT], enc[CT:]
        u, v = [decompress(ct[320 * i:320 * i + 320], 10) for i in K], decompress(ct[960:], 4)
        m = compress(add(v, [-x for x in inverse(dot(self.s, [ntt(x) for x in u]))]), 1)
        secret, r = halves(m + hashlib.sha3_256(self.ek).digest())
        if encrypt(self.ek, m, r) != ct:
            secret = hashlib.shake_256(self.z + ct).digest(32)
        shared = self.x.exchange(X25519PublicKey.from_public_bytes(point))
        return export(combine(secret, shared, point, self.public[EK:]), info)


def halves_of(public):
    """The ML-KEM and the X25519 half; a ValueError for what is no key."""
    ek, point = public[:EK], public[EK:]
    if len(point) != 32 or max(unpack(ek[:-32], 12)) >= Q:
        raise ValueError("not a key of MLKEM768-X25519")
    return ek, point


def encapsulate(public, info):
    """The secret and its encapsulation; a ValueError also for a point of low order."""
    ek, point = halves_of(public)
    x, m = X25519PrivateKey.generate(), os.urandom(32)
    secret, r = halves(m + hashlib.sha3_256(ek).digest())
    mine = raw(x)
    shared = x.exchange(X25519PublicKey.from_public_bytes(point))
    return export(combine(secret, shared, mine, point), info), encrypt(ek, m, r) + mine
