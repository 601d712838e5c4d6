"""Asking for what was announced, answering what is asked, and accusing by proof alone."""

from __future__ import annotations

import tracemalloc
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.envelope import Envelope
from positron.core.events import Fetch, Fetched
from positron.core.gossip.announce import split_ids
from positron.core.gossip.pull import (
    BUSY_SECONDS,
    FIRST_DEV,
    FIRST_MEAN,
    GIVE_UP,
    IGNORED_SECONDS,
    MAX_PULLS,
    MAX_PULLS_PER_LINK,
    MAX_REMEMBERED,
    PULL_HIGH,
    PULL_LOW,
)
from positron.core.gossip.serve import FETCH_BATCH, MAX_WAITING
from positron.core.gossip.state import FIRST_MEAN as FIRST_SIZE
from positron.core.gossip.state import (
    FIRST_OWED,
    MAX_BACKLOG,
    MAX_MISSED,
    MAX_OFFERS,
    MISSED_SECONDS,
    WANT_WINDOW,
    LinkGossip,
)
from positron.core.limits import Rate
from positron.core.notices import Refused
from tests.core.gossip_parts import ME, Cheap, Node, chosen, identity, sealed, sent_on

FIRST_WAIT = FIRST_MEAN + 2 * FIRST_DEV


def id_of(number: int) -> bytes:
    """An id that nobody has."""
    return number.to_bytes(16, "big")


class Case(SynchronousTestCase):
    """Five links that announce, and a source that says nothing."""

    parameters: dict[str, Any] = {}

    def setUp(self) -> None:
        self.node = Node(fanout=1, **self.parameters)
        self.context, self.gossip = self.node.context, self.node.gossip
        self.source = self.node.link(9)
        self.links = [self.node.link(number) for number in range(1, 6)]
        for state in self.links:
            state.link.rtt = 0.1
        self.source.link.rtt = 0.2
        self.context.actions.clear()

    def have(self, state: LinkGossip, *ids: bytes) -> None:
        self.gossip.have(state, list(ids))

    def push(self, state: LinkGossip, envelope: Envelope) -> None:
        self.gossip.push(state, 0, envelope.raw)

    def wants(self) -> list[tuple[int, list[bytes]]]:
        """Who was asked for what since the last call."""
        found = []
        for state in self.links:
            for want in sent_on(self.context, state, messages.Want):
                found.append((state.link.number, split_ids(want.ids)))
        self.context.actions.clear()
        return found

    def asked(self) -> list[int]:
        """Who was asked since the last call."""
        return [number for number, _ in self.wants()]

    def pings(self, state: LinkGossip) -> list[int]:
        """Nonces of the PINGs sent on the link; the actions stay."""
        return [ping.nonce for ping in sent_on(self.context, state, messages.Ping)]


