"""Every option, declared once: name, type, kind and range, default, meaning.

Rule: flags, environment names, files, documentation and schema are all made from these lines, so a new option is
one more line here. A `Config` that exists is valid.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Self

from attrs import field, fields, frozen

from positron.config.forms import Inbound, Many, Maybe, Pair, Share
from positron.config.kinds import (
    Address,
    Choice,
    Duration,
    Endpoint,
    Kind,
    Path,
    Real,
    Size,
    Text,
    Truth,
    Whole,
    nearest,
)
from positron.core.limits import PROFILES as LIMITS
from positron.core.limits import Limits, Rate
from positron.errors import ConfigError

PROFILES = tuple(LIMITS)
"""The profiles' names, in the order of the documentation."""
DAY = 86_400
MIB = 2**20

_ANY_RATE = Pair(Rate, Real(0.1, 10_000_000))
_ANY_FLOW = Pair(Rate, Size(4096, 2**34, bare=MIB))
_ANY_SHARE = Pair(Share, Whole(1, 100_000))


@frozen
class Option:
    """One option as declared: everything a flag, a table row or a schema is made from."""

    key: str
    kind: Kind
    default: object
    """As given to `kind.read`; None where `profiles` or `shown` say what applies."""
    help: str
    profiles: tuple[object, ...] | None
    """The default in each of PROFILES, for an option whose default is its profile's."""
    shown: str | None
    """The default in words, where it is not a fixed value."""

    @property
    def flag(self) -> str:
        """On the command line."""
        return "--" + self.key.replace("_", "-")

    @property
    def env(self) -> str:
        """In the environment."""
        return "POSITRON_" + self.key.upper()

    @property
    def many(self) -> bool:
        """Whether the flag may be repeated."""
        return isinstance(self.kind, Many)

    @property
    def is_path(self) -> bool:
        """Whether the value names a file or folder."""
        return isinstance(self.kind.kind if isinstance(self.kind, Maybe) else self.kind, Path)

    def read(self, value: object) -> Any:
        """The value; a wrong one is a ConfigError that names the key."""
        try:
            return self.kind.read(value)
        except ValueError as problem:
            raise ConfigError(f"{self.key}: {problem}") from None

    def profile_texts(self) -> dict[str, str]:
        """The default in each profile as a person would type it."""
        values = zip(PROFILES, self.profiles or (), strict=bool(self.profiles))
        return {name: self.kind.show(self.kind.read(value)) for name, value in values}

    def default_text(self) -> str:
        """The default, for help and documentation."""
        if self.profiles:
            return ", ".join(f"{text} ({name})" for name, text in self.profile_texts().items())
        return self.shown or self.kind.show(self.kind.read(self.default)) or "none"


def _option(
    kind: Kind,
    default: object,
    help: str,
    *,
    profiles: Callable[[Limits], object] | None = None,
    shown: str | None = None,
) -> Any:
    """A field of Config that carries its option; typed Any so that the annotation says the type.

    `profiles` takes the default of one profile from the core's limits, where those numbers stand.
    """
    each = tuple(map(profiles, LIMITS.values())) if profiles else None
    about = {"kind": kind, "help": help, "profiles": each, "shown": shown}
    return field(default=default, metadata=about)


