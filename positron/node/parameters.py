"""From the options to what the core is born with.

Rule: the core reads no file. Secrets and members are read here, when the node starts, and a file that does not hold
what it should is the operator's: one sentence.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from attrs import evolve

from positron import __version__
from positron.config import Config
from positron.core.addresses import is_private
from positron.core.context import Parameters
from positron.core.identity import from_text
from positron.core.limits import PROFILES, Limits, Rate
from positron.errors import ConfigError

MIN_SECRET = 16
"""Bytes of a secret of a closed network: 128 random bits."""
MAX_SECRETS = 2


def parameters_of(config: Config, *, port: int, reachable: tuple[str, ...]) -> Parameters:
    """The core's parameters. `port` is what is listened on, `reachable` the bound addresses others can dial.

    Raises `ConfigError` for a secret or members file that cannot be used.
    """
    return Parameters(
        network=config.network,
        agent=f"positron/{__version__}",
        port=port,
        advertise=tuple(config.advertise) or reachable,
        bootstrap=tuple(config.bootstrap),
        discovery=config.discovery,
        secrets=read_secrets(config.secret_file),
        members=read_members(config.members_file),
        profile=config.profile,
        limits=limits_of(config),
        fanout=config.fanout,
        ttl=config.ttl,
        min_peers=config.min_peers,
        max_peers=config.max_peers,
        heartbeat_interval=config.heartbeat_interval,
        sync_interval=config.sync_interval,
        retention=config.retention,
        quota=config.quota,
        trust_baseline=config.trust_baseline,
        trust_gain=config.trust_gain,
        trust_penalty=config.trust_penalty,
        trust_ban=config.trust_ban,
    )


def limits_of(config: Config) -> Limits:
    """The profile's limits with the operator's `limit_...` in their place."""
    # `max` means that the core decides, which lets a better peer in where admission could only refuse.
    inbound = [limit if limit < config.max_peers else None for limit in config.limit_inbound]
    return evolve(
        PROFILES[config.profile],
        envelopes=Rate(*config.limit_envelopes),
        bytes=Rate(*config.limit_bytes),
        author=Rate(*config.limit_author),
        have=Rate(*config.limit_have),
        history=Rate(*config.limit_history),
        handshakes_all=config.limit_handshakes.total,
        handshakes_address=config.limit_handshakes.per_address,
        half_open_all=config.limit_half_open.total,
        half_open_address=config.limit_half_open.per_address,
        inbound_address=inbound[0],
        inbound_group=inbound[1],
    )


def limits_by_address(config: Config) -> Callable[[str], Limits]:
    """The limits for an ip: in `wan`, private and loopback ones have those of `lan` (as `Facts.limits_for` a link)."""
    limits = limits_of(config)
    if config.profile != "wan":
        return lambda ip: limits
    return lambda ip: PROFILES["lan"] if is_private(ip) else limits


def read_secrets(path: str | None) -> tuple[bytes, ...]:
    """The secrets in a file, newest first: one base32 text a line, one or two of them; none without a file."""
    if path is None:
        return ()
    secrets = tuple(_secret(line, path) for line in _lines(path, "secret_file"))
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise ConfigError(f"secret_file: {path} has {len(secrets)} secrets; one or two lines are expected")
    return secrets


def read_members(path: str | None) -> frozenset[bytes] | None:
    """The node ids in a file, one a line; None (anybody) without a file."""
    if path is None:
        return None
    try:
        return frozenset(from_text(line) for line in _lines(path, "members_file"))
    except ValueError as error:
        raise ConfigError(f"members_file: {path} has a line that is no node id; {error}") from None


def _secret(line: str, path: str) -> bytes:
    bare = line.rstrip("=").upper()
    try:
        secret = base64.b32decode(bare + "=" * (-len(bare) % 8))
    except ValueError:
        secret = b""
    if len(secret) < MIN_SECRET:
        raise ConfigError(
            f"secret_file: {path} has a line that is not base32 of {MIN_SECRET} bytes or more; "
            "make one with `positron key secret`"
        )
    return secret


def _lines(path: str, key: str) -> list[str]:
    """The lines of a text file without blanks and `#` comments."""
    try:
        with open(path, encoding="utf-8") as file:
            bare = [line.partition("#")[0].strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"{key}: {path} cannot be read ({reason})") from None
    return [line for line in bare if line]
