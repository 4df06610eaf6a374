"""Who is who: the server's certificate, and a token for each user.

A user gets one line of text, ``owo-USER-SECRET-FINGERPRINT``: with it it knows the server, whose
certificate has that SHA-256, and the server knows it.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import os
import re
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from owo_env import files

NAME = "owo-server"  # in certificates that are made here
YEARS = 2
_TOKEN = re.compile(r"owo-([1-9][0-9]*)-([0-9a-f]{64})-([0-9a-f]{64})")


@dataclass(frozen=True, repr=False)
class Token:
    """What a user is let in with; its ``repr`` says nothing.

    Attributes:
        user: From 1.
        secret: Known to the user and the server alone.
        fingerprint: SHA-256 of the server's certificate, 64 hexadecimal digits.
    """

    user: int
    secret: str
    fingerprint: str

    def __repr__(self) -> str:
        return f"<token of user {self.user}>"

    @property
    def line(self) -> str:
        """As it stands in a file."""
        return f"owo-{self.user}-{self.secret}-{self.fingerprint}"

    @classmethod
    def read(cls, line: str) -> Token:
        """The token of a line.

        Raises:
            ValueError: It is none; the message does not repeat it.
        """
        found = _TOKEN.fullmatch(line.strip())
        if found is None:
            raise ValueError("token: not what the server made (owo-USER-SECRET-FINGERPRINT)")
        return cls(int(found[1]), found[2], found[3])

    def opens(self, other: str) -> bool:
        """Whether another secret is this one's, in constant time."""
        return hmac.compare_digest(self.secret.encode(), other.encode())


@dataclass(frozen=True, repr=False)
class Credentials:
    """What a server has to prove itself and to know its users by.

    Attributes:
        certificate: PEM.
        key: PEM, private.
        tokens: K.
    """

    certificate: bytes
    key: bytes
    tokens: tuple[Token, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate."""
        return fingerprint(self.certificate)


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a PEM certificate, 64 hexadecimal digits."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode("ascii"))).hexdigest()


def name_of(certificate: bytes) -> str:
    """The name that a certificate is for."""
    made = x509.load_pem_x509_certificate(certificate)
    try:
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.DNSName)[0]
    except (x509.ExtensionNotFound, IndexError):
        raise ValueError("certificate: has no DNS name among its alternative names") from None


def made(users: int, certificate: bytes | None = None, key: bytes | None = None) -> Credentials:
    """New tokens, and a certificate unless there is one.

    Args:
        users: K.
        certificate: One's own, self-signed, PEM.
        key: Its private key, PEM.

    Raises:
        ValueError: The certificate is not one that users can pin.
    """
    if certificate is None or key is None:
        certificate, key = _self_signed()
    name_of(certificate)
    issued = x509.load_pem_x509_certificate(certificate)
    if issued.issuer != issued.subject:
        raise ValueError(
            "certificate: is not self-signed: users pin its fingerprint, and no authority vouches"
        )
    known = fingerprint(certificate)
    tokens = (Token(user, secrets.token_hex(32), known) for user in range(1, users + 1))
    return Credentials(certificate, key, tuple(tokens))


def _self_signed() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def kept(folder: Path, users: int, own: tuple[Path, Path] | None = None) -> Credentials:
    """Those in a folder, made where it has none; only the owner can read what is secret.

    Args:
        folder: ``certificate.pem``, ``key.pem``, ``user-1.token`` … are there.
        users: K.
        own: Files with a certificate of one's own and its key.

    Raises:
        ValueError: What is there is of another server, or damaged.
        OSError: A file cannot be read or written.
    """
    paths = [folder / f"user-{user}.token" for user in range(1, users + 1)]
    chain = own or (folder / "certificate.pem", folder / "key.pem")
    certificate, key = (path.read_bytes() if path.exists() else None for path in chain)
    if own and (certificate is None or key is None):
        raise ValueError(f"certificate: {chain[0]} and {chain[1]} must both be there")
    fresh = made(users, certificate, key)
    found = [_token(path) if path.exists() else None for path in paths]
    tokens = []
    for new, old in zip(fresh.tokens, found):
        if old is not None and (old.user, old.fingerprint) != (new.user, new.fingerprint):
            raise ValueError(
                f"{paths[new.user - 1]}: is of another user or server; remove it for a new one"
            )
        tokens.append(old or new)
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o700)
    if certificate is None:
        _secret(chain[1], fresh.key)
        files.write(chain[0], fresh.certificate)
    for path, token in zip(paths, tokens):
        if not path.exists():
            _secret(path, f"{token.line}\n".encode())
    return Credentials(fresh.certificate, fresh.key, tuple(tokens))


def _token(path: Path) -> Token:
    return Token.read(path.read_text(encoding="ascii", errors="replace"))


def _secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    with files.atomic(path) as beside:
        beside.chmod(0o600)
        beside.write_bytes(content)


def pinned(host: str, port: int, token: Token, timeout: float) -> bytes:
    """The certificate (PEM) of a server, if it is the one that the token knows.

    Raises:
        OSError: Nobody answers, or not in TLS.
        PermissionError: It is another.
    """
    found = ssl.get_server_certificate((host, port), timeout=timeout).encode("ascii")
    if not hmac.compare_digest(fingerprint(found), token.fingerprint):
        raise PermissionError(
            f"{host}:{port} has another certificate (SHA-256 {fingerprint(found)}) than the token "
            f"says ({token.fingerprint}): it is not the server that made the token"
        )
    return found
