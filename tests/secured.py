"""A broker that encrypts and asks who is there: certificates of an authority of our own, users and their passwords."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brokers import cluster
from servers import NoServerError, free_port

USER = "tsad"
PASSWORDS = {"plain": 'p"lain;=\\s', "scram-sha-256": "sc ram=256", "scram-sha-512": "sc'ram=512"}
"""Of `USER`, by mechanism; what is written as it is in configuration files is not what it looks like."""
STRANGER = "stranger"
"""A user who may do nothing, with the passwords of `USER`."""
MODULE = "org.apache.kafka.common.security"


@dataclass(frozen=True)
class Secured:
    """A running broker by the address of each of its listeners, and PEM files.

    `open` asks nothing, `sasl` for TLS and a password, `mutual` for TLS and a certificate. `other` is an authority
    that has signed nothing here.
    """

    open: str
    sasl: str
    mutual: str
    ca: Path
    other: Path
    certificate: Path
    key: Path

    def told(self, mechanism: str) -> dict[str, Any]:
        """`[kafka]` for `USER` by a mechanism."""
        return {
            "bootstrap": self.sasl, "tls": True, "ca": str(self.ca), "sasl": mechanism, "username": USER,
            "password": PASSWORDS[mechanism],
        }  # fmt: skip


def openssl(*arguments: str | Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise NoServerError("there is no openssl to make certificates for a broker with TLS")
    made = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise NoServerError(f"openssl: {made.stderr.strip()[-300:]}")


def authority(folder: Path, name: str) -> Path:
    """A new one: `NAME.pem`, and `NAME.key` beside it."""
    _request(folder, name, "-x509", "-days", "2", "-out", folder / f"{name}.pem")
    return folder / f"{name}.pem"


def signed(folder: Path, name: str, by: str) -> Path:
    """A certificate for this machine and its key, signed `by` an authority: `NAME.pem`, and `NAME.key` beside it."""
    _request(folder, name, "-out", folder / f"{name}.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(
        "x509", "-req", "-in", folder / f"{name}.csr", "-days", "2", "-CAcreateserial", "-extfile", folder / "names",
        "-CA", folder / f"{by}.pem", "-CAkey", folder / f"{by}.key", "-out", folder / f"{name}.pem",
    )  # fmt: skip
    return folder / f"{name}.pem"


def _request(folder: Path, name: str, *more: str | Path) -> None:
    openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", *more
    )  # fmt: skip


def _settings(store: Path, ca: Path) -> dict[str, object]:
    """What the broker is told: who it is, whom it trusts, and what it asks on which listener."""
    told: dict[str, object] = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": store,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": ca,
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": ",".join(name.upper() for name in PASSWORDS),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:ANONYMOUS;User:{USER};User:CN=client",
    }
    word = _quoted(PASSWORDS["plain"])
    users = " ".join(f"user_{name}={word}" for name in (USER, STRANGER))
    told["listener.name.sasl_ssl.plain.sasl.jaas.config"] = f"{MODULE}.plain.PlainLoginModule required {users};"
    for name in ("scram-sha-256", "scram-sha-512"):
        told[f"listener.name.sasl_ssl.{name}.sasl.jaas.config"] = f"{MODULE}.scram.ScramLoginModule required;"
    return told


def _quoted(word: str) -> str:
    """For JAAS, in a file of properties: a backslash is written twice in each."""
    inner = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'.replace("\\", "\\\\")


def _scram() -> list[str]:
    """The users, for the tool that formats."""
    words = [(kind, name) for kind in PASSWORDS if kind != "plain" for name in (USER, STRANGER)]
    made = [f'{kind.upper()}=[name={name},password="{PASSWORDS[kind]}"]' for kind, name in words]
    return [part for one in made for part in ("--add-scram", one)]


@contextmanager
def secured() -> Iterator[Secured]:
    """A running one. NoServerError where there is no Kafka, or nothing to make certificates with."""
    folder = Path(tempfile.mkdtemp(prefix="tsad-tls-"))
    try:
        ca, other = authority(folder, "ca"), authority(folder, "other")
        client, own = signed(folder, "client", "ca"), signed(folder, "broker", "ca")
        store = folder / "store.pem"
        store.write_text(own.with_suffix(".key").read_text() + own.read_text())
        sasl, mutual = (f"127.0.0.1:{free_port()}" for _ in range(2))
        heard = [f"SASL_SSL://{sasl}", f"SSL://{mutual}"]
        with cluster(properties=_settings(store, ca), listeners=heard, formatting=_scram()) as (node,):
            yield Secured(node.address, sasl, mutual, ca, other, client, client.with_suffix(".key"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
