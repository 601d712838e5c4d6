"""A node as a Twisted service: what an application composes, and calls.

- `life`        how it starts and stops, and which service performs what
- `loop`        `Node.step`: handle, perform, re-arm
- `clocks`      the monotonic clock and the wall clock
- `parameters`  from the options to what the core is born with
- `resources`   the lock, the key, the store
- `views`       `status`, `stats` and the like, from the core's snapshots
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from attrs import evolve
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed

from positron import __version__
from positron.config import Config
from positron.core.addresses import parse_bootstrap
from positron.core.identity import NODE_ID_SIZE, TEXT_SIZE, from_text, is_valid_node_id, to_text
from positron.core.notices import Notice
from positron.core.swarm import Swarm
from positron.errors import NotRunning, UnknownPeer
from positron.node import views
from positron.node.life import Life
from positron.services.notices import Listener
from positron.services.streams import MessageStream, NoticeStream
from positron.services.subscriptions import Got, Subscription
from positron.services.values import (
    Acknowledgement,
    Message,
    Peer,
    Receipt,
    Stats,
    Topic,
    TrustView,
    parse_message_id,
)

MIN_PREFIX = 4
"""Characters of a node id that may stand for it where it is the only one."""


class Node(Life):
    """One node of a network: a MultiService to be given a parent, or started and stopped by hand.

    `reactor` runs it, `config` says how (`positron.Config`). The constructor touches neither disk nor network.
    `network` is where endpoints come from (TCP), `identity` and `store` replace what the options name.

    Node ids are text of 52 characters; where one is asked for, 32 bytes are taken too, and the beginning of a known
    one if it is unique. What waits returns a Deferred, and cancelling it ends the wait alone. Arguments that cannot
    be are refused at the call (TypeError, ValueError, `PayloadTooLarge`, `UnknownPeer`); everything else that goes
    wrong is the Deferred's failure, a `PositronError`. A stopped node can be started again.
    """

    version = __version__

    def __init__(self, reactor: Any, config: Config, **parts: Any) -> None:
        super().__init__(reactor, config, **parts)
        self.on_leave: Callable[[], object] = self.stopService
        """What `leave` calls; a program that is nothing but a node stops its reactor."""
        self.on_reload: Callable[[], object] | None = None
        """What `reload` without a configuration calls, to read it anew."""

    @property
    def listen(self) -> list[str]:
        """The bound addresses, with the real ports; empty while it is not started."""
        return self._peers.listening.addresses

    # -------------------------------------------------------------------------------------------------- waiting

    def when_ready(self) -> Deferred[Node]:
        """Fires with the node once it is bound, its key and store are open, and it dials.

        Fails with what kept it from that: `ConfigError`, `IdentityError`, `StoreError`; `NotRunning` if it was
        stopped before. Asked of a node that is stopped, it waits for the next start.
        """
        return self._readiness.wait()

    def when_peers(self, n: int = 1) -> Deferred[None]:
        """Fires once `n` other nodes are linked; `NotRunning` if the node stops before."""
        if len(self._up) >= n:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._forget_peer_wait)
        self._peer_waits.append((n, waiting))
        return waiting

    def _forget_peer_wait(self, waiting: Deferred[None]) -> None:
        self._peer_waits = [wait for wait in self._peer_waits if wait[1] is not waiting]

    def flush(self) -> Deferred[None]:
        """Fires when everything so far is on disk, whatever was accepted included. `StoreError` if it cannot be."""
        return self._gossip.flush()

    # -------------------------------------------------------------------------------------------------- talking

    def publish(self, topic: str, data: object, *, min_peers: int = 0) -> Deferred[Receipt]:
        """Publish `data` on `topic` (at most 128 bytes of UTF-8) to every node of the network.

        Data is None, bool, int, float, str, bytes, lists and maps of those, at most 64 KiB as msgpack. Fires on
        acceptance, which waits while the node is over its share. With fewer than `min_peers` links: `NoPeers`. With
        none, the message is kept and given to the first. `ClockSkew` if nobody would accept it.
        """
        return self._gossip.publish(topic, data, min_peers, len(self._up))

    def broadcast(self, data: object, *, min_peers: int = 0) -> Deferred[Receipt]:
        """Publish on topic ""."""
        return self.publish("", data, min_peers=min_peers)

    def send(self, node_id: str | bytes, data: object, timeout: float = 10) -> Deferred[Acknowledgement]:
        """Send `data` to one node, sealed. Fires when the recipient has signed that it has it on disk.

        `DeliveryTimeout` after `timeout` seconds without its receipt; it may still arrive later. ValueError for this
        node's own id.
        """
        if not 0 < timeout < float("inf"):
            raise ValueError(f"a timeout is more than 0 seconds, not {timeout}")
        return self._gossip.send(self._resolve_other(node_id), data, float(timeout))

    def subscribe(self, topic: str, got: Got, *, history: int = 0) -> Subscription:
        """Call `got(message)` for each message of `topic` from now on, and the last `history` of them before.

        `a/#` is `a` and everything below it, `#` everything. `got` may be a coroutine function or return a
        Deferred: its next message waits for that. Works before the start, and outlives a stop.
        """
        return self._gossip.subscribe(topic, got, history=history)

    def on_direct(self, got: Got) -> Subscription:
        """Call `got(message)` for each message sent to this node alone. Those too many to wait in memory are lost."""
        return self._gossip.subscribe("", got, direct=True)

    def messages(self, pattern: str, history: int = 0) -> MessageStream:
        """As `subscribe`, as an object for `async with` and `async for`; it subscribes now, and `close` ends it."""
        return self._gossip.messages(pattern, history)

    def history(self, topic: str, limit: int = 100) -> Deferred[list[Message]]:
        """The last `limit` messages of a topic or pattern that are kept, this node's own included.

        They are ordered by creation, so each author's in order.
        """
        return self._gossip.history(topic, limit)

    def message(self, id_text: str) -> Deferred[dict[str, Any] | None]:
        """What is known of the message of that id (`AUTHOR.EPOCH.SEQ`), None if it is not held."""
        return self._gossip.describe(*parse_message_id(id_text))

    def events(self) -> NoticeStream:
        """What happens to the node from now on, for `async with` and `async for`. Too slow: `Lagged`."""
        return self._notices.stream()

    def on_event(self, got: Callable[[Notice], object]) -> Listener:
        """Call `got(notice)` for what happens to the node. A coroutine or Deferred of it is not waited for."""
        return self._notices.listen(got)

    # -------------------------------------------------------------------------------------------------- looking

    def peers(self) -> list[Peer]:
        """The links that are up, oldest first."""
        return views.peers(self._swarm, self._peers.traffic)

    def known_peers(self) -> list[Peer]:
        """The links that are up, then every other node known: `down`, or `banned`."""
        return views.known_peers(self._swarm, self._peers.traffic)

    def topics(self) -> list[Topic]:
        """The topics heard of or subscribed to, by name."""
        return self._gossip.topics()

    def stats(self) -> Stats:
        """The counters, since the start."""
        store = None if self._resources is None else self._resources.store
        bytes_in, bytes_out = self._peers.bytes_total()
        return views.stats(
            self._swarm,
            (0, 0, 0) if store is None else store.size(),
            uptime_seconds=0.0 if self._swarm is None else self.clocks.now() - self._ready_at,
            subscriber_errors_total=self._gossip.errors_total,
            undecodable_total=self._gossip.undecodable_total,
            links_opened_total=self._peers.opened,
            links_closed=dict(self._peers.closed),
            links_refused=dict(self._peers.refused),
            bytes_in_total=bytes_in,
            bytes_out_total=bytes_out,
        )

    def status(self) -> dict[str, Any]:
        """What `positron status --json` prints, without its `schema`."""
        return views.status(self.node_id, self.config.network, self.ready, self.listen, self.stats())

    @overload
    def trust(self) -> list[TrustView]: ...

    @overload
    def trust(self, node_id: str | bytes) -> TrustView: ...

    def trust(self, node_id: str | bytes | None = None) -> TrustView | list[TrustView]:
        """What is thought of a node (`TrustView`), or of every node known (a list of them)."""
        swarm = self._running_swarm()
        if node_id is not None:
            return views.trust_views(swarm, [self._resolve(node_id)])[0]
        return views.trust_views(swarm, swarm.known_ids)

    def trust_history(self, node_id: str | bytes, limit: int = 100) -> Deferred[list[dict[str, Any]]]:
        """The last `limit` changes of a node's first-hand score, oldest first: time cause count delta before after."""
        return self._trust.history(self._resolve(node_id), limit)

    # ----------------------------------------------------------------------------------------------- operating

    def set_trust(self, node_id: str | bytes, score: float) -> None:
        """Set the first-hand score of another node, 0 to 1."""
        self._trust.set_score(self._resolve_other(node_id), score)

    def add_peer(self, address: str) -> None:
        """Dial `host:port`, `[v6]:port` or `id@host:port` once. ValueError if it is none."""
        parse_bootstrap(address)
        self._trust.add(address)

    def drop_peer(self, node_id: str | bytes) -> None:
        """End the link to a node. `UnknownPeer` if there is none."""
        wanted = self._resolve(node_id)
        if to_text(wanted) not in self._up:
            raise UnknownPeer(f"there is no link to {to_text(wanted)}")
        self._trust.drop(wanted)

    def ban_peer(self, node_id: str | bytes, seconds: float) -> None:
        """Have nothing to do with another node for `seconds`; 0 lifts a ban."""
        self._trust.ban(self._resolve_other(node_id), seconds)

    def forget_peer(self, node_id: str | bytes) -> None:
        """Remove what is known of a node: addresses, trust, bans. `UnknownPeer` if nothing is."""
        wanted = self._resolve(node_id)
        if wanted not in self._running_swarm().known_ids:
            raise UnknownPeer(f"nothing is known of {to_text(wanted)}")
        self._trust.forget(wanted)

    def ping(self, node_id: str | bytes) -> Deferred[float]:
        """The round trip to a linked node, in seconds."""
        return self._trust.ping(self._resolve(node_id))

    def backup(self, path: str) -> Deferred[int]:
        """Copy the database, with all that was remembered so far, to `path`, a new file (0600); fires with its bytes.

        The key is not in it. `StoreError` if it cannot be written, or the node is one in memory; `NotRunning`.
        """
        store = None if self._resources is None else self._resources.store
        return fail(NotRunning("the node is not running")) if store is None else store.backup(path)

    def leave(self) -> Deferred[Any]:
        """Say goodbye and end what this node is: its service, or, under twistd, the process (`on_leave`)."""
        return maybeDeferred(self.on_leave)

    def reload(self, config: Config | None = None) -> None:
        """Take over `config` at the next start; without one, ask `on_reload`, which may read it anew.

        What it may not change is the network and where state is kept.
        """
        if config is not None:
            kept = {key: getattr(self.config, key) for key in ("network", "data_dir")}
            self.config = evolve(config, **kept)
        elif self.on_reload is not None:
            self.on_reload()

    # ---------------------------------------------------------------------------------------------- its inside

    def _running_swarm(self) -> Swarm:
        if self._swarm is None:
            raise NotRunning("the node is not running")
        return self._swarm

    def _resolve(self, node_id: str | bytes) -> bytes:
        """The 32 bytes that were meant. `UnknownPeer` with a sentence otherwise."""
        if isinstance(node_id, bytes):
            wanted = node_id
        elif len(node_id) == TEXT_SIZE:
            try:
                wanted = from_text(node_id)
            except ValueError as error:
                raise UnknownPeer(str(error)) from None
        else:
            wanted = self._complete(node_id)
        if len(wanted) != NODE_ID_SIZE or not is_valid_node_id(wanted):
            raise UnknownPeer("that is not the id of any node")
        return wanted

    def _resolve_other(self, node_id: str | bytes) -> bytes:
        """As `_resolve`, where only another node can be meant: ValueError for our own id."""
        wanted = self._resolve(node_id)
        if to_text(wanted) == self.node_id:
            raise ValueError("that is the id of this node itself")
        return wanted

    def _complete(self, prefix: str) -> bytes:
        known = () if self._swarm is None else self._swarm.known_ids
        found = [each for each in known if len(prefix) >= MIN_PREFIX and to_text(each).startswith(prefix)]
        if len(found) != 1:
            how = "fits no node known" if not found else f"fits {len(found)} nodes"
            raise UnknownPeer(f"{prefix[:TEXT_SIZE]!r} {how}")
        return found[0]
