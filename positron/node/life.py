"""How a node starts and stops.

Rules: bind first, in `privilegedStartService`, and in `startService` where that was skipped; lock, key, store, core,
control, links after that, in this order; stop in the reverse one, inside `stopService`, whose Deferred fires after
the last `connectionLost`, with no delayed call left. A MultiService does not sequence, so this does.
"""

from __future__ import annotations

import os
from random import Random
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from positron.config import Config
from positron.core import events
from positron.core.envelope import Sealer, network_id_of
from positron.core.events import Emit, Event
from positron.core.identity import Identity, to_text
from positron.core.notices import ClockSkewed, PeerDown, PeerUp, Ready, Refused
from positron.core.records import Loaded
from positron.core.swarm import Swarm
from positron.errors import NotRunning, PositronError, StoreError
from positron.node.clocks import Clocks
from positron.node.loop import Loop
from positron.node.parameters import limits_by_address, limits_of, parameters_of
from positron.node.resources import Resources
from positron.services.gossip import GossipService
from positron.services.lanes import Lanes, Threads, threads_for
from positron.services.network import Network, TCPNetwork
from positron.services.notices import Notices
from positron.services.peers import PeerService
from positron.services.trust import TrustService
from positron.services.waiting import Outcome, Tokens, fire
from positron.store import Store
from positron.transport import TLSIdentity


