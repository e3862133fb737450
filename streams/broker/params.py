"""Where the log lives: an embedded broker of ours, or one at `host:port`, with its security.

Entry points: `BrokerParams`, `client_options`. Passwords stand in the environment, never in a file of settings.
"""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from streams.broker.errors import BrokerError

HIGHEST_PORT = 32767
"""From 32768 on the system hands out ports to outgoing connections, which could take the broker's."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SecurityParams(_Section):
    """How to be let in by a broker of yours. TLS is used unless `tls` is off."""

    tls: bool = Field(default=True, description="encrypt; off only on a network you trust")
    ca_file: Path | None = Field(default=None, description="PEM of the authority to trust; none: the system's")
    certificate_file: Path | None = Field(default=None, description="PEM of the client's certificate (mutual TLS)")
    key_file: Path | None = Field(default=None, description="PEM of the client's key")
    key_password_env: str | None = Field(default=None, description="environment variable with the key's password")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password_env: str | None = Field(default=None, description="environment variable with the password")

    @model_validator(mode="after")
    def _complete(self) -> "SecurityParams":
        if self.sasl_mechanism is not None and (self.username is None or self.password_env is None):
            raise ValueError("sasl_mechanism needs username and password_env")
        if self.sasl_mechanism is None and (self.username is not None or self.password_env is not None):
            raise ValueError("username and password_env need sasl_mechanism (PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512)")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        if not self.tls and (self.ca_file is not None or self.certificate_file is not None):
            raise ValueError("ca_file and certificate_file need tls: true")
        if not self.tls and self.sasl_mechanism is None:
            raise ValueError("neither tls nor sasl_mechanism: leave security out")
        return self


class EmbeddedParams(_Section):
    """The broker that runs as our child, on this machine only."""

    nodes: Literal[1, 3] = 1
    port: int | None = Field(
        default=None, ge=1024, le=HIGHEST_PORT, description="of the first node, the others follow; none: any free one"
    )
    heap_mb: int | None = Field(default=None, ge=96, le=16384, description="Java heap; none: 160, or 256 with 3 nodes")


class BrokerParams(_Section):
    """Which broker, and how many copies of each topic."""

    bootstrap: str | None = Field(default=None, description="host:port[,host:port]; none: embedded")
    security: SecurityParams | None = None
    embedded: EmbeddedParams = EmbeddedParams()
    replication: int | None = Field(
        default=None, ge=1, le=9, description="copies of every topic; none: topics.yaml, or 1 on one embedded node"
    )

    @field_validator("bootstrap")
    @classmethod
    def _hosts(cls, value: str | None) -> str | None:
        for part in value.split(",") if value is not None else []:
            host, colon, port = part.strip().rpartition(":")
            if not host or not colon or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"{part!r} is not host:port")
        return value

    @model_validator(mode="after")
    def _security_needs_bootstrap(self) -> "BrokerParams":
        if self.security is not None and self.bootstrap is None:
            raise ValueError("security is for a broker of yours: give its bootstrap, or leave security out")
        return self

    @property
    def topic_replication(self) -> int | None:
        """Copies to make of each topic; None: as topics.yaml says."""
        if self.replication is None and self.bootstrap is None and self.embedded.nodes == 1:
            return 1
        return self.replication


def client_options(security: SecurityParams | None, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the keyword arguments of aiokafka's clients for `security` ({} for none).

    Raises:
        BrokerError: a password is not in the environment, a certificate cannot be read.
    """
    if security is None:
        return {}
    environment = os.environ if environment is None else environment
    protocol = ("SASL_" if security.sasl_mechanism else "") + ("SSL" if security.tls else "PLAINTEXT")
    options: dict[str, Any] = {"security_protocol": protocol}
    if security.tls:
        options["ssl_context"] = _context(security, environment)
    if security.sasl_mechanism is not None:
        options["sasl_mechanism"] = security.sasl_mechanism
        options["sasl_plain_username"] = security.username
        options["sasl_plain_password"] = _secret(
            security.password_env or "", "broker.security.password_env", environment
        )
    return options


def _secret(name: str, setting: str, environment: Mapping[str, str]) -> str:
    try:
        return environment[name]
    except KeyError:
        raise BrokerError(f"{setting}: {name} is not in the environment", f"export {name}=...") from None


def _context(security: SecurityParams, environment: Mapping[str, str]) -> ssl.SSLContext:
    password = None
    if security.key_password_env is not None:
        password = _secret(security.key_password_env, "broker.security.key_password_env", environment)
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
        if security.certificate_file is not None:
            context.load_cert_chain(security.certificate_file, security.key_file, password)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(f) for f in (security.ca_file, security.certificate_file, security.key_file) if f)
        raise BrokerError(f"TLS files cannot be used: {error}", f"check {files}") from error
    return context
