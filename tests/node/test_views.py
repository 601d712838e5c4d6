"""What a node shows of itself."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from positron.core.context import Parameters
from positron.core.identity import to_text
from positron.core.records import Loaded
from positron.core.snapshots import PeerSnapshot
from positron.core.swarm import Swarm
from positron.node import views
from tests.core.gossip_parts import ALICE, ME, WALL


class Asked(Swarm):
    """Counts how often all links are looked at."""

    times = 0

    def peers(self) -> list[PeerSnapshot]:
        """See `Swarm`."""
        self.times += 1
        return super().peers()


class TrustTests(SynchronousTestCase):
    def test_of_thousands(self) -> None:
        """T32: to show the nodes that anybody can make up takes one look at the links, not one for each node."""
        swarm = Asked(ME, Parameters(network="lab"), Loaded(WALL * 1000), Random(1), wall=float(WALL))
        for number in range(100):
            swarm.trust.set_score(number.to_bytes(32, "big"), 0.5, float(WALL))
        swarm.trust.set_score(ALICE.node_id, 0.25, float(WALL))
        found = views.trust_views(swarm, [ALICE.node_id, *swarm.known_ids])
        self.assertEqual(swarm.times, 1)
        self.assertEqual((found[0].node_id, found[0].trust), (to_text(ALICE.node_id), 0.25))
        self.assertGreater(len(found), 100)