class Life(MultiService):
    """The services of a node and their order. `Node` adds what an application calls.

    `rng`, `clocks` and `threads` are for tests; without them chance comes from the system, time and threads (which
    verify signatures) from the reactor.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: Config,
        *,
        network: Network | None = None,
        identity: Identity | None = None,
        store: Store | None = None,
        rng: Random | None = None,
        clocks: Clocks | None = None,
        threads: Threads | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.ready = False
        self.stopped = False
        """Whether it was stopped, that is over, and it was not started again."""
        self.node_id = ""
        self.clocks = clocks or Clocks(reactor)
        self._reactor = reactor
        self._given = (identity, store)
        self._rng = rng
        self._tokens = Tokens()
        self._notices = Notices()
        self._lanes = Lanes(Sealer(network_id_of(config.network)), threads or threads_for(reactor))
        self._peers = PeerService(reactor, self.step, network or TCPNetwork(reactor), self._lanes)
        self._gossip = GossipService(
            self.step,
            lambda entry: self._loop.publish(entry),
            self._tokens,
            self._notices.tell,
            network_id_of(config.network),
        )
        self._trust = TrustService(self.step, self._tokens)
        self._loop = Loop(reactor, self.clocks, self._performers(), self._peers.performed)
        self._swarm: Swarm | None = None
        self._resources: Resources | None = None
        self._control: Any = None
        self._listen: list[str] = []
        self._ready_at = 0.0
        self._up: dict[str, None] = {}
        self._peer_waits: list[tuple[int, Deferred[None]]] = []
        self._readiness: Outcome[Any] = Outcome()
        self._started: Outcome[None] | None = None
        self._stopping: Outcome[None] | None = None

    def _performers(self) -> dict[type[Any], Any]:
        """Who performs which action. mypy does not see a missing one; a test does."""
        peers, gossip, trust = self._peers, self._gossip, self._trust
        return {
            events.Send: peers.send,
            events.Established: peers.established,
            events.Dial: peers.dial,
            events.Hangup: peers.hang_up,
            events.Pause: peers.pause,
            events.Resume: peers.resume,
            events.Deliver: gossip.deliver,
            events.Sealed: gossip.sealed,
            events.Settle: self._tokens.settle,
            events.Remember: trust.remember,
            events.Fetch: trust.fetch,
            events.Emit: self._emit,
        }

    @property
    def address(self) -> str:
        """Where others can dial it, as far as is known: advertised, or seen by peers; else where it listens."""
        advertised = () if self._swarm is None else self._swarm.overlay.addresses
        return next(iter((*advertised, *self._listen)), "")

    def step(self, event: Event) -> None:
        """The only place where core meets world: handle `event`, perform what the core says, re-arm its alarm.

        For the services; before the node is ready and after it stopped, events are dropped.
        """
        self._loop.step(event)

    # ------------------------------------------------------------------------------------------------- starting

    def privilegedStartService(self) -> None:
        """Bind. Raises `CannotListenError` at once if that cannot be."""
        self._peers.bind(self.config)
        super().privilegedStartService()

    def startService(self) -> None:
        """Bind if nobody has, and open the rest; `when_ready` says how that ends. Nothing if it runs already."""
        if self.running:
            return
        if self._stopping is None:
            self._peers.bind(self.config)
        super().startService()
        self.stopped = False
        before = self._ended()
        started = self._started = Outcome()
        readiness = self._readiness
        starting = before.addCallback(lambda _: Deferred.fromCoroutine(self._start(readiness)))
        starting.addErrback(self._start_failed, readiness)
        starting.addCallback(started.succeed)

    def _ended(self) -> Deferred[None]:
        """Fires when the last stop is over, and every start that was to follow it and is not wanted any more."""
        stopped = succeed(None) if self._stopping is None else self._stopping.wait()
        started = succeed(None) if self._started is None else self._started.wait()
        return stopped.addCallback(lambda _: started)

    async def _start(self, readiness: Outcome[Any]) -> None:
        self._check_wanted(readiness)
        self._peers.bind(self.config)
        self._listen = self._peers.listening.addresses
        resources = Resources(self._reactor, self.config, self.clocks, *self._given)
        self._resources = resources
        loaded = await resources.open()
        identity, store = resources.identity, resources.store
        assert identity is not None and store is not None
        self._create(identity, store, loaded)
        await self._start_control(resources)
        self._check_wanted(readiness)
        self._go(identity, store, loaded.epoch)
        resources.note(self._peers.listening.port)
        self._notices.tell(Ready(node_id=self.node_id, address=self.address))
        readiness.succeed(self)

    def _create(self, identity: Identity, store: Store, loaded: Loaded) -> None:
        """Give the core its birth. From now on the node can be looked at."""
        listening = self._peers.listening
        parameters = parameters_of(self.config, port=listening.port, reachable=listening.reachable)
        self._swarm = Swarm(
            identity,
            parameters,
            loaded,
            self._rng or Random(int.from_bytes(os.urandom(32), "big")),
            verify=self._lanes.verify,
            now=self.clocks.now(),
            wall=self.clocks.wall(),
        )
        self._lanes.known = self._swarm.gossip.holdings.is_known
        self.node_id = to_text(identity.node_id)
        self._ready_at = self.clocks.now()
        store.on_stored = self._stored
        store.on_health = self._health

    async def _start_control(self, resources: Resources) -> None:
        path = resources.control_path
        if path is None and self.config.http is None:
            return
        # Not at the top: only a node with a control plane pays for twisted.web.
        from positron.control import ControlService

        self._control = ControlService(
            self._reactor, self, self.config, socket_path=path, wall=self.clocks.wall
        )
        await self._control.start()

    def _go(self, identity: Identity, store: Store, epoch: int) -> None:
        """Let visitors in, dial, and tell everybody."""
        swarm = self._swarm
        assert swarm is not None
        self._trust.open(store)
        self._peers.open(
            TLSIdentity(identity.seed),
            limits_of(self.config),
            swarm.tried,
            limits_by_address(self.config),
        )
        self.ready = True
        self._loop.begin(swarm, self.clocks.wall() - self.clocks.now())
        self._gossip.open(identity.node_id, epoch, store)
        self._log.info(
            "Node {id} of network {network!r} is ready at {address}",
            id=self.node_id,
            network=self.config.network,
            address=", ".join(self._listen),
        )

    def _check_wanted(self, readiness: Outcome[Any]) -> None:
        # Not `running`: that may be for the sake of a start behind this one.
        if readiness is not self._readiness:
            raise NotRunning("the node was stopped before it was ready")

    async def _undo(self) -> None:
        """Close what a start has opened before it failed."""
        self._loop.end()
        self._swarm = None
        await self._stop_control()
        await self._peers.close()
        self._lanes.close()
        resources, self._resources = self._resources, None
        if resources is not None:
            await resources.close()

    def _start_failed(self, failure: Failure, readiness: Outcome[Any]) -> Deferred[None]:
        error = failure.value
        assert isinstance(error, Exception)
        if readiness is self._readiness and not readiness.awaited:
            # Nobody asked to be told, so it is told here.
            if isinstance(error, (PositronError, OSError)):
                self._log.critical("The node cannot start: {error}", error=str(error))
            else:
                self._log.failure("The node cannot start", failure)
        undone = Deferred.fromCoroutine(self._undo())
        undone.addErrback(lambda failed: self._log.failure("Closing what was opened failed", failed))
        return undone.addCallback(lambda _: readiness.fail(error))

    # ------------------------------------------------------------------------------------------------- stopping

    def stopService(self) -> Deferred[None]:
        """Say goodbye, close every link, flush and close the store. Fires when nothing of the node is left.

        Works at any time: while starting, twice, and on a node that never started.
        """
        children = maybeDeferred(super().stopService) if self.running else succeed(None)
        readiness, self._readiness = self._readiness, Outcome()
        readiness.fail(NotRunning("the node stopped"))
        started = succeed(None) if self._started is None else self._started.wait()
        if self._stopping is not None:
            # A start that waited for that stop finds that it is not wanted any more.
            return self._stopping.wait().addCallback(lambda _: started)
        self._stopping = Outcome()
        stopped = self._stopping.wait()
        stopping = children.addBoth(lambda result: Deferred.fromCoroutine(self._stop(started, result)))
        stopping.addErrback(lambda failure: self._log.failure("The node did not stop in good order", failure))
        stopping.addCallback(self._stopped)
        return stopped

    async def _stop(self, started: Deferred[None], children: object) -> None:
        await started
        self.ready = False
        self._gossip.shut()
        self.step(events.Leave())
        # Whoever stops the node may be called by it, and then the goodbyes are yet to be said.
        await self._loop.settled()
        self._gossip.finish()
        await self._peers.close()
        self._lanes.close()
        self._tokens.fail_all(NotRunning("the node is stopping"))
        await self._flush_at_end()
        await self._stop_control()
        self._loop.end()
        self._trust.shut()
        resources, self._resources = self._resources, None
        if resources is not None:
            await resources.close()
        self._gossip.forget()
        self._swarm = None
        if isinstance(children, Failure):
            children.raiseException()

    async def _flush_at_end(self) -> None:
        store = None if self._resources is None else self._resources.store
        if store is None or self._swarm is None:
            return
        try:
            await store.flush()
        except StoreError as error:
            self._log.error("The last records are not on disk: {error}", error=str(error))

    async def _stop_control(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            await control.stop()

    def _stopped(self, _: object) -> None:
        waits, self._peer_waits = self._peer_waits, []
        stopping, self._stopping = self._stopping, None
        self.stopped = not self.running
        self._up.clear()
        self._notices.finish()
        for _count, waiting in waits:
            fire(waiting, Failure(NotRunning("the node stopped")))
        if stopping is not None:
            stopping.succeed(None)

    # ------------------------------------------------------------------------------------ what comes by the way

    def _emit(self, action: Emit) -> None:
        notice = action.notice
        if isinstance(notice, PeerUp):
            self._up[notice.node_id] = None
            self._log.info("Linked to {id} at {address}", id=notice.node_id[:8], address=notice.address)
        elif isinstance(notice, PeerDown):
            self._up.pop(notice.node_id, None)
            self._log.info("No longer linked to {id}: {why}", id=notice.node_id[:8], why=notice.reason)
        elif isinstance(notice, Refused) and not notice.id:
            self._log.warn(
                "{id} at {address} is not linked: {reason}",
                id=notice.node_id[:8],
                address=notice.address,
                reason=notice.reason,
            )
        elif isinstance(notice, (ClockSkewed, Refused)):
            self._log.warn("{notice}", notice=str(notice))
        self._notices.perform(action)
        if isinstance(notice, PeerUp):
            self._check_peer_waits()

    def _check_peer_waits(self) -> None:
        due = [wait for wait in self._peer_waits if wait[0] <= len(self._up)]
        self._peer_waits = [wait for wait in self._peer_waits if wait[0] > len(self._up)]
        for _count, waiting in due:
            fire(waiting, None)

    def _stored(self, mark: int) -> None:
        self._trust.stored(mark)
        self._gossip.stored(mark)

    def _health(self, storing: bool) -> None:
        if storing:
            self._log.warn("The store takes messages again")
        else:
            self._log.error("The store takes no messages: they are relayed, not kept")
        self._trust.health(storing)
        self._gossip.storing(storing)
