"""The certificate of a host that listens beyond loopback, signed by an authority of its own.

The authority is made once and kept in the home (its key readable by the owner alone); kubeconfig carries its
certificate, so clients trust this host and no other. The host's own certificate names every address and name of this
machine and is made anew when those change or its time runs out. Source: RFC 5280, RFC 6125.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import struct
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from fcntl import ioctl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zeroflow.errors import InvalidInput

if TYPE_CHECKING:
    from cryptography import x509

AUTHORITY_DAYS, CERTIFICATE_DAYS = 3650, 365
RENEW_BEFORE = timedelta(days=30)
SIOCGIFADDR = 0x8915
ALPN = ("http/1.1", "h2")  # in this order: what speaks both is served without translation


def server_context(folder: Path, names: Collection[str]) -> tuple[ssl.SSLContext, bytes]:
    """Return what the server needs, and the authority's certificate (PEM); make in `folder` what is missing."""
    authority, key = folder / "ca.crt", folder / "ca.key"
    if not (authority.exists() and key.exists()):
        _make_authority(authority, key)
    certificate = folder / "tls.pem"
    if not _serves(certificate, authority, names):
        _write_private(certificate, _issue(authority, key, names))
    return context_of(certificate, certificate), authority.read_bytes()


def context_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context of a certificate (its chain in the same file) and key; raise InvalidInput."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(ALPN))
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"the certificate {certificate} cannot be used with the key {key}: {error}") from error
    return context


def names_of_this_machine(listen: str) -> list[str]:
    """Return the addresses at which `listen` can be reached, and this machine's names."""
    addresses = _addresses() if is_everywhere(listen) else [listen]
    return list(dict.fromkeys([*addresses, socket.gethostname(), socket.getfqdn()]))


def is_everywhere(address: str) -> bool:
    """Say whether an address to listen at is every address of this machine."""
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False  # a name


def _addresses() -> list[str]:
    found = _addresses_v6()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an address
            found.append(socket.inet_ntoa(answer[20:24]))
    return [address for address in found if not ipaddress.ip_address(address).is_loopback]


def _addresses_v6() -> list[str]:
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return []
    found = [ipaddress.IPv6Address(int(line.split()[0], 16)) for line in lines]
    return [str(address) for address in found if not address.is_link_local]


def _serves(path: Path, authority: Path, names: Collection[str]) -> bool:
    """Say whether a certificate is there that fits."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        issuer = x509.load_pem_x509_certificate(authority.read_bytes())
        certificate.verify_directly_issued_by(issuer)
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # missing, damaged, of another authority: a new one is made
        return False
    fresh = certificate.not_valid_before_utc <= datetime.now(UTC) < certificate.not_valid_after_utc - RENEW_BEFORE
    return fresh and set(_alternatives(names)) == set(named)


def _alternatives(names: Collection[str]) -> list[x509.GeneralName]:
    from cryptography import x509

    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(["localhost", "*.localhost", "127.0.0.1", "::1", *names]):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _make_authority(certificate: Path, key_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Zeroflow on {socket.gethostname()}")
    made = (
        _begun(name, name, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    _write_private(key_path, _pem(key))
    signed = _signed(made, key).public_bytes(serialization.Encoding.PEM)
    _write_private(certificate, signed)


def _issue(authority_path: Path, key_path: Path, names: Collection[str]) -> bytes:
    """Return a new key and its certificate, one PEM after the other."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority = x509.load_pem_x509_certificate(authority_path.read_bytes())
    authority_key: Any = serialization.load_pem_private_key(key_path.read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    made = (
        _begun(_name("zeroflow"), authority.subject, key.public_key(), CERTIFICATE_DAYS)
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer, critical=False)
    )
    return _pem(key) + _signed(made, authority_key).public_bytes(serialization.Encoding.PEM)


def _begun(subject: x509.Name, issuer: x509.Name, public_key: Any, days: int) -> x509.CertificateBuilder:
    from cryptography import x509

    begins = datetime.now(UTC) - timedelta(minutes=5)  # clocks differ
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
    )


def _signed(builder: x509.CertificateBuilder, key: Any) -> x509.Certificate:
    from cryptography.hazmat.primitives import hashes

    return builder.sign(key, hashes.SHA256())


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    rest = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    return x509.KeyUsage(
        digital_signature=not signs, key_encipherment=False, key_cert_sign=signs, crl_sign=signs, **rest
    )


def _name(common: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _write_private(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, readable by its owner alone."""
    scratch = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
