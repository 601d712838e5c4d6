"""Who pushes to whom: GRAFT, PRUNE, the heartbeat's choices, and what they cost in a small network."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.events import Send
from positron.core.gossip.sources import BACKOFF_SECONDS, MAX_PUSHED, QUIET_SECONDS
from positron.core.gossip.state import LinkGossip
from tests.core.gossip_parts import ALICE, BOB, Node, identity, sealed, sent_on, taken


class Case(SynchronousTestCase):
    parameters: dict[str, Any] = {}

    def setUp(self) -> None:
        self.node = Node(**self.parameters)
        self.context, self.gossip = self.node.context, self.node.gossip
        self.links: list[LinkGossip] = []

    def up(self, count: int = 1, rtt: float = 0.05, outbound: bool = True) -> list[LinkGossip]:
        """So many links come up."""
        new = []
        for _ in range(count):
            number = len(self.links) + 1
            state = self.node.link(number, outbound=outbound)
            state.link.rtt = rtt
            self.links.append(state)
            new.append(state)
        return new

    def sources(self) -> list[int]:
        """The numbers of our sources."""
        return [state.link.number for state in self.gossip.states.values() if state.source]

    def heartbeat(self) -> None:
        """A heartbeat now."""
        self.gossip.sources.tick()

    def grafts(self, state: LinkGossip) -> list[messages.Graft]:
        return sent_on(self.context, state, messages.Graft)

    def prunes(self, state: LinkGossip) -> list[messages.Prune]:
        return sent_on(self.context, state, messages.Prune)

    def graft(self, state: LinkGossip, rank: int = 1, only: bool = False) -> None:
        """The link grafts us."""
        self.gossip.sources.graft(state, messages.Graft(rank, only))

    def prune(self, state: LinkGossip, backoff: int = 0) -> None:
        """The link prunes us."""
        self.gossip.sources.prune(state, messages.Prune(backoff))


class ChoiceTests(Case):
    def test_three(self) -> None:
        """`fanout` sources, chosen at link-up and told so by GRAFT; the fourth link announces."""
        links = self.up(4)
        self.assertEqual(self.sources(), [1, 2, 3])
        self.assertEqual([len(self.grafts(state)) > 0 for state in links], [True, True, True, False])

    def test_the_only_link_is_told(self) -> None:
        """The first hears that it is our only link, the others that they are not."""
        links = self.up(3)
        self.assertEqual([self.grafts(state)[0].only for state in links], [True, False, False])

    def test_another_at_once(self) -> None:
        """When a source goes, the best of the others takes its place without a heartbeat."""
        self.up(5)
        self.links[3].lag, self.links[4].lag = 0.3, 0.1
        self.node.unlink(self.links[1])
        self.assertEqual(self.sources(), [1, 3, 5])

    def test_distrusted(self) -> None:
        """A first-hand score below 0.3 is no source, unless there is no other at all."""
        self.up(4)
        self.node.scores[self.links[0].link.node_id] = 0.29
        self.heartbeat()
        self.assertEqual(self.sources(), [2, 3, 4])
        self.assertEqual(self.prunes(self.links[0]), [messages.Prune(0)])
        self.node.scores[self.links[0].link.node_id] = 0.3
        self.node.unlink(self.links[3])
        self.assertEqual(self.sources(), [1, 2, 3])

    def test_who_announces_and_does_not_deliver(self) -> None:
        """However early it announces, a link that broke a promise is no source until it gives what is asked."""
        self.up(4)
        self.links[0].broken, self.links[0].lag = 1, 0.0
        self.heartbeat()
        self.assertEqual(self.sources(), [2, 3, 4])
        self.links[0].broken = 0
        self.node.unlink(self.links[3])
        self.assertEqual(self.sources(), [1, 2, 3])

    def test_the_last_source_stays(self) -> None:
        """Better a distrusted source than none."""
        self.up(1)
        self.node.scores[self.links[0].link.node_id] = 0.15
        self.heartbeat()
        self.assertEqual(self.sources(), [1])

    def test_heartbeats_are_jittered(self) -> None:
        """Every 2 s, give or take a tenth."""
        self.up(1)
        waits = set()
        for _ in range(50):
            self.heartbeat()
            wait = self.gossip.sources.deadline - self.context.now
            self.assertTrue(1.8 <= wait <= 2.2)
            waits.add(wait)
        self.assertTrue(len(waits) > 40)

    def test_more_than_wanted(self) -> None:
        """A pull may graft beyond `fanout`, by two at most; the heartbeat releases the worst again."""
        self.up(8)
        for state in self.links[3:]:
            self.gossip.sources.pulled(state)
        self.assertEqual(self.sources(), [1, 2, 3, 4, 5])
        for state in self.links:
            state.lag = 0.1
        self.links[1].lag = self.links[3].lag = 0.12
        self.heartbeat()
        self.assertEqual(self.sources(), [1, 3, 5])


class SwapTests(Case):
    def test_clearly_better(self) -> None:
        """The worst source is swapped for a link below 0.7 of its lag less 10 ms; one a heartbeat."""
        self.up(5)
        for state, lag in zip(self.links, (0.1, 0.2, 0.3, 0.19, 0.18), strict=True):
            state.lag = lag
        self.heartbeat()
        self.assertEqual(self.sources(), [1, 2, 5])
        self.assertEqual(self.prunes(self.links[2]), [messages.Prune(0)])

    def test_not_for_a_little(self) -> None:
        """Not for one that is only somewhat better, or sources would never rest."""
        self.up(4)
        for state, lag in zip(self.links, (0.1, 0.1, 0.1, 0.7 * 0.1 - 0.010), strict=True):
            state.lag = lag
        self.heartbeat()
        self.assertEqual(self.sources(), [1, 2, 3])

    def test_lag_is_measured(self) -> None:
        """What shows envelopes late becomes worse, what shows them early better, at most 0.8 s."""
        state = self.up(1)[0]
        for delay, lag in ((0.2, 0.2), (0.0, 0.0), (5.0, 0.8), (-3.0, 0.0)):
            for _ in range(60):
                self.gossip.sources.showed(state, delay)
            self.assertAlmostEqual(state.lag, lag, places=3)

    def test_who_brings_it_out_of_nowhere_was_first(self) -> None:
        """An envelope that nobody announced: the link that pushes it has no lag, the next one some, by a fifth each."""
        first, second = self.up(2)
        envelope = sealed(self.context)
        first.lag = second.lag = 0.1
        self.gossip.push(first, 1, envelope.raw)
        self.node.wait(0.5)
        self.gossip.push(second, 1, envelope.raw)
        self.assertAlmostEqual(first.lag, 0.08)
        self.assertAlmostEqual(second.lag, 0.18)


class OutboundTests(Case):
    def test_one_source_is_outbound(self) -> None:
        """Inbound links are an attacker's to make: at least one source is a link that we dialled."""
        self.up(4, outbound=False)
        (ours,) = self.up(1, outbound=True)
        ours.lag = 0.5
        for state in self.links[:4]:
            state.lag = 0.01
        self.heartbeat()
        self.assertIn(ours.link.number, self.sources())
        self.assertEqual(len(self.sources()), 3)

    def test_it_stays(self) -> None:
        """However bad it is and for as long as it is the only one, heartbeat after heartbeat."""
        self.up(4, outbound=False)
        (ours,) = self.up(1, outbound=True)
        ours.lag = 0.5
        for _ in range(10):
            self.heartbeat()
            self.assertIn(ours.link.number, self.sources())
            self.assertEqual(len(self.sources()), 3)

    def test_where_there_is_none(self) -> None:
        """Without any outbound link inbound ones must do."""
        self.up(4, outbound=False)
        self.heartbeat()
        self.assertEqual(len(self.sources()), 3)


