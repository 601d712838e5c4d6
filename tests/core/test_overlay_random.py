"""Anything in any order: the overlay never raises but for a breach, and its tables stay true."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages, notices
from positron.core.links import UP, Link
from positron.core.overlay import secret_proof
from tests.core.overlay_world import Node, World, id_of

PEERS = range(6)


class Storm:
    """One node, and a source of chance that does everything to it that the world and its peers can."""

    def __init__(self, seed: int, **parameters: Any) -> None:
        self.rng = Random(seed)
        self.world = World(seed)
        self.node: Node = self.world.node(0, "9.9.9.9:9000", max_peers=4, **parameters)
        self.number = 100
        self.node.opinions.violation = lambda node_id, cause, wall: 0.0  # else everybody is banned soon

    def link(self) -> Link | None:
        """Any channel that is there."""
        return self.rng.choice(list(self.node.context.links.all.values()) or [None])

    def connect(self) -> None:
        self.number += 1
        peer = self.rng.choice(PEERS)
        address = f"8.{peer}.1.1:{self.rng.choice((9000, 40000))}"
        self.node.by_hand(peer, outbound=self.rng.random() < 0.5, address=address, number=self.number)

    def hear(self) -> None:
        """Mostly what is due on the link, else whatever comes to mind."""
        link, rng, node = self.link(), self.rng, self.node
        if link is None:
            return
        hello = node.hello(epoch=rng.choice((1, 1, 1, 1, 2)))
        if rng.random() < 0.8 and link.state != UP:
            node.hears(link, hello if link.hello is None else self.welcome(link))
        else:
            node.hears(link, rng.choice(self.anything(link, hello)))

    def welcome(self, link: Link) -> messages.Welcome:
        role = b"A" if link.outbound else b"D"
        secrets, me = self.node.context.parameters.secrets, self.node.node_id
        proofs = tuple(secret_proof(secret, role, link.node_id, me, link.binding) for secret in secrets)
        return messages.Welcome(1, proofs=proofs)

    def anything(self, link: Link, hello: messages.Hello) -> list[messages.Message]:
        rng = self.rng
        return [
            hello,
            messages.Welcome(1),
            messages.Welcome(0, rng.choice(messages.REFUSALS)),
            messages.Goodbye(rng.choice(messages.GOODBYES), rng.random() < 0.5),
            messages.Ping(5),
            messages.Pong(rng.choice([*link.pings, 7]), 0, rng.getrandbits(62)),
            messages.PeersGet(),
            messages.Peers(()),
        ]

    def lose(self) -> None:
        link = self.link()
        if link is not None:
            self.node.run(self.node.lost, link.number, "broken")

    def rule(self) -> None:
        node, peer = self.node, id_of(self.rng.choice(PEERS))
        step, *arguments = self.rng.choice(
            (
                (node.overlay.drop_peer, peer),
                (node.overlay.ban_peer, peer, 20.0),
                (node.overlay.ban_peer, peer, 0.0),
                (node.overlay.forget_peer, peer),
                (node.overlay.reach, peer),
                (node.overlay.add_peer, f"8.{self.rng.choice(PEERS)}.1.1:9000"),
                (node.overlay.loop_late, 5.0),
            )
        )
        node.run(step, *arguments)

    def pause(self) -> None:
        link = self.link()
        if link is not None:
            link.paused = not link.paused

    def step(self) -> None:
        steps = (self.connect, self.hear, self.hear, self.hear, self.hear, self.lose, self.rule, self.pause)
        self.rng.choice(steps)()
        self.world.advance(self.rng.choice((0, 0, 0, 0.1, 1.0, 3.0)))


class StormTests(SynchronousTestCase):
    def check(self, node: Node) -> None:
        """Up is up in every table, once, and both callbacks agree."""
        links = node.context.links
        up = [link for link in links.all.values() if link.state == UP]
        self.assertEqual({link.number for link in up}, {link.number for link in links.up.values()})
        self.assertEqual(len(up), len(links.up))
        self.assertEqual(len(node.ups) - len(node.downs), len(up))
        told = [type(notice) for notice in node.notices]
        self.assertEqual(told.count(notices.PeerUp) - told.count(notices.PeerDown), len(up))
        self.assertLessEqual(set(node.overlay._greeting._talks), set(links.all))
        self.assertLessEqual(set(node.overlay._discovery._known), set(links.all))
        self.assertLessEqual(set(node.overlay._slots._attempts), set(links.all))
        self.assertLessEqual(set(node.overlay._draining), set(links.all))

    def test_tables_stay_true(self) -> None:
        """A hundred and fifty storms of three hundred steps, with and without a secret and discovery."""
        ups = 0
        for seed in range(150):
            storm = Storm(
                seed,
                discovery=seed % 2 == 0,
                secrets=(b"s" * 16,) if seed % 5 == 0 else (),
                bootstrap=("8.1.1.1:9000", "8.2.1.1:9000"),
            )
            for _ in range(300):
                storm.step()
                self.check(storm.node)
            node = storm.node
            ups += len(node.ups)
            for number in list(node.context.links.all):
                node.run(node.lost, number, "the end")
            self.check(node)
            for table in (
                node.overlay._greeting._talks,
                node.overlay._greeting._asked,
                node.overlay._liveness._pinged,
                node.overlay._clocks._offsets,
                node.overlay._discovery._known,
                node.overlay._slots._attempts,
                node.overlay._draining,
            ):
                self.assertEqual(len(table), 0)
        self.assertGreater(ups, 1000, "these storms are worth something")