class TimerTests(Case):
    def test_the_first_timer(self) -> None:
        """A HAVE of an unknown id is answered by a WANT after mean + 2 dev, and not before."""
        self.have(self.links[0], id_of(1), id_of(2))
        self.node.wait(FIRST_WAIT - 0.001)
        self.assertEqual(self.wants(), [])
        self.node.wait(0.002)
        self.assertEqual(self.wants(), [(1, [id_of(1), id_of(2)])])

    def test_a_link_that_feigns_distance(self) -> None:
        """T29: a link that is slow with its PONGs has no longer than five seconds before the next is asked."""
        self.links[0].link.rtt = 13.0
        self.have(self.links[0], id_of(1))
        self.node.wait(FIRST_WAIT + 0.001)
        self.assertEqual(self.asked(), [1])
        self.have(self.links[1], id_of(1))
        self.node.wait(5.0)
        self.assertEqual(self.asked(), [])
        self.node.wait(0.1)
        self.assertEqual(self.asked(), [2])

    def test_a_source_is_waited_for(self) -> None:
        """What our best source announces while it is busy it will push when we catch up: it is asked for after 400 ms,
        whoever announced it first."""
        self.push(self.source, sealed(self.context))
        self.have(self.source, id_of(1))
        self.have(self.links[0], id_of(1), id_of(2))
        self.node.wait(0.1)
        self.have(self.source, id_of(2))
        self.node.wait(PULL_HIGH - 0.101)
        self.assertEqual(self.wants(), [])
        self.node.wait(0.002)
        self.assertEqual(self.wants(), [(1, [id_of(1), id_of(2)])])

    def test_a_source_that_went_is_not(self) -> None:
        """It will push nothing any more."""
        self.push(self.source, sealed(self.context))
        self.have(self.source, id_of(1))
        self.have(self.links[0], id_of(1))
        self.node.unlink(self.source)
        self.node.wait(FIRST_WAIT + 0.001)
        self.assertEqual(self.wants(), [(1, [id_of(1)])])

    def test_a_source_that_only_talks_is_not(self) -> None:
        """It brought nothing for half a second: what keeps it is not that we are behind."""
        self.push(self.source, sealed(self.context))
        self.node.wait(BUSY_SECONDS)
        self.have(self.source, id_of(1))
        self.have(self.links[0], id_of(1))
        self.node.wait(FIRST_WAIT + 0.001)
        self.assertEqual(self.wants(), [(1, [id_of(1)])])

    def test_another_source_is_not(self) -> None:
        """Only the best one pushes what is large, as everything is in a flood."""
        self.push(self.source, sealed(self.context))
        self.source.told_rank = 2
        self.have(self.source, id_of(1))
        self.have(self.links[0], id_of(1))
        self.node.wait(FIRST_WAIT + 0.001)
        self.assertEqual(self.wants(), [(1, [id_of(1)])])

    def test_what_comes_by_itself_is_not_asked_for(self) -> None:
        """A PUSH in time ends the pull."""
        envelope = sealed(self.context)
        self.have(self.links[0], envelope.id)
        self.node.wait(0.1)
        self.push(self.links[1], envelope)
        self.node.wait(5)
        self.assertEqual(self.wants(), [])
        self.assertEqual(len(self.gossip.puller), 0)

    def test_known_ids_are_not_asked_for(self) -> None:
        """Held, refused or forgotten but for its id."""
        envelope = sealed(self.context)
        self.push(self.links[1], envelope)
        self.have(self.links[0], envelope.id)
        self.assertEqual(len(self.gossip.puller), 0)

    def test_what_is_news(self) -> None:
        """Gossip says which frames tell something: after those, the core looks at all its deadlines."""
        envelope, other = sealed(self.context), sealed(self.context, identity(8))
        alice, bob = self.links[:2]
        self.assertTrue(self.gossip.have(alice, [envelope.id]))
        self.node.wait(FIRST_WAIT + 0.001)
        self.assertEqual(self.asked(), [1])
        self.assertTrue(self.gossip.push(bob, 1, envelope.raw))
        self.assertFalse(self.gossip.push(bob, 1, envelope.raw))
        self.assertTrue(
            self.gossip.push(alice, 1, envelope.raw), "it was asked for: there is room to ask for more"
        )
        self.assertFalse(self.gossip.push(alice, 1, envelope.raw))
        self.assertFalse(self.gossip.have(bob, [envelope.id]))
        self.assertTrue(self.gossip.have(bob, [envelope.id, other.id]))

    def wait_of(self, seq: int) -> float:
        """How long the timer of a new pull runs now."""
        start = self.context.now
        self.have(self.links[0], id_of(seq))
        self.context.actions.clear()
        while not self.asked():
            self.node.wait(0.005)
            self.assertTrue(self.context.now < start + 2)
        return self.context.now - start

    def test_measured(self) -> None:
        """The timer follows what pushes take, between 40 and 400 ms."""
        for delay, low, high in ((0.0, PULL_LOW, PULL_LOW + 0.006), (0.9, PULL_HIGH, PULL_HIGH + 0.006)):
            self.setUp()
            for seq in range(1, 150):
                envelope = sealed(self.context, Cheap(identity(9).node_id), seq)
                self.context.verify = lambda *_: True
                self.have(self.links[0], envelope.id)
                self.context.now += delay
                self.push(self.links[1], envelope)
                self.context.actions.clear()
            self.assertTrue(low - 0.001 <= self.wait_of(9999) <= high, delay)

    def test_next_announcer(self) -> None:
        """The next after 2.5 RTT + 60 ms, two at once from the third try, each once."""
        for state in self.links:
            self.have(state, id_of(1))
        self.node.wait(FIRST_WAIT + 0.001)
        first = self.asked()
        self.node.wait(0.25 + 0.060 - 0.002)
        self.assertEqual(self.asked(), [])
        self.node.wait(0.003)
        second = self.asked()
        self.assertEqual((len(first), len(second)), (1, 1))
        self.node.wait(0.311)
        third = self.asked()
        self.assertEqual(len(third), 2)
        self.node.wait(0.311)
        fourth = self.asked()
        self.assertEqual(sorted(first + second + third + fourth), [1, 2, 3, 4, 5])
        self.node.wait(5)
        self.assertEqual(self.asked(), [])
        self.assertEqual(self.node.broken, [])

    def test_slow_links_have_longer(self) -> None:
        """The wait for an announcer is by its own round trip."""
        self.links[0].link.rtt = 1.0
        self.have(self.links[0], id_of(1))
        self.node.wait(FIRST_WAIT + 0.001)
        self.assertEqual(self.asked(), [1])
        self.have(self.links[1], id_of(1))
        self.node.wait(2.5)
        self.assertEqual(self.asked(), [])
        self.node.wait(0.1)
        self.assertEqual(self.asked(), [2])

    def test_the_best_announcer_first(self) -> None:
        """By trust in tenths, then by round trip."""
        self.links[1].link.rtt = 0.05
        self.node.scores[self.links[2].link.node_id] = 0.9
        for state in self.links[:3]:
            self.have(state, id_of(1))
        self.node.wait(FIRST_WAIT + 0.001)
        self.assertEqual(self.asked(), [3])
        self.node.wait(0.311)
        self.assertEqual(self.asked(), [2])

    def test_distrusted_announcements_are_ignored(self) -> None:
        """A first-hand score below 0.2 is not listened to."""
        self.node.scores[self.links[0].link.node_id] = 0.19
        self.have(self.links[0], id_of(1))
        self.assertEqual(len(self.gossip.puller), 0)

    def test_given_up(self) -> None:
        """After 10 s without anyone left to ask the pull is forgotten, and a new HAVE begins another."""
        self.have(self.links[0], id_of(1))
        self.node.wait(GIVE_UP + 1)
        self.assertEqual(len(self.gossip.puller), 0)
        self.assertEqual(self.links[0].pulls, 0)
        self.have(self.links[1], id_of(1))
        self.assertEqual(len(self.gossip.puller), 1)

    def test_a_link_that_goes(self) -> None:
        """Others are asked at once for what it owed."""
        for state in self.links[:2]:
            self.have(state, id_of(1))
        self.node.wait(FIRST_WAIT + 0.001)
        (first,) = self.asked()
        self.node.unlink(self.links[first - 1])
        self.node.wait(0)
        self.assertEqual(self.asked(), [3 - first])