class GraftedTests(Case):
    def test_graft_and_prune(self) -> None:
        """Who grafts is pushed to, with its rank, until it prunes."""
        (state,) = self.up()
        self.graft(state, rank=2)
        self.assertEqual((state.pushes, state.rank), (True, 2))
        self.prune(state)
        self.assertFalse(state.pushes)

    def test_twelve(self) -> None:
        """The thirteenth is refused with a backoff, one that has no other link is not."""
        links = self.up(MAX_PUSHED + 2)
        for state in links[:MAX_PUSHED]:
            self.graft(state)
        self.graft(links[-2])
        self.assertFalse(links[-2].pushes)
        self.assertEqual(self.prunes(links[-2])[-1], messages.Prune(BACKOFF_SECONDS))
        self.graft(links[-1], only=True)
        self.assertTrue(links[-1].pushes)

    def test_again(self) -> None:
        """One of the twelve may say its new rank."""
        links = self.up(MAX_PUSHED)
        for state in links:
            self.graft(state, rank=3)
        self.graft(links[4], rank=1)
        self.assertEqual((links[4].pushes, links[4].rank), (True, 1))

    def test_again_above_twelve(self) -> None:
        """Nor is a new rank refused when links that have no other made it more: who is refused is not pushed to."""
        links = self.up(MAX_PUSHED + 1)
        for state in links[:MAX_PUSHED]:
            self.graft(state, rank=3)
        self.graft(links[-1], only=True)
        self.graft(links[4], rank=1)
        self.assertEqual((links[4].pushes, links[4].rank), (True, 1))
        self.assertEqual(self.prunes(links[4]), [])

    def test_only_pushed_to_what_grafted(self) -> None:
        """An envelope far from its author is pushed to who grafted us and announced to the others."""
        links = self.up(6)
        for state in links[:2]:
            self.graft(state)
        self.context.actions.clear()
        envelope = sealed(self.context, identity(77))
        self.gossip.push(links[5], 7, envelope.raw)
        pushed = [state.link.number for state in links if sent_on(self.context, state, messages.Push)]
        self.assertEqual(pushed, [1, 2])
        self.node.wait(1.5)
        announced = [state.link.number for state in links if sent_on(self.context, state, messages.Have)]
        self.assertEqual(announced, [3, 4, 5])
        frame = messages.encode(messages.Have(envelope.id))
        self.assertEqual(sum(action.frame == frame for action in taken(self.context, Send)), 3)


