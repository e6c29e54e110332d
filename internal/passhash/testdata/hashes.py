"""Writes hashes.tsv: hash, secret, whether it matches. An implementation of its own, of the
standard library's hashlib and the C library's crypt(3) alone.

    python3 hashes.py >hashes.tsv
"""
import base64
import hashlib
import warnings

warnings.simplefilter("ignore")
import crypt  # in Python up to 3.12

b64 = lambda b: base64.b64encode(b).decode()
SALT = bytes(range(32))


def pbkdf2(secret, cost, salt=SALT, length=32):
    return "{PBKDF2}%d$%s$%s" % (cost, b64(salt), b64(hashlib.pbkdf2_hmac("sha512", secret, salt, cost, length)))


def stretch(secret, cost, salt=SALT, length=32):
    password = hashlib.sha512(secret).hexdigest().encode()
    return "{PBKDF2_STRETCH}%d$%s$%s" % (cost, b64(salt), b64(hashlib.pbkdf2_hmac("sha512", password, salt, cost, length)))


def ssha256(secret, salt=bytes(range(8))):
    return "{SSHA256}" + b64(salt) + b64(hashlib.sha256(secret + salt).digest())


SECRET = b"supersecret"
UTF8 = "p\u00e4ssw\u00f6rt \u20ac".encode()
LONG = b"x" * 100
rows = []
for secret in SECRET, UTF8, LONG:
    for f in pbkdf2, stretch:
        rows += [(f(secret, cost), secret) for cost in (1000, 10000)]
        rows += [(f(secret, 1000, length=n), secret) for n in (16, 48, 64)]
        rows += [(f(secret, 1000, salt=SALT[:8]), secret)]
    rows += [(ssha256(secret), secret)]
    for version in "2a", "2b", "2y":
        rows += [(crypt.crypt(secret.decode(), "$%s$04$abcdefghijklmnopqrstuu" % version), secret)]
rows += [(f(SECRET, cost), SECRET) for f in (pbkdf2, stretch) for cost in (50000, 100000, 500000, 1000000)]
rows += [(crypt.crypt("supersecret", "$2a$10$abcdefghijklmnopqrstuu"), SECRET)]
for hash, secret in rows:
    fits = not hash.startswith("$2") or len(secret) <= 72
    print(hash, secret.hex(), "match" if fits else "differ", sep="\t")
    print(hash, (secret[:8] + b"X" + secret[9:]).hex(), "differ", sep="\t")
print(pbkdf2(LONG, 1000), (b"x" * 72 + b"y" * 28).hex(), "differ", sep="\t")
# bcrypt ignores what follows byte 72: only a secret that ends there may match.
FULL = b"x" * 72
print(crypt.crypt(FULL.decode(), "$2a$04$abcdefghijklmnopqrstuu"), FULL.hex(), "match", sep="\t")
for more in b"x", b"y" * 28:
    print(crypt.crypt(FULL.decode(), "$2a$04$abcdefghijklmnopqrstuu"), (FULL + more).hex(), "differ", sep="\t")
# PBKDF2 pads with NULs, bcrypt repeats with a NUL in between.
assert pbkdf2(SECRET, 1000) == pbkdf2(SECRET + b"\0\0", 1000)
for hash in pbkdf2(SECRET, 1000), crypt.crypt("supersecret", "$2a$04$abcdefghijklmnopqrstuu"):
    for other in SECRET + b"\0", SECRET + b"\0\0", SECRET + b"\0" + SECRET:
        print(hash, other.hex(), "differ", sep="\t")
# No secret with a NUL matches, though these hashes are its own.
NUL = b"super\0secret"
for hash in pbkdf2(NUL, 1000), stretch(NUL, 1000), ssha256(NUL):
    print(hash, NUL.hex(), "differ", sep="\t")