class BoundTests(Case):
    def test_per_link(self) -> None:
        """256 pulls for one announcer; what it says beyond is not remembered, and room comes back."""
        self.have(self.links[0], *(id_of(number) for number in range(1, 1000)))
        self.assertEqual(len(self.gossip.puller), MAX_PULLS_PER_LINK)
        self.have(self.links[1], id_of(999))
        self.assertEqual(len(self.gossip.puller), MAX_PULLS_PER_LINK + 1)
        self.node.wait(GIVE_UP + 5)
        self.assertEqual((self.links[0].pulls, self.links[1].pulls), (0, 0))

    def test_teasers_do_not_crowd_out(self) -> None:
        """However many announce first, the one honest link that announces last is asked in its turn."""
        teasers = [self.node.link(100 + number) for number in range(20)]
        honest = self.node.link(200)
        for state in [*teasers, honest]:
            self.have(state, id_of(1))
        self.node.wait(10)
        self.assertEqual(len(sent_on(self.context, honest, messages.Want)), 1)

    def test_in_all(self) -> None:
        """4,096 pulls in all, whoever announces."""
        for number in range(20):
            state = self.node.link(100 + number)
            self.have(state, *(id_of(1000 * number + n) for n in range(256)))
        self.assertEqual(len(self.gossip.puller), MAX_PULLS)

    def answer(self, count: int) -> list[int]:
        """The first link says MISS to what it was asked for, one WANT after the other; how many ids each wanted."""
        sizes = []
        while len(sizes) < count:
            self.context.actions.clear()
            for envelope_id in list(self.links[0].wanted):
                self.gossip.miss(self.links[0], messages.Miss(envelope_id))
            sizes.append(len(self.links[0].wanted))
        return sizes

    def test_the_window(self) -> None:
        """Four are wanted of a link at first, twice as many each round trip, and at most 256 KiB at its mean envelope
        size, at first 1 KiB. Once it owes nothing it is four again."""
        ids = [id_of(number) for number in range(1, 2000)]
        self.gossip.lacking(self.links[0].link, ids)
        self.assertEqual(self.wants(), [(1, ids[:FIRST_OWED])])
        most = int(WANT_WINDOW / FIRST_SIZE)
        self.assertEqual(self.answer(8), [8, 16, 32, 64, 128, most, most, most])
        self.assertEqual(self.answer(8)[-1], 0)
        self.gossip.lacking(self.links[0].link, [id_of(number) for number in range(5000, 6000)])
        self.assertEqual(len(self.links[0].wanted), FIRST_OWED)

    def test_the_window_learns(self) -> None:
        """Of a link that brings large envelopes fewer are wanted at once."""
        large = [sealed(self.context, seq=seq, size=60_000) for seq in range(1, 80)]
        for envelope in large:
            self.push(self.links[0], envelope)
        self.context.actions.clear()
        self.gossip.lacking(self.links[0].link, [id_of(number) for number in range(1, 2000)])
        self.assertEqual(self.answer(5), [WANT_WINDOW // 60_000] * 5)

    def test_what_it_does_not_hold(self) -> None:
        """A link shows an id in every exchange and says MISS: it is asked again after ten minutes, others at once."""
        alice, bob = self.links[0].link, self.links[1].link
        self.assertTrue(self.gossip.lacking(alice, [id_of(1)]))
        self.gossip.miss(self.links[0], messages.Miss(id_of(1)))
        self.assertEqual(self.asked(), [1])
        self.assertFalse(self.gossip.lacking(alice, [id_of(1)]))
        self.assertTrue(self.gossip.lacking(alice, [id_of(1), id_of(2)]))
        self.assertEqual(self.wants(), [(1, [id_of(2)])])
        self.gossip.miss(self.links[0], messages.Miss(id_of(2)))
        self.assertTrue(self.gossip.lacking(bob, [id_of(1)]))
        self.assertEqual(self.wants(), [(2, [id_of(1)])])
        self.gossip.miss(self.links[1], messages.Miss(id_of(1)))
        self.node.wait(MISSED_SECONDS - 1)
        self.assertFalse(self.gossip.lacking(alice, [id_of(1)]))
        self.node.wait(2)
        self.assertTrue(self.gossip.lacking(alice, [id_of(1)]))

    def test_what_a_silent_liar_shows_is_bounded(self) -> None:
        """T32: a link that shows ids in every exchange, and answers no WANT and no PING, has few of them remembered."""
        for exchange in range(10):
            first = 1 + 4000 * exchange
            self.gossip.lacking(self.links[0].link, [id_of(number) for number in range(first, first + 4000)])
        asked: list[bytes] = []
        while wants := self.wants():
            for _, ids in wants:
                asked += ids
                self.gossip.miss(self.links[0], messages.Miss(b"".join(ids)))
        self.assertEqual(asked, [id_of(number) for number in range(1, FIRST_OWED + MAX_BACKLOG + 1)])

    def test_a_link_that_is_cut_for_its_miss(self) -> None:
        """T29: nothing more is asked of a link that its own MISS ended, and others are asked for what it showed."""
        liar, honest = self.links[0], self.links[1]
        lacked = [id_of(number) for number in range(1, 20)]
        self.gossip.lacking(liar.link, lacked)
        self.have(liar, id_of(100))
        self.node.wait(FIRST_WAIT + 0.001)
        liar.owed = 10
        self.node.wait(1)
        self.assertIn(id_of(100), liar.wanted)
        self.node.cut_for_promises = True
        self.gossip.miss(liar, messages.Miss(id_of(100)))
        self.context.actions.clear()
        self.gossip.lacking(honest.link, lacked)
        asked: list[bytes] = []
        while wants := self.wants():
            self.assertEqual([number for number, _ in wants], [honest.link.number])
            asked += wants[0][1]
            self.gossip.miss(honest, messages.Miss(b"".join(wants[0][1])))
        self.assertEqual(asked, lacked)

    def test_what_they_do_not_hold_is_bounded(self) -> None:
        """Of a link that says MISS for ever the last 8,192 ids are remembered."""
        for number in range(MAX_MISSED + 100):
            self.links[0].miss(id_of(number), 0.0)
        self.assertEqual(len(self.links[0].missed), MAX_MISSED)
        self.assertNotIn(id_of(99), self.links[0].missed)
        self.assertIn(id_of(100), self.links[0].missed)

    def test_one_want_in_flight(self) -> None:
        """What one link was asked for by sync, another is not."""
        self.gossip.lacking(self.links[0].link, [id_of(1)])
        self.assertEqual(self.asked(), [1])
        self.gossip.lacking(self.links[1].link, [id_of(1), id_of(2)])
        self.assertEqual(self.wants(), [(2, [id_of(2)])])


class PromiseTests(Case):
    def want_of(self, state: LinkGossip) -> None:
        """`state` announces 1 and is asked for it."""
        self.have(state, id_of(1))
        self.node.wait(FIRST_WAIT + 0.001)
        self.assertEqual(self.asked(), [state.link.number])

    def test_silence_accuses_nobody(self) -> None:
        """A timer alone only moves on, however long."""
        self.want_of(self.links[0])
        self.node.wait(60)
        self.assertEqual(self.node.broken, [])

    def test_a_pong_before_the_want_is_answered(self) -> None:
        """The PONG of a PING that followed the WANT proves it: broken, once."""
        self.want_of(self.links[0])
        self.node.wait(2.5)
        (nonce,) = self.pings(self.links[0])
        self.gossip.puller.pong(self.links[0], nonce)
        self.assertEqual(self.node.broken, [1])
        self.gossip.puller.pong(self.links[0], nonce)
        self.assertEqual(self.node.broken, [1])

    def test_what_sync_showed_is_checked_too(self) -> None:
        """Of a link that gave nothing yet a PING asks for the proof at once; later WANTs, that no timer follows, are
        looked at after 2 s."""
        self.gossip.lacking(self.links[0].link, list(map(id_of, range(2, 8))))
        (first,) = self.pings(self.links[0])
        self.gossip.miss(self.links[0], messages.Miss(b"".join(map(id_of, range(2, 6)))))
        self.gossip.puller.pong(self.links[0], first)
        self.context.actions.clear()
        self.node.wait(1.999)
        self.assertEqual(self.pings(self.links[0]), [])
        self.node.wait(0.002)
        (nonce,) = self.pings(self.links[0])
        self.gossip.puller.pong(self.links[0], nonce)
        self.assertEqual(self.node.broken, [1])

    def test_a_pong_of_an_earlier_ping(self) -> None:
        """The PONG of a PING from before the WANT proves nothing."""
        nonce = self.context.ping(self.links[0].link)
        self.want_of(self.links[0])
        self.gossip.puller.pong(self.links[0], nonce)
        self.assertEqual(self.node.broken, [])

    def test_answered_before_the_pong(self) -> None:
        """PUSH or a late MISS before the PONG keeps the promise."""
        envelope = sealed(self.context)
        self.have(self.links[0], envelope.id, id_of(1))
        self.node.wait(2.5)
        (nonce,) = self.pings(self.links[0])
        self.push(self.links[0], envelope)
        self.gossip.miss(self.links[0], messages.Miss(id_of(1)))
        self.gossip.puller.pong(self.links[0], nonce)
        self.assertEqual(self.node.broken, [])

    def test_wanted_after_the_ping(self) -> None:
        """What was wanted only after the PING is not due at its PONG."""
        self.want_of(self.links[0])
        self.node.wait(2.5)
        (nonce,) = self.pings(self.links[0])
        self.gossip.lacking(self.links[0].link, [id_of(2)])
        self.gossip.miss(self.links[0], messages.Miss(id_of(1)))
        self.gossip.puller.pong(self.links[0], nonce)
        self.assertEqual(self.node.broken, [])

    def test_a_miss_right_after_its_have(self) -> None:
        """MISS within 2 s of the HAVE is a broken promise; the next announcer is asked at once."""
        self.want_of(self.links[0])
        self.have(self.links[1], id_of(1))
        self.gossip.miss(self.links[0], messages.Miss(id_of(1)))
        self.assertEqual(self.node.broken, [1])
        self.node.wait(0)
        self.assertEqual(self.asked(), [2])

    def break_promises(self, state: LinkGossip, *numbers: int) -> None:
        """It announces these, is asked, and says MISS at once."""
        self.have(state, *map(id_of, numbers))
        self.node.wait(FIRST_WAIT + 0.001)
        self.gossip.miss(state, messages.Miss(b"".join(map(id_of, numbers))))
        self.context.actions.clear()

    def test_after_three_it_is_ignored_for_ten_minutes(self) -> None:
        """Trust charges one in 10 s; nobody is asked for long who gives nothing."""
        self.break_promises(self.links[0], 1)
        self.break_promises(self.links[0], 2, 3)
        self.have(self.links[0], id_of(4))
        self.node.wait(1)
        self.assertEqual(self.asked(), [])
        self.node.wait(IGNORED_SECONDS)
        self.have(self.links[0], id_of(5))
        self.node.wait(FIRST_WAIT + 0.001)
        self.assertEqual(self.asked(), [1])

    def prove(self, state: LinkGossip) -> None:
        """The link answers every PING that was sent on it, and nothing else."""
        for nonce in self.pings(state):
            self.gossip.puller.pong(state, nonce)

    def test_a_teaser_breaks_four_at_most(self) -> None:
        """It announces a hundred at once, shows a hundred more in an exchange, answers PINGs and nothing else: at most
        four were wanted of it, however late the proof comes."""
        teaser = self.links[0]
        self.have(teaser, *map(id_of, range(100)))
        self.gossip.lacking(teaser.link, [id_of(number) for number in range(100, 200)])
        wanted = []
        for _ in range(40):
            self.node.wait(0.5)
            self.prove(teaser)
            wanted += [envelope_id for _, ids in self.wants() for envelope_id in ids]
        self.assertEqual(len(wanted), FIRST_OWED)
        self.assertTrue(self.gossip.ignores(teaser))

    def test_a_teaser_that_breaks_one_at_a_time(self) -> None:
        """Each proven promise lets it owe one less; after the third it is asked no more."""
        teaser, wanted = self.links[0], 0
        for number in range(10):
            self.have(teaser, id_of(number))
            self.node.wait(2.5)
            self.prove(teaser)
            wanted += len(self.wants())
        self.assertEqual(wanted, 3)

    def test_a_teaser_that_was_honest(self) -> None:
        """What it gave a while ago is no credit: it may owe four, as a stranger may."""
        ids = [sealed(self.context, seq=seq) for seq in range(1, 31)]
        self.gossip.lacking(self.links[0].link, [envelope.id for envelope in ids])
        for envelope in ids:
            self.push(self.links[0], envelope)
        self.gossip.lacking(self.links[0].link, [id_of(number) for number in range(100)])
        self.assertEqual(len(self.links[0].wanted), FIRST_OWED)

    def test_a_teaser_that_reconnects(self) -> None:
        """What it broke on one link counts on the next."""
        self.break_promises(self.links[0], 1, 2, 3)
        self.node.unlink(self.links[0])
        again = self.node.link(9, identity(1001))
        self.assertEqual(again.link.node_id, self.links[0].link.node_id)
        self.assertTrue(self.gossip.ignores(again))
        self.gossip.lacking(again.link, [id_of(7)])
        self.assertEqual(sent_on(self.context, again, messages.Want), [])

    def test_teasers_without_end(self) -> None:
        """A thousand nodes without a link are remembered, the latest."""
        for number in range(MAX_REMEMBERED + 1):
            state = self.node.link(100 + number)
            state.broken = 1
            self.node.unlink(state)
        first, second = (self.node.link(number, identity(1000 + number)) for number in (100, 101))
        self.assertEqual((first.broken, second.broken), (0, 1))

    def test_pardoned_once(self) -> None:
        """After ten minutes the next broken promise is enough."""
        self.break_promises(self.links[0], 1, 2, 3)
        self.node.wait(IGNORED_SECONDS)
        self.have(self.links[0], id_of(4), id_of(5), id_of(6))
        self.node.wait(FIRST_WAIT + 0.001)
        ((_, ids),) = self.wants()
        self.assertEqual(len(ids), 1)
        self.gossip.miss(self.links[0], messages.Miss(ids[0]))
        self.assertTrue(self.gossip.ignores(self.links[0]))

    def test_a_kept_promise_makes_good(self) -> None:
        """What is counted is broken promises in a row."""
        envelope = sealed(self.context)
        self.break_promises(self.links[0], 1, 2)
        self.have(self.links[0], envelope.id)
        self.node.wait(FIRST_WAIT + 0.001)
        self.push(self.links[0], envelope)
        self.context.actions.clear()
        self.break_promises(self.links[0], 3, 4)
        self.have(self.links[0], id_of(5))
        self.node.wait(FIRST_WAIT + 0.001)
        self.assertEqual(self.asked(), [1])

    def test_who_broke_one_is_asked_last(self) -> None:
        """Even of those that trust holds equal, however near it is."""
        self.break_promises(self.links[0], 1)
        self.links[1].link.rtt = 1.0
        self.have(self.links[0], id_of(2))
        self.have(self.links[1], id_of(2))
        self.node.wait(FIRST_WAIT + 0.001)
        self.assertEqual(self.asked(), [2])

    def test_who_owes_an_answer_is_asked_last(self) -> None:
        """No proof is needed to ask another first, once one and a half round trips are over."""
        self.want_of(self.links[0])
        self.links[1].link.rtt = 1.0
        self.have(self.links[0], id_of(2))
        self.have(self.links[1], id_of(2))
        self.node.wait(FIRST_WAIT + 0.001)
        self.assertIn(2, self.asked())

    def test_a_miss_later(self) -> None:
        """After more than 2 s it may have let go of the envelope in good faith."""
        self.want_of(self.links[0])
        self.node.wait(2.0)
        self.gossip.miss(self.links[0], messages.Miss(id_of(1)))
        self.assertEqual(self.node.broken, [])

    def test_a_miss_of_what_sync_showed(self) -> None:
        """Ids learned by sync are no promise of the link."""
        self.gossip.lacking(self.links[0].link, [id_of(1)])
        self.gossip.miss(self.links[0], messages.Miss(id_of(1)))
        self.assertEqual(self.node.broken, [])

    def test_a_miss_of_what_was_not_asked(self) -> None:
        """Says nothing: neither about that link nor about the one that was asked."""
        self.want_of(self.links[0])
        self.have(self.links[1], id_of(1))
        self.gossip.miss(self.links[1], messages.Miss(id_of(1)))
        self.gossip.miss(self.links[1], messages.Miss(id_of(77)))
        self.assertEqual(self.node.broken, [])
        self.node.wait(0)
        self.assertEqual(self.asked(), [])

    def test_a_pulled_envelope_makes_a_source(self) -> None:
        """A link that gives what had to be asked for is grafted."""
        helper = self.links[4]
        self.assertFalse(helper.source)
        envelope = sealed(self.context)
        self.have(helper, envelope.id)
        self.node.wait(FIRST_WAIT + 0.001)
        self.push(helper, envelope)
        self.assertTrue(helper.source)


class ServeCase(Case):
    parameters = {"limits": {"history": Rate(1e9, 1e9)}}

    def setUp(self) -> None:
        super().setUp()
        self.author: Any = Cheap(ME.node_id)
        self.context.verify = lambda *_: True

    def hold(self, *seqs: int, size: int = 10) -> list[Envelope]:
        """We hold these, from somebody, and they are announced to every other link."""
        kept = [sealed(self.context, self.author, seq, size=size) for seq in seqs]
        for envelope in kept:
            self.push(self.links[0], envelope)
        self.node.wait(1.1)
        self.context.actions.clear()
        return kept

    def want(self, state: LinkGossip, *ids: bytes) -> None:
        self.gossip.want(state, messages.Want(b"".join(ids)))

    def pushed(self, state: LinkGossip) -> list[bytes]:
        return [push.envelope for push in sent_on(self.context, state, messages.Push)]

    def missed(self, state: LinkGossip) -> list[bytes]:
        return [key for miss in sent_on(self.context, state, messages.Miss) for key in split_ids(miss.ids)]

    def fetch(self) -> Fetch:
        (fetch,) = chosen(self.context.actions, Fetch)
        return fetch


class ServeTests(ServeCase):
    def test_from_memory(self) -> None:
        """What is in memory goes at once, as it was received."""
        (envelope,) = self.hold(1)
        self.want(self.links[1], envelope.id)
        self.assertEqual(self.pushed(self.links[1]), [envelope.raw])

    def test_twice(self) -> None:
        """Each id is served twice a link; a third time is a MISS."""
        (envelope,) = self.hold(1)
        for _ in range(3):
            self.want(self.links[1], envelope.id)
        self.assertEqual(self.pushed(self.links[1]), [envelope.raw] * 2)
        self.assertEqual(self.missed(self.links[1]), [envelope.id])

    def test_twice_to_one_that_refuses_it(self) -> None:
        """Nor is it served again to a link that says that it refused it and is shown it anew in each exchange; and the
        application hears of that once."""
        (envelope,) = self.hold(1)
        for _ in range(4):
            self.want(self.links[1], envelope.id)
            self.gossip.refused(self.links[1], messages.Refused(envelope.id, "future"))
            self.gossip.offered(self.links[1].link, [envelope.id])
        self.assertEqual(self.pushed(self.links[1]), [envelope.raw] * 2)
        self.assertEqual(len(chosen(self.context.actions, Refused)), 1)

    def test_only_what_was_offered(self) -> None:
        """A link that guesses or heard of an id elsewhere gets MISS: for ids that we hold and for others."""
        (envelope,) = self.hold(1)
        newcomer = self.node.link(9)
        self.want(newcomer, envelope.id, id_of(5))
        self.assertEqual(self.pushed(newcomer), [])
        self.assertEqual(self.missed(newcomer), [envelope.id, id_of(5)])
        self.gossip.offered(newcomer.link, [envelope.id])
        self.want(newcomer, envelope.id)
        self.assertEqual(self.pushed(newcomer), [envelope.raw])

    def test_stubs_are_a_miss(self) -> None:
        """An id in the index without its envelope."""
        (envelope,) = self.hold(1)
        self.gossip.holdings.mute(ME.node_id)
        self.node.wait(20)
        self.context.actions.clear()
        self.want(self.links[1], envelope.id)
        self.assertEqual(self.missed(self.links[1]), [envelope.id])

    def test_from_the_store(self) -> None:
        """What is no longer in memory is read from the store; what is not found there is a MISS."""
        one, two = self.hold(1, 2)
        self.node.wait(15)
        self.context.actions.clear()
        self.want(self.links[1], one.id, two.id)
        self.assertEqual(self.fetch(), Fetch(2, [one.id, two.id]))
        self.assertEqual(self.pushed(self.links[1]), [])
        self.gossip.fetched(Fetched(2, {one.id: one.raw}))
        self.assertEqual(self.pushed(self.links[1]), [one.raw])
        self.assertEqual(self.missed(self.links[1]), [two.id])

    def test_pong_after_the_answers(self) -> None:
        """A PING behind a WANT is answered only once the store was; another link's at once."""
        (envelope,) = self.hold(1)
        self.node.wait(15)
        self.context.actions.clear()
        self.want(self.links[1], envelope.id)
        self.assertFalse(self.gossip.ping(self.links[1], 7))
        self.assertTrue(self.gossip.ping(self.links[2], 8))
        self.assertEqual(sent_on(self.context, self.links[1], messages.Pong), [])
        self.gossip.fetched(Fetched(2, {envelope.id: envelope.raw}))
        order = [type(one) for one in sent_on(self.context, self.links[1], (messages.Push, messages.Pong))]  # type: ignore[arg-type]
        self.assertEqual(order, [messages.Push, messages.Pong])
        self.assertTrue(self.gossip.ping(self.links[1], 9))

    def test_pong_after_all_of_the_answers(self) -> None:
        """A WANT that takes the store several turns is answered whole before the PONG."""
        kept = [envelope.id for envelope in self.hold(*range(1, FETCH_BATCH + 2))]
        self.node.wait(15)
        self.context.actions.clear()
        self.want(self.links[1], *kept)
        self.assertFalse(self.gossip.ping(self.links[1], 7))
        self.gossip.fetched(Fetched(2, {}))
        self.assertEqual(sent_on(self.context, self.links[1], messages.Pong), [])
        self.gossip.fetched(Fetched(2, {}))
        self.assertEqual([pong.nonce for pong in sent_on(self.context, self.links[1], messages.Pong)], [7])
        self.assertEqual(self.missed(self.links[1]), kept)

    def test_in_turns(self) -> None:
        """64 at a time, the links in turn, so that one link's history holds up nobody."""
        kept = [envelope.id for envelope in self.hold(*range(1, 201))]
        self.node.wait(15)
        self.context.actions.clear()
        self.want(self.links[1], *kept)
        self.want(self.links[2], *kept[:3])
        turns = []
        while fetches := chosen(self.context.actions, Fetch):
            self.context.actions.clear()
            for fetch in fetches:
                turns.append((fetch.link, len(fetch.ids)))
                self.gossip.fetched(Fetched(fetch.link, {}))
        self.assertEqual(
            turns, [(2, FETCH_BATCH), (3, 3), (2, FETCH_BATCH), (2, FETCH_BATCH), (2, 200 - 3 * 64)]
        )

    def test_a_link_that_goes_meanwhile(self) -> None:
        """The store's answer for a link that is gone is dropped, and others are served after it."""
        one, two = self.hold(1, 2)
        self.node.wait(15)
        self.context.actions.clear()
        self.want(self.links[1], one.id)
        self.node.unlink(self.links[1])
        self.context.actions.clear()
        self.gossip.fetched(Fetched(2, {one.id: one.raw}))
        self.assertEqual(self.context.actions, [])
        self.want(self.links[2], two.id)
        self.assertEqual(self.fetch(), Fetch(3, [two.id]))

    def test_the_queue_is_bounded(self) -> None:
        """8,192 ids of one link may wait for the store; the rest is a MISS."""
        kept = [envelope.id for envelope in self.hold(*range(1, MAX_WAITING + 100))]
        self.node.wait(15)
        self.context.actions.clear()
        for start in range(0, len(kept), 4096):
            self.want(self.links[1], *kept[start : start + 4096])
        self.assertEqual(len(self.missed(self.links[1])), len(kept) - MAX_WAITING - FETCH_BATCH)


class HistoryBudgetTests(ServeCase):
    parameters = {"limits": {"history": Rate(1000, 1000)}}

    def test_paced(self) -> None:
        """History leaves at the node's budget: the second batch waits until the first is paid for."""
        kept = [envelope.id for envelope in self.hold(*range(1, 129), size=100)]
        self.node.wait(15)
        self.context.actions.clear()
        self.want(self.links[1], *kept)
        self.fetch()
        self.context.actions.clear()
        self.gossip.fetched(Fetched(2, {}))
        self.assertEqual(chosen(self.context.actions, Fetch), [])
        spent = sum(self.gossip.holdings.known[key].size for key in kept[:FETCH_BATCH])
        self.context.actions.clear()
        self.node.wait((spent - 1000) / 1000 - 0.1)
        self.assertEqual(chosen(self.context.actions, Fetch), [])
        self.node.wait(0.2)
        self.assertEqual(len(chosen(self.context.actions, Fetch)), 1)


class OfferTests(Case):
    def test_memory(self) -> None:
        """T32: what a link may ask for takes little, whatever is said to it, and is what it was told of last."""
        ids = [id_of(number) for number in range(1, 4 * MAX_OFFERS)]
        state = self.links[0]
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        most = 0
        for place, envelope_id in enumerate(ids):
            state.offer(envelope_id)
            if place % 1000 == 0:
                most = max(most, tracemalloc.get_traced_memory()[0] - before)
        self.assertTrue(most < 3 * 1024 * 1024, most)
        self.assertFalse(state.may_serve(ids[0]))
        self.assertTrue(all(state.may_serve(envelope_id) for envelope_id in ids[-MAX_OFFERS // 2 :]))

    def test_told_again(self) -> None:
        """What is shown again is as good as new, but for how often it was served."""
        state = self.links[0]
        for number in range(1, MAX_OFFERS + 1):
            state.offer(id_of(number))
        self.assertTrue(state.may_serve(id_of(1)))
        state.offer(id_of(1))
        for number in range(MAX_OFFERS + 1, MAX_OFFERS + 3):
            state.offer(id_of(number))
        self.assertFalse(state.may_serve(id_of(2)), "the oldest made room")
        self.assertTrue(state.may_serve(id_of(1)))
        self.assertFalse(state.may_serve(id_of(1)), "twice")