class BackoffTests(Case):
    def test_refused(self) -> None:
        """A link that will not push is no source; another is, and it is not asked again for 30 s."""
        self.up(4)
        self.prune(self.links[0], BACKOFF_SECONDS)
        self.assertEqual(self.sources(), [2, 3, 4])
        self.node.unlink(self.links[3])
        self.context.actions.clear()
        self.node.wait(BACKOFF_SECONDS - 3)
        self.assertEqual(self.sources(), [2, 3])
        self.node.wait(6)
        self.assertEqual(self.sources(), [1, 2, 3])

    def test_at_least_thirty_seconds_at_most_what_it_says(self) -> None:
        """A shorter backoff is 30 s all the same, a longer one is kept."""
        for said, kept in ((1, 30), (100, 100)):
            self.setUp()
            (state,) = self.up()
            self.prune(state, said)
            self.assertEqual(state.backoff_until, self.context.now + kept)


class SmallNetworkTests(Case):
    def quiet(self, seconds: float = QUIET_SECONDS + 5) -> None:
        """Nobody has to pull, and all that is pushed is waste but what comes first."""
        until = self.context.now + seconds
        while self.context.now < until:
            for state in self.gossip.states.values():
                if state.source and state.link.number != 1:
                    for _ in range(30):
                        self.gossip.sources.pushed(state, duplicate=True)
            self.node.wait(1)

    def test_waste(self) -> None:
        """Sources whose pushes are more than 90 % waste go one by one while nobody pulls, never the last."""
        self.up(4)
        for state, lag in zip(self.links, (0.01, 0.05, 0.06, 0.05), strict=True):
            state.lag = lag
        self.quiet(60)
        self.assertEqual(self.sources(), [1])

    def test_nothing_but_waste(self) -> None:
        """What is waste altogether goes at once, without waiting for a heartbeat; the last source stays."""
        self.up(4)
        for state, lag in zip(self.links, (0.01, 0.05, 0.06, 0.05), strict=True):
            state.lag = lag
        left = []
        for number in range(200):
            for state in self.links:
                if state.source:
                    self.gossip.sources.pushed(state, duplicate=state.link.number != 1)
            if number in (70, 90, 199):
                left.append(self.sources())
        self.assertEqual(left, [[1, 2, 3], [1], [1]])

    def test_useful_sources_stay(self) -> None:
        """While a source is first with a tenth of what it pushes it stays."""
        self.up(4)
        for _ in range(60):
            for state in self.links[:3]:
                for number in range(20):
                    self.gossip.sources.pushed(state, duplicate=number % 5 != 0)
            self.node.wait(1)
        self.assertEqual(self.sources(), [1, 2, 3])

    def test_what_an_author_pushes_too_makes_no_source_useful(self) -> None:
        """Nor is a source that relays a neighbour's envelopes a hair faster than they come from himself."""
        relays = self.up(3)
        alice = self.node.link(4, ALICE)
        for seq in range(1, 241):
            envelope = sealed(self.context, seq=seq)
            self.gossip.push(relays[seq % 3], 1, envelope.raw)
            self.node.wait(0.001)
            self.gossip.push(alice, 0, envelope.raw)
            self.gossip.push(relays[(seq + 1) % 3], 1, envelope.raw)
            self.node.wait(0.01)
        self.assertEqual(len(self.sources()), 1)
        self.node.wait(5)
        self.assertEqual(self.sources(), [4])

    def test_what_an_author_pushes_itself_makes_no_source_useful(self) -> None:
        """A neighbour who speaks is first with its own, source or not; what it relays is waste, and so it goes."""
        self.up(1)
        alice = self.node.link(2, ALICE)
        for seq in range(1, 121):
            own = sealed(self.context, seq=seq)
            self.gossip.push(alice, 0, own.raw)
            self.gossip.push(self.links[0], 1, own.raw)
            other = sealed(self.context, BOB, seq=seq)
            self.gossip.push(self.links[0], 1, other.raw)
            self.node.wait(0.05)
            self.gossip.push(alice, 1, other.raw)
            self.node.wait(0.05)
        self.assertEqual(self.sources(), [1])

    def test_grafted_again_at_the_first_pull(self) -> None:
        """One envelope that had to be asked for, and there are `fanout` sources again."""
        self.up(4)
        for state, lag in zip(self.links, (0.01, 0.05, 0.06, 0.05), strict=True):
            state.lag = lag
        self.quiet(60)
        envelope = sealed(self.context)
        self.gossip.have(self.links[3], [envelope.id])
        self.node.wait(0.5)
        self.gossip.push(self.links[3], 5, envelope.raw)
        self.assertIn(4, self.sources())
        self.node.wait(2.5)
        self.assertEqual(len(self.sources()), 3)


class RankTests(Case):
    def told(self) -> dict[int, int]:
        """The rank last told to each source."""
        return {state.link.number: self.grafts(state)[-1].rank for state in self.links if state.source}

    def test_the_best_is_told(self) -> None:
        """After every heartbeat exactly the best source believes that it is the best."""
        self.up(5)
        for lags in ((0.1, 0.2, 0.3), (0.3, 0.1, 0.2), (0.2, 0.3, 0.1), (0.1, 0.1, 0.1)):
            for state, lag in zip(self.links, lags, strict=False):
                state.lag = lag
            for state in self.links[3:]:
                state.lag = 0.5
            self.heartbeat()
            best = min(self.links[:3], key=lambda state: state.lag).link.number
            self.assertEqual([number for number, rank in self.told().items() if rank == 1], [best])

    def test_nothing_new_is_not_told(self) -> None:
        """A quiet heartbeat sends nothing."""
        self.up(3)
        self.heartbeat()
        self.context.actions.clear()
        self.heartbeat()
        self.assertEqual(self.context.actions, [])
