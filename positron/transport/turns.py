"""Whose TLS handshake is next, when more want one than the rates allow.

Rule: a handshake costs as much CPU as some twenty signatures, so it is begun only for a visitor who has spoken, and
when both the node's and the address's rate allow it. Half of the node's rate is for addresses we have known (`tried`).
The rest goes round by network group, so that a flood from one group delays that group. Nobody is refused here: a
visitor waits, and the gate's own timer ends the wait.
"""

from __future__ import annotations

import typing
from collections.abc import Callable

from positron.core.limits import HANDSHAKE_BURST, Bucket

REMEMBERED = 1024
"""Addresses and groups kept before those that no longer matter are forgotten."""


class Visitor(typing.Protocol):
    """What is asked of one who waits. Compared by identity."""

    ip: str
    group: str
    tried: bool


V = typing.TypeVar("V", bound=Visitor)


class Turns(typing.Generic[V]):
    """The visitors who wait, and the order in which they may begin.

    Rates are handshakes a second, in all and of an address; None is no limit. Bursts are `HANDSHAKE_BURST` seconds'
    worth. `now` is in seconds.
    """

    def __init__(self, rate_all: float | None, rate_of: Callable[[str], float | None]) -> None:
        self._reserved = None if rate_all is None else _bucket(rate_all / 2)
        self._open = None if rate_all is None else _bucket(rate_all / 2)
        self._rate_of = rate_of
        self._addresses: dict[str, Bucket] = {}
        self._waiting: dict[V, None] = {}
        self._served: dict[str, int] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, visitor: V) -> None:
        """Begin to wait."""
        self._waiting[visitor] = None

    def leave(self, visitor: V) -> None:
        """Wait no more, if it did."""
        self._waiting.pop(visitor, None)

    def next(self, now: float) -> V | None:
        """The one whose turn it is now, taken out of the wait, or None."""
        for bucket, tried_only in ((self._reserved, True), (self._open, False)):
            if _wait(bucket, now) > 0:
                continue
            chosen = self._choose(tried_only, now)
            if chosen is not None:
                if bucket is not None:
                    bucket.debit(1, now)
                self._serve(chosen, now)
                return chosen
        return None

    def delay(self, now: float) -> float:
        """Seconds until `next` is worth asking again, while somebody waits."""
        everybody = _wait(self._open, now)
        known = min(everybody, _wait(self._reserved, now))
        return min(
            max(known if visitor.tried else everybody, self._wait_of_address(visitor.ip, now))
            for visitor in self._waiting
        )

    def _choose(self, tried_only: bool, now: float) -> V | None:
        """Of the groups, the one served longest ago; of its visitors, the one who has waited longest."""
        ready = (
            visitor
            for visitor in self._waiting
            if (visitor.tried or not tried_only) and self._wait_of_address(visitor.ip, now) == 0
        )
        return min(ready, key=lambda visitor: self._served.get(visitor.group, 0), default=None)

    def _serve(self, visitor: V, now: float) -> None:
        del self._waiting[visitor]
        self._serial += 1
        # Moved to the end, so that the first is the one served longest ago.
        self._served.pop(visitor.group, None)
        self._served[visitor.group] = self._serial
        if len(self._served) > REMEMBERED:
            del self._served[next(iter(self._served))]
        rate = self._rate_of(visitor.ip)
        if rate is not None:
            if visitor.ip not in self._addresses:
                self._forget(now)
                self._addresses[visitor.ip] = _bucket(rate)
            self._addresses[visitor.ip].debit(1, now)

    def _wait_of_address(self, ip: str, now: float) -> float:
        """An address that was not served lately has its whole burst."""
        return _wait(self._addresses.get(ip), now)

    def _forget(self, now: float) -> None:
        """Forget the addresses whose bucket is full again: there are no more of the others than handshakes lately."""
        if len(self._addresses) >= REMEMBERED:
            self._addresses = {
                ip: bucket for ip, bucket in self._addresses.items() if bucket.level(now) < bucket.burst
            }


def _bucket(rate: float) -> Bucket:
    return Bucket(rate, max(1.0, rate * HANDSHAKE_BURST))


def _wait(bucket: Bucket | None, now: float) -> float:
    return 0.0 if bucket is None else bucket.wait(now, 1)
