"""An authority of one federation's own, and the certificates of its servers: PEM in, PEM out, no disk and no clock.

What is signed here satisfies the strict checks of newer TLS libraries (RFC 5280): key identifiers, key usage, and
names in subjectAltName alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedtier.problems import StartupError

_SLACK: Final = timedelta(hours=1)
"""Certificates begin so long ago, since the clocks of those who check them may be late."""
_LONGEST_COMMON_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


def new_key() -> bytes:
    """Return a new key (P-256) as PEM."""
    return generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def authority_certificate(key: bytes, name: str, *, now: datetime, lifetime: timedelta) -> bytes:
    """Return an authority's own certificate as PEM.

    Made anew with the same key and name, it is as good for whatever was signed before, so that renewing it disturbs
    nobody.

    Parameters
    ----------
    key : bytes
        As PEM.
    name : str
        Of the federation.
    now : datetime
        With a time zone.
    lifetime : timedelta

    Raises
    ------
    StartupError
        The key is not one that `new_key` made.
    """
    private = _loaded_key(key)
    subject = _name(f"fedtier {name}")
    builder = _builder(subject, subject, private, now, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    return builder.sign(private, SHA256()).public_bytes(Encoding.PEM)


def server_pair(authority: Pair, names: Iterable[str], *, now: datetime, lifetime: timedelta) -> Pair:
    """Return a new certificate of a server, with its key.

    Parameters
    ----------
    authority : Pair
    names : iterable of str
        The server's name, and the other names and addresses at which it is asked.
    now : datetime
        With a time zone.
    lifetime : timedelta

    Raises
    ------
    StartupError
        The authority's files are not what they should be.
    """
    issuer, signing = x509.load_pem_x509_certificate(authority.certificate), _loaded_key(authority.key)
    key = new_key()
    own = list(names)
    ends = min(now + lifetime, issuer.not_valid_after_utc)  # nothing is good for longer than who signed it
    builder = _builder(_name(own[0]), issuer.subject, _loaded_key(key), now, ends - now)
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(signs=False), True),
        # A server asks others too: a worker its master.
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (x509.SubjectAlternativeName([_general_name(name) for name in dict.fromkeys(own)]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return Pair(builder.sign(signing, SHA256()).public_bytes(Encoding.PEM), key)


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """Return the names and addresses that a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(
        [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))],
    )


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Return whether an authority signed a certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_key_of(key: bytes, certificate: x509.Certificate) -> bool:
    """Return whether a key, as PEM, is that of a certificate."""
    return _loaded_key(key).public_key() == certificate.public_key()


def normal_name(name: str) -> str:
    """Return a host's name or address as certificates have it.

    Raises
    ------
    StartupError
        It is neither.
    """
    general = _general_name(name)
    return str(general.value)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:_LONGEST_COMMON_NAME])])


def _general_name(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name.lower())
    except ValueError:
        raise StartupError(f"{name!r} is neither a host's name in ASCII nor an address") from None


def _loaded_key(pem: bytes) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey):
        raise StartupError("a key is not an elliptic curve's private key in PEM; delete its file to have it made anew")
    return key
