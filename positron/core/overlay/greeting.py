"""From a channel to a link: HELLO and WELCOME of both sides, every refusal, and one link per node.

Both sides send HELLO at once and answer with WELCOME; a link is up when a side has sent and received WELCOME ok. In a
closed network the dialler proves the secret first and the acceptor answers only after checking, so a stranger that
dials learns nothing to try secrets on.

Two channels to one node (both dialled): each side judges the newer HELLO against the older link. Rule: the older link
stays up until the newer one is up too, so whatever the two sides decide, and if they decide differently, a link stays.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from math import inf

from attrs import define

from positron.core.context import Context
from positron.core.links import CLOSING, UP, Link
from positron.core.messages import Hello, Welcome
from positron.core.overlay.admission import Admission
from positron.core.overlay.judge import Judge, is_banned
from positron.errors import MessageError

VERSION_MIN, VERSION_MAX = 1, 1
"""The versions of the protocol that this code speaks."""

SECRET_TAG = b"positron/secret/1\0"
MAX_SECRET = 64
DIALLER, ACCEPTOR = b"D", b"A"

GREETING_SECONDS = 5.0
YOUNG_SECONDS = 5.0
ASK_SECONDS = 2.0
"""How long an older link may be silent to our PING before a newer one replaces it."""


def secret_proof(secret: bytes, role: bytes, own: bytes, peer: bytes, binding: bytes) -> bytes:
    """The keyed hash with which node `own` proves to `peer`, on the channel of `binding`, that it holds `secret`.

    `secret` has at most 64 bytes; `role` is DIALLER or ACCEPTOR, so that a proof cannot be sent back to its maker.
    """
    return hashlib.blake2b(SECRET_TAG + role + own + peer + binding, key=secret, digest_size=32).digest()


@define(eq=False)
class Talk:
    """How far the handshake on one link is. Times are seconds of `now`."""

    link: Link
    until: float
    version: int = 0
    sent: bool = False
    received: bool = False
    replaces: Link | None = None
    asking: Link | None = None
    asked_at: float = inf


@define(eq=False)
class Outcome:
    """What the greeting tells the overlay, by callbacks."""

    up: Callable[[Link, Link | None], None]
    """A link is up; the second is the one it replaces, if any."""
    refused: Callable[[Link, str, tuple[bytes, ...]], None]
    """This link will not be: the word of WELCOME, and the records of others that came with it."""
    end: Callable[[Link, str], None]
    """End this link without a word: it is of no use any more."""
    records: Callable[[Link], tuple[bytes, ...]]
    """Records of others for one that we have no room for."""


class Greeting:
    """The handshakes that are under way, by link number."""

    def __init__(self, context: Context, admission: Admission, trust: Judge, outcome: Outcome) -> None:
        for secret in context.parameters.secrets:
            if not 0 < len(secret) <= MAX_SECRET:
                raise ValueError(f"a secret has 1 to {MAX_SECRET} bytes")
        self._context = context
        self._secrets = context.parameters.secrets
        self._admission = admission
        self._trust = trust
        self._outcome = outcome
        self._talks: dict[int, Talk] = {}
        self._asked: dict[int, Talk] = {}
        """Those that wait for an older link's sign of life, by their own link's number."""
        self.deadline = inf
        """When `tick` is wanted; it may be early, never late."""

    def begin(self, link: Link, addresses: tuple[str, ...]) -> None:
        """A channel stands: say HELLO."""
        context = self._context
        self._talks[link.number] = talk = Talk(link, context.now + GREETING_SECONDS)
        self.deadline = min(self.deadline, talk.until)
        context.send(
            link,
            Hello(
                version_min=VERSION_MIN,
                version_max=VERSION_MAX,
                network_id=context.network_id,
                agent=context.parameters.agent,
                epoch=context.epoch,
                port=context.parameters.port,
                addresses=addresses,
                wall_ms=context.wall_ms,
                observed=link.address,
            ),
        )

    # ---------------------------------------------------------------------------------------------- messages

    def hello(self, link: Link, message: Hello) -> bool:
        """The other side's HELLO; False if the link is refused. `MessageError` if it may not come now."""
        talk = self._talks.get(link.number)
        if talk is None or link.hello is not None:
            raise MessageError("a second HELLO")
        link.hello = message
        reason = self._judge(link, message)
        if reason:
            self._refuse(link, reason)
            return False
        talk.version = min(VERSION_MAX, message.version_max)
        return True

    def answer(self, link: Link) -> None:
        """Its HELLO was good: send WELCOME, unless the other side must prove itself first."""
        talk = self._talks.get(link.number)
        if talk is not None and (link.outbound or not self._secrets):
            self._place(talk)

    def welcome(self, link: Link, message: Welcome) -> None:
        """The other side's WELCOME. `MessageError` if it may not come now or agrees to what we did not offer."""
        talk = self._talks.get(link.number)
        if talk is None or link.hello is None or talk.received:
            raise MessageError("a WELCOME out of turn")
        if message.refusal:
            self._outcome.refused(link, message.refusal, message.records)
            self._outcome.end(link, f"refused: {message.refusal}")
            return
        if message.version != talk.version:
            raise MessageError("a WELCOME to another version")
        if not self._is_proven(link, message):
            self._refuse(link, "secret")
            return
        talk.received = True
        if talk.sent:
            self._complete(talk)
        elif talk.asking is None:
            self._place(talk)

    def awaits_another(self, link: Link) -> bool:
        """Whether a link to the same node was welcomed and will be up in a moment: this one ends with that."""
        return any(
            talk.sent and talk.link is not link and talk.link.node_id == link.node_id
            for talk in self._talks.values()
        )

    def heard(self, link: Link) -> None:
        """The older link of a node lives: the newer ones that asked for its place do not get it."""
        if self._asked:
            for talk in [talk for talk in self._asked.values() if talk.asking is link]:
                self._refuse(talk.link, "duplicate")

    def forget(self, link: Link) -> None:
        """This link is down, whatever it was; who waited for its end goes on."""
        self._talks.pop(link.number, None)
        self._asked.pop(link.number, None)
        for talk in list(self._talks.values()):
            if talk.replaces is link:
                talk.replaces = None
            if talk.asking is link:
                talk.asking = None
                del self._asked[talk.link.number]
                self._place(talk)

    def tick(self) -> None:
        """End handshakes that take too long, and replace links that did not answer."""
        now = self._context.now
        self.deadline = inf
        for talk in list(self._talks.values()):
            if now >= talk.until:
                self._outcome.end(talk.link, "no handshake in time")
                continue
            self.deadline = min(self.deadline, talk.until)
            if talk.asking is not None:
                if now >= talk.asked_at + ASK_SECONDS:
                    self._outcome.end(talk.asking, "silent, replaced by a newer link")
                else:
                    self.deadline = min(self.deadline, talk.asked_at + ASK_SECONDS)

    # ---------------------------------------------------------------------------------------------- judgement

    def _judge(self, link: Link, hello: Hello) -> str:
        """Why this node may not be linked, or nothing."""
        context = self._context
        members = context.parameters.members
        if link.node_id == context.me.node_id:
            return "self"
        if hello.network_id != context.network_id:
            return "network"
        if hello.version_min > VERSION_MAX or hello.version_max < max(VERSION_MIN, hello.version_min):
            return "version"
        if is_banned(self._trust, link.node_id, context.wall):
            return "banned"
        if members is not None and link.node_id not in members:
            return "member"
        if not link.outbound and self._admission.refuses(link):
            return "banned"
        return ""

    def _place(self, talk: Talk) -> None:
        """The node is welcome in itself: is there room, and is it the only link to it?"""
        link = talk.link
        rival = self._rival(link)
        if rival is None:
            if self._admission.has_room(link):
                self._accept(talk)
            else:
                self._refuse(link, "full")
            return
        verdict = self._prevails(link, rival)
        if verdict is None:
            talk.asking, talk.asked_at = rival, self._context.now
            self._asked[link.number] = talk
            self.deadline = min(self.deadline, talk.asked_at + ASK_SECONDS)
            self._context.ping(rival)
        elif verdict:
            talk.replaces = rival
            self._accept(talk)
        else:
            self._refuse(link, "duplicate")

    def _rival(self, link: Link) -> Link | None:
        """Another link to the same node that is up or was welcomed."""
        up = self._context.links.up.get(link.node_id)
        for talk in reversed(self._talks.values()):
            other = talk.link
            if other is not link and other.node_id == link.node_id and (talk.sent or talk.asking):
                return other
        return up

    def _prevails(self, link: Link, rival: Link) -> bool | None:
        """Whether the newer link replaces the older; None if only the older one's silence can tell.

        The same on both sides: the lower id's dial stays, and of two dials by the same node the lower binding.
        """
        assert link.hello is not None and rival.hello is not None
        if link.hello.epoch > rival.hello.epoch:
            return True
        now = self._context.now
        young = now - link.since < YOUNG_SECONDS and now - rival.since < YOUNG_SECONDS
        if link.hello.epoch == rival.hello.epoch and young:
            if link.outbound == rival.outbound:
                return link.binding < rival.binding
            return link.outbound == (self._context.me.node_id < link.node_id)
        if rival.state != UP or rival.paused:
            return False
        return None

    def _accept(self, talk: Talk) -> None:
        proofs: tuple[bytes, ...] = ()
        if self._secrets:
            own, peer = self._context.me.node_id, talk.link.node_id
            role = DIALLER if talk.link.outbound else ACCEPTOR
            proofs = tuple(
                secret_proof(secret, role, own, peer, talk.link.binding) for secret in self._secrets
            )
        talk.sent = True
        self._context.send(talk.link, Welcome(talk.version, proofs=proofs))
        if talk.received:
            self._complete(talk)

    def _is_proven(self, link: Link, message: Welcome) -> bool:
        """Whether one of its proofs fits one of our secrets; in an open network, whether it brought none."""
        if not self._secrets:
            return not message.proofs
        role = ACCEPTOR if link.outbound else DIALLER
        own, peer = self._context.me.node_id, link.node_id
        expected = [secret_proof(secret, role, peer, own, link.binding) for secret in self._secrets]
        return any(hmac.compare_digest(proof, mine) for proof in message.proofs for mine in expected)

    def _refuse(self, link: Link, reason: str) -> None:
        """Say why not, if WELCOME was not said yet, and end the link."""
        talk = self._talks.get(link.number)
        proven = not self._secrets or (talk is not None and talk.received)
        if talk is not None and not talk.sent:
            records = self._outcome.records(link) if reason == "full" and proven else ()
            self._context.send(link, Welcome(0, reason, records=records))
        self._outcome.refused(link, reason, ())
        self._outcome.end(link, f"refused: {reason}")

    def _complete(self, talk: Talk) -> None:
        """Both WELCOMEs are through."""
        del self._talks[talk.link.number]
        if talk.link.state != CLOSING:
            self._outcome.up(talk.link, talk.replaces)
