"""Writes service_tokens and bearers.tsv (name, bearer) with hashlib and the C library's crypt(3)
alone, in the layout that elasticsearch-service-tokens writes: sorted, PBKDF2_STRETCH with a cost of
10000, 32 bytes of salt and of key; and one line for each other hash that the format knows.

    python3 make.py    # in this folder
"""
import base64
import hashlib
import warnings

warnings.simplefilter("ignore")
import crypt  # in Python up to 3.12

b64 = lambda b: base64.b64encode(b).decode()


def salt(name, n=32):
    return hashlib.sha256(b"salt " + name.encode()).digest()[:n]


def pbkdf2(name, secret, cost=10000):
    return "{PBKDF2}%d$%s$%s" % (cost, b64(salt(name)), b64(hashlib.pbkdf2_hmac("sha512", secret, salt(name), cost, 32)))


def stretch(name, secret, cost=10000):
    password = hashlib.sha512(secret).hexdigest().encode()
    return "{PBKDF2_STRETCH}%d$%s$%s" % (cost, b64(salt(name)), b64(hashlib.pbkdf2_hmac("sha512", password, salt(name), cost, 32)))


def ssha256(name, secret):
    s = salt(name, 8)
    return "{SSHA256}" + b64(s) + b64(hashlib.sha256(secret + s).digest())


def bcrypt(version):
    return lambda name, secret: crypt.crypt(secret.decode(), "$%s$05$abcdefghijklmnopqrstuu" % version)


forms = {
    "elastic/fleet-server/token1": stretch,
    "elastic/fleet-server/token2": stretch,
    "elastic/kibana/default": stretch,
    "elastic/fleet-server/pbkdf2": pbkdf2,
    "elastic/fleet-server/ssha256": ssha256,
    "elastic/fleet-server/bcrypt-2a": bcrypt("2a"),
    "elastic/fleet-server/bcrypt-2b": bcrypt("2b"),
    "elastic/fleet-server/bcrypt-2y": bcrypt("2y"),
}
lines, bearers = [], []
for name, form in sorted(forms.items()):
    secret = b"supersecret" if name.endswith("token1") else hashlib.sha256(name.encode()).hexdigest()[:22].encode()
    lines.append(name + ":" + form(name, secret))
    bearer = b"\x00\x01\x00\x01" + name.encode() + b":" + secret
    bearers.append(name + "\t" + b64(bearer).rstrip("="))
open("service_tokens", "w").write("\n".join(lines) + "\n")
open("bearers.tsv", "w").write("\n".join(bearers) + "\n")