@frozen(kw_only=True)
class Config:
    """How one node is to run. Keyword arguments only; each is checked at once, and a wrong one is a ConfigError.

    Durations are seconds and sizes bytes, or text with a unit ("5m", "100MiB"). `data_dir=None` is a memory store,
    a fresh key and no control socket.
    """

    network: str = _option(
        Text(64), "positron", "Name of the network; nodes of other names refuse each other."
    )
    host: str = _option(Text(255), "0.0.0.0", "Address to listen on.")  # noqa: S104 - a node is there to be dialled
    port: int = _option(Whole(0, 65535), 8888, "TCP port to listen on; 0 picks a free one.")
    listen: Sequence[str] = _option(
        Many(Endpoint()), (), "Endpoint to listen on, instead of host and port.", shown="from host and port"
    )
    advertise: Sequence[str] = _option(
        Many(Address()), (), "Address that other nodes should dial.", shown="what other nodes observe"
    )
    bootstrap: Sequence[str] = _option(
        Many(Address(pinned=True)), (), "Node to dial first; with its id before an @, only that node."
    )
    discovery: bool = _option(
        Truth(), True, "Find further peers; false links only to the bootstrap list and whoever dials in."
    )
    data_dir: str | None = _option(
        Maybe(Path(), "memory"),
        None,
        "Folder of everything that outlives the process.",
        shown="``positron/NETWORK-PORT`` in the user's data folder; for ``Config(...)`` in a program, memory",
    )
    identity_file: str | None = _option(
        Maybe(Path()), None, "File of the node's key.", shown="``identity.key`` in the data folder"
    )
    passphrase_file: str | None = _option(
        Maybe(Path()), None, "File whose first line unlocks the identity file."
    )
    secret_file: str | None = _option(
        Maybe(Path()), None, "File of the secrets that nodes of a closed network prove to each other."
    )
    members_file: str | None = _option(
        Maybe(Path()), None, "File of the node ids, one a line, that may take part."
    )
    profile: str = _option(Choice(PROFILES), "lan", "Which set of limits applies.")
    fanout: int = _option(
        Whole(1, 12), 3, "How many links push messages to this node; peers serve at most 12."
    )
    ttl: int = _option(Whole(1, 64), 16, "How many hops a message is pushed; beyond, it is announced.")
    min_peers: int = _option(
        Whole(0, 1000), None, "Links to look for.", shown="5, or max_peers where that is less"
    )
    max_peers: int = _option(Whole(2, 1000), 50, "Links in all. With 2 the network is a line.")
    heartbeat_interval: float = _option(
        Duration(0.1, 60), 2, "How often the choice of links that push is reviewed."
    )
    sync_interval: float = _option(
        Duration(0.1, 3600), 5, "How often one random link is compared with, for what was missed."
    )
    retention: float = _option(
        Duration(1, 7 * DAY),
        DAY,
        "How long messages are kept; a partition shorter than this heals completely.",
    )
    quota: int = _option(Size(MIB, 2**39), 100 * MIB, "How many bytes of messages are kept.")
    trust_baseline: float = _option(Real(0, 1), 0.5, "Trust in a peer nothing is known of.")
    trust_gain: float = _option(Real(0, 1), 0.001, "What a useful first delivery adds to trust.")
    trust_penalty: float = _option(Real(0, 1), 0.1, "What a proven offence costs.")
    trust_ban: float = _option(Real(0, 1), 0.1, "Trust at or below which a peer is banned.")
    http: int | None = _option(
        Maybe(Whole(0, 65535), "off"), None, "TCP port of the page and the API; 0 picks a free one."
    )
    http_host: str = _option(Text(255), "127.0.0.1", "Address of the page and the API.")
    control_socket: str | None = _option(
        Maybe(Path()), None, "UNIX socket of the API.", shown="``control.sock`` in the data folder"
    )
    log_level: str = _option(
        Choice(("debug", "info", "warn", "error", "critical"), (("warning", "warn"),)),
        "info",
        "The least important log lines to write.",
    )
    log_format: str = _option(Choice(("text", "json")), "text", "Log lines as text, or one JSON object each.")
    log_file: str | None = _option(
        Maybe(Path(), "stdout", also="-"), None, "Log file; a daemon without one writes ``twistd.log``."
    )
    limit_envelopes: Rate = _option(
        _ANY_RATE,
        None,
        "Live envelopes accepted from one link, a second and at once.",
        profiles=lambda limits: limits.envelopes,
    )
    limit_bytes: Rate = _option(
        _ANY_FLOW,
        None,
        "Bytes accepted from one link, a second and at once; without a unit, MiB.",
        profiles=lambda limits: limits.bytes,
    )
    limit_author: Rate = _option(
        _ANY_RATE,
        None,
        "Envelopes an author may send on its own links, a second and at once.",
        profiles=lambda limits: limits.author,
    )
    limit_have: Rate = _option(
        _ANY_RATE,
        None,
        "Announced ids accepted from one link, a second and at once.",
        profiles=lambda limits: limits.have,
    )
    limit_history: Rate = _option(
        _ANY_FLOW,
        None,
        "Bytes of old messages this node gives out, a second and at once; without a unit, MiB.",
        profiles=lambda limits: limits.history,
    )
    limit_handshakes: Share = _option(
        _ANY_SHARE,
        None,
        "Handshakes a second, in all and from one address.",
        profiles=lambda limits: (limits.handshakes_all, limits.handshakes_address),
    )
    limit_half_open: Share = _option(
        _ANY_SHARE,
        None,
        "Connections that have not finished their handshake, in all and from one address.",
        profiles=lambda limits: (limits.half_open_all, limits.half_open_address),
    )
    limit_inbound: Inbound = _option(
        Pair(Inbound, Maybe(Whole(1, 1000), "max")),
        None,
        "Inbound links from one address and from one network group; ``max`` is max_peers.",
        profiles=lambda limits: (limits.inbound_address, limits.inbound_group),
    )

    def __new__(cls, **given: object) -> Self:
        """Refuse an unknown name with the nearest valid one."""
        for key in given:
            require_known(key)
        return object.__new__(cls)

    def __attrs_post_init__(self) -> None:
        """Read every value through its kind, then check what options say together."""
        profile = OPTIONS["profile"].read(self.profile)
        for key, option in OPTIONS.items():
            value = getattr(self, key)
            if value is None and option.profiles:
                value = option.profiles[PROFILES.index(profile)]
            if value is not None or option.default is not None:
                object.__setattr__(self, key, option.read(value))
        self._settle()

    def _settle(self) -> None:
        """Fill in what depends on other options, and refuse contradictions."""
        if self.min_peers is None:
            object.__setattr__(self, "min_peers", min(5, self.max_peers))
        if self.min_peers > self.max_peers:
            raise ConfigError(f"min_peers: {self.min_peers} is more than max_peers, {self.max_peers}")
        if self.trust_ban >= self.trust_baseline:
            raise ConfigError(
                f"trust_ban: {self.trust_ban} is not below trust_baseline, {self.trust_baseline}: "
                "every new peer would be banned"
            )
        if self.passphrase_file and not (self.identity_file or self.data_dir):
            raise ConfigError("passphrase_file: there is no identity file without data_dir or identity_file")
        inbound = Inbound(*(limit or self.max_peers for limit in self.limit_inbound))
        object.__setattr__(self, "limit_inbound", inbound)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoint strings to listen on: `listen`, or one made from host and port."""
        if self.listen:
            return tuple(self.listen)
        quoted = self.host.strip("[]").replace("\\", "\\\\").replace(":", "\\:")
        return (f"tcp:{self.port}:interface={quoted}",)

    @property
    def identity_path(self) -> str | None:
        """The key's file, or None for a fresh key that nothing keeps."""
        return self.identity_file or self._inside("identity.key")

    @property
    def control_path(self) -> str | None:
        """The control socket, or None for a node that has none."""
        return self.control_socket or self._inside("control.sock")

    @property
    def database_path(self) -> str | None:
        """The SQLite file, or None with a memory store."""
        return self._inside("positron.db")

    @property
    def lock_path(self) -> str | None:
        """The file a running node holds an flock on, or None with a memory store."""
        return self._inside("lock")

    def _inside(self, name: str) -> str | None:
        return os.path.join(self.data_dir, name) if self.data_dir else None


OPTIONS: dict[str, Option] = {
    attribute.name: Option(key=attribute.name, default=attribute.default, **attribute.metadata)
    for attribute in fields(Config)
}
"""Every option by its key, in the order of the documentation."""


def require_known(key: str) -> Option:
    """The option of that key; an unknown key is a ConfigError that names the nearest valid one."""
    if key not in OPTIONS:
        raise ConfigError(f"unknown option {key!r}{nearest(key, OPTIONS)}")
    return OPTIONS[key]
