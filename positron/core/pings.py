"""Round trips that the operator asks for: a PING whose PONG is also the answer to a question."""

from __future__ import annotations

from positron.core.context import Context
from positron.core.events import PingPeer, Settle
from positron.core.links import Link
from positron.errors import UnknownPeer


class Pings:
    """Settles each `PingPeer` with seconds, or with `UnknownPeer` if there is no link, or none any more."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._asked: dict[int, tuple[int, int]] = {}

    def ask(self, event: PingPeer) -> None:
        """Send a PING."""
        link = self._context.links.up.get(event.node_id)
        if link is None:
            error = UnknownPeer("there is no link to that node")
            self._context.actions.append(Settle(event.token, error=error))
            return
        self._asked[self._context.ping(link)] = (event.token, link.number)

    def pong(self, link: Link, nonce: int) -> None:
        """A PONG came; `link.pings` still has when its PING was sent."""
        asked = self._asked.pop(nonce, None)
        sent = link.pings.get(nonce)
        if asked is not None and sent is not None:
            self._context.actions.append(Settle(asked[0], self._context.now - sent))

    def link_down(self, link: Link, reason: str) -> None:
        """No PONG will come on this link."""
        for nonce in [nonce for nonce, (_, number) in self._asked.items() if number == link.number]:
            token, _ = self._asked.pop(nonce)
            error = UnknownPeer(f"the link ended: {reason}")
            self._context.actions.append(Settle(token, error=error))
