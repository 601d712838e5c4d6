"""Addresses as text: `host:port`, `[v6]:port`, `id@host:port`.

Rule: whatever a peer says passes `split_address` before anything else looks at it, so what the book holds is a short
host of harmless characters and a port.

A *network group* is what an attacker pays for: a /16 of IPv4, a /32 of IPv6. A private, loopback or link-local address
is a group of its own, for there the neighbours are one's own machines, and so is a name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from positron.core.identity import from_text

PUBLIC, PRIVATE, LOOPBACK = 0, 1, 2
"""How far an address reaches: everywhere, in one network, in one machine."""

MAX_HOST = 253

LOWEST_LEARNED_PORT = 1024
"""Ports below belong to services that are no nodes; they are dialled only when our operator says so (T23)."""

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_SCOPED = re.compile(r"[0-9A-Fa-f:.]+%[A-Za-z0-9_.-]{1,16}")
_PRIVATE = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
        "fe80::/10",
    )
)
_THIS_NETWORK = ip_network("0.0.0.0/8")


def split_address(text: str) -> tuple[str, int]:
    """Host (IPv6 without brackets, in its shortest form) and port of `host:port` or `[v6]:port`.

    ValueError with a sentence for anything else; the port is 0 to 65535.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
        raise ValueError("an address is host:port or [v6]:port")
    address = _ip(host)
    if (":" in host) != bracketed or (address is None and not _is_name(host)):
        raise ValueError("an address is host:port or [v6]:port")
    return (host if address is None else str(address)), int(port)


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_bootstrap(text: str) -> tuple[bytes | None, str]:
    """The pinned node id, or None, and the address of `host:port` or `id@host:port`. ValueError otherwise."""
    pin, at, address = text.rpartition("@")
    host, port = split_address(address)
    if port == 0:
        raise ValueError("port 0 cannot be dialled")
    return (from_text(pin) if at else None), join_address(host, port)


@lru_cache(maxsize=16384)
def host_of(host_or_address: str) -> str:
    """The host of an address; a bare host, or what is neither, as it is."""
    if _ip(host_or_address) is not None:
        return host_or_address
    try:
        return split_address(host_or_address)[0]
    except ValueError:
        return host_or_address


@lru_cache(maxsize=16384)
def group_of(host_or_address: str) -> str:
    """The network group of an address or a host."""
    host = host_of(host_or_address)
    address = _ip(host)
    if address is None:
        return host.lower()
    if is_private(host):
        return str(address)
    if isinstance(address, IPv4Address):
        return ".".join(str(address).split(".")[:2]) + "/16"
    return str(IPv6Network((int(address) >> 96 << 96, 32)))


def is_ip(host: str) -> bool:
    """Whether this is an IP address and no name."""
    return _ip(host) is not None


def is_private(host: str) -> bool:
    """Whether this host lies in a private, loopback, link-local or carrier-grade NAT range, or is `localhost`."""
    return _reach(host) != PUBLIC if _ip(host) is not None else host.lower() == "localhost"


@lru_cache(maxsize=16384)
def reach_of(host_or_address: str) -> int:
    """How far it reaches: PUBLIC, PRIVATE or LOOPBACK.

    A name that our operator dialled may stand for anything and counts as PRIVATE; `localhost` as LOOPBACK.
    """
    return _reach(host_of(host_or_address))


class Place(NamedTuple):
    """An address that a link can be opened to: in its one form, its port, and how far it reaches."""

    address: str
    port: int
    reach: int


@lru_cache(maxsize=16384)
def place_of(text: str) -> Place | None:
    """The place that `text` names, None if no link can be opened to it: see `is_dialable`."""
    try:
        host, port = split_address(text)
    except ValueError:
        return None
    if port == 0 or not _is_host(_ip(host)):
        return None
    return Place(join_address(host, port), port, _reach(host))


class Usable(NamedTuple):
    """Where a node can be reached, in the one form of each address; the group of the first, and how far the furthest
    reaches."""

    addresses: tuple[str, ...]
    group: str
    reach: int


@lru_cache(maxsize=16384)
def usable_of(addresses: tuple[str, ...], reach: int) -> Usable | None:
    """What may be used of the `addresses` that a teller says, who is no further away than `reach`; None if nothing."""
    found: dict[str, None] = {}
    for text in addresses:
        place = place_of(text)
        if place is not None and place.port >= LOWEST_LEARNED_PORT and place.reach <= reach:
            found[place.address] = None
    usable = tuple(found)
    return Usable(usable, group_of(usable[0]), furthest(usable)) if usable else None


def furthest(addresses: tuple[str, ...]) -> int:
    """How far the furthest of them reaches."""
    return min(map(reach_of, addresses))


def is_dialable(text: str) -> bool:
    """Whether `text` is an address that a link can be opened to: no port 0, no multicast, broadcast or wildcard."""
    return place_of(text) is not None


def _is_host(address: IPv4Address | IPv6Address | None) -> bool:
    """Whether it is one host's, as a name is."""
    if address is None:
        return True
    if address.is_multicast or address.is_unspecified:
        return False
    if isinstance(address, IPv4Address):
        return not address.is_reserved and address not in _THIS_NETWORK
    return True


def _reach(host: str) -> int:
    address = _ip(host)
    if address is None:
        return LOOPBACK if host.lower() == "localhost" else PRIVATE
    if address.is_loopback:
        return LOOPBACK
    return PRIVATE if any(address in network for network in _PRIVATE) else PUBLIC


def _is_name(host: str) -> bool:
    """A DNS name, not a mistyped IPv4 address: its last label is not a number."""
    return (
        len(host) <= MAX_HOST
        and _NAME.fullmatch(host) is not None
        and not host.rstrip(".").rpartition(".")[2].isdigit()
    )


@lru_cache(maxsize=16384)
def _ip(host: str) -> IPv4Address | IPv6Address | None:
    """The IP address that `host` spells, an IPv4 address in IPv6 clothes undressed; None for a name."""
    if "%" in host and not _SCOPED.fullmatch(host):
        return None
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address
