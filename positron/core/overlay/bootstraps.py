"""The addresses that the operator named: all dialled at start, and again for ever while they are needed.

Rule: an address that turned out to be this node itself is never dialled again, one whose node is linked not while it
is. With no peers at all each is tried every 5 s at the latest, with too few every 60 s, always with full jitter.
"""

from __future__ import annotations

from math import inf

from attrs import define

from positron.core.addresses import parse_bootstrap
from positron.core.context import Context

ALONE_SECONDS = 5.0
FEW_SECONDS = 60.0
SHORTEST = 0.2
LASTING = ("network", "version", "secret", "member", "banned")
"""Refusals that another try in a moment will not change."""


@define(eq=False)
class Bootstrap:
    """One named address. `node_id` is who answered there, `pinned` who must. Times are seconds of `now`."""

    address: str
    pinned: bytes | None
    node_id: bytes | None = None
    is_self: bool = False
    dialled: bool = False
    failures: int = 0
    failed_at: float = -inf
    jitter: float = 0.0
    lasting: bool = False


class Bootstraps:
    """The bootstrap list, by address. ValueError at birth for an address that is none."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._named: dict[str, Bootstrap] = {}
        for text in context.parameters.bootstrap:
            pinned, address = parse_bootstrap(text)
            is_self = pinned == context.me.node_id
            self._named[address] = Bootstrap(address, pinned, pinned, is_self)

    def get(self, address: str) -> Bootstrap | None:
        """The bootstrap at this address."""
        return self._named.get(address)

    def unlinked(self) -> list[Bootstrap]:
        """Those that are not us and to whose node there is no link (that we know of)."""
        up = self._context.links.up
        return [item for item in self._named.values() if not item.is_self and item.node_id not in up]

    def due(self, item: Bootstrap) -> float:
        """When it may be dialled again (seconds of `now`), as few links as there are at present."""
        if not item.failures:
            return -inf
        alone = not self._context.links.up and not item.lasting
        cap = ALONE_SECONDS if alone else FEW_SECONDS
        return item.failed_at + max(SHORTEST, item.jitter * min(cap, 2.0 ** min(item.failures, 6)))

    def failed(self, address: str, reason: str = "") -> None:
        """A dial to this address came to nothing; `reason` is the word of WELCOME, if it got that far."""
        item = self._named.get(address)
        if item is None:
            return
        item.failures += 1
        item.failed_at = self._context.now
        item.jitter = self._context.rng.random()
        item.lasting = reason in LASTING
        if item.lasting:
            item.failures = max(item.failures, 6)
        if reason == "self":
            item.is_self = True

    def answered(self, address: str, node_id: bytes) -> None:
        """This node was found at the address."""
        item = self._named.get(address)
        if item is not None:
            item.node_id = node_id

    def linked(self, node_id: bytes) -> None:
        """A link to this node is up."""
        for item in self._named.values():
            if item.node_id == node_id:
                item.failures, item.lasting = 0, False

    def parted(self, node_id: bytes) -> None:
        """The link to this node is down."""
        for item in self._named.values():
            if item.node_id == node_id:
                self.failed(item.address)
