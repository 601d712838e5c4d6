"""Round trips that the operator asks for: a PING whose PONG is also the answer to a question."""

from __future__ import annotations

from typing import NamedTuple

from positron.core.context import Context
from positron.core.events import PingPeer, Settle
from positron.core.links import Link
from positron.errors import UnknownPeer


class _Asked(NamedTuple):
    token: int
    link: Link
    at: float


class Pings:
    """Settles each `PingPeer` with seconds, or with `UnknownPeer` if there is no link, or none any more."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._asked: dict[int, _Asked] = {}
        """By nonce. `Link.pings` forgets a PING that is not answered when many follow it; who asked here is told."""

    def ask(self, event: PingPeer) -> None:
        """Send a PING."""
        link = self._context.links.up.get(event.node_id)
        if link is None:
            error = UnknownPeer("there is no link to that node")
            self._context.actions.append(Settle(event.token, error=error))
            return
        self._asked[self._context.ping(link)] = _Asked(event.token, link, self._context.now)

    def pong(self, link: Link, nonce: int) -> None:
        """A PONG came."""
        asked = self._asked.get(nonce)
        if asked is not None and asked.link is link:
            del self._asked[nonce]
            self._context.actions.append(Settle(asked.token, self._context.now - asked.at))

    def link_down(self, link: Link, reason: str) -> None:
        """No PONG will come on this link."""
        for nonce in [nonce for nonce, asked in self._asked.items() if asked.link is link]:
            error = UnknownPeer(f"the link ended: {reason}")
            self._context.actions.append(Settle(self._asked.pop(nonce).token, error=error))
