"""Each number of the design's section on trust, at the border of `Trust`."""

from __future__ import annotations

from math import inf, nan

from twisted.trial.unittest import SynchronousTestCase

from positron.core.gossip import sources, spread
from positron.core.overlay import admission
from positron.core.records import TrustKept
from positron.core.statements import SCORE_SCALE, TrustStatement
from positron.core.trust import DOUBTFUL, IGNORED, MAX_BANNED, MAX_KNOWN, Trust, checkpoint, replay
from positron.core.trust.opinion import Opinions, Said

HOUR, DAY = 3600.0, 24 * 3600.0
NOW = 1_800_000_000.0


def node(number: int) -> bytes:
    return number.to_bytes(32, "big")


ME, PEER, OTHER, AUTHOR, SUBJECT = (node(number) for number in range(1, 6))


def earn(trust: Trust, peer: bytes, minutes: int, wall: float = NOW) -> float:
    """Serve as well as one can for some minutes; the time at the end."""
    for minute in range(minutes):
        for delivery in range(30):
            trust.useful(peer, node(1000 + delivery % 3), wall + minute * 60.0)
    return wall + minutes * 60.0


def say(
    trust: Trust, author: bytes, score: int, wall: float, group: str = "", about: bytes = SUBJECT
) -> bool:
    return trust.hear(
        TrustStatement(author, about, score, int(wall * 1000), b""), group or author.hex(), wall
    )


def matured(trust: Trust, numbers: range, score: float, wall: float = NOW) -> list[bytes]:
    """Peers met an hour before `wall`, with that score."""
    peers = [node(number) for number in numbers]
    for peer in peers:
        trust.met(peer, wall - HOUR)
        trust.set_score(peer, score, wall)
    return peers


class FirstHandTests(SynchronousTestCase):
    def test_a_stranger_stands_at_the_baseline(self) -> None:
        """Nothing known is 0.5, first-hand and in all."""
        trust = Trust()
        self.assertEqual((trust.first_hand(PEER, NOW), trust.score(PEER, NOW)), (0.5, 0.5))

    def test_a_useful_delivery_is_worth_a_thousandth(self) -> None:
        """+0.001 for the first delivery of another author's envelope."""
        trust = Trust()
        trust.useful(PEER, AUTHOR, NOW)
        self.assertEqual(trust.millionths(PEER, NOW), 501_000)

    def test_ones_own_envelopes_earn_nothing(self) -> None:
        """Publishing is no service: the author's own link gains nothing by it."""
        trust = Trust()
        for _ in range(100):
            trust.useful(PEER, PEER, NOW)
        self.assertEqual(trust.millionths(PEER, NOW), 500_000)

    def test_one_author_is_worth_five_thousandths_a_minute(self) -> None:
        """At most +0.005 a minute from one author, however many envelopes."""
        trust = Trust()
        for _ in range(100):
            trust.useful(PEER, AUTHOR, NOW)
        self.assertEqual(trust.millionths(PEER, NOW), 505_000)

    def test_a_minute_is_worth_ten_thousandths(self) -> None:
        """At most +0.01 a minute, however many authors; the next minute begins anew."""
        trust = Trust()
        for author in range(100, 200):
            trust.useful(PEER, node(author), NOW + 59.0)
        self.assertEqual(trust.millionths(PEER, NOW + 59.0), 510_000)
        for author in range(100, 200):
            trust.useful(PEER, node(author), NOW + 119.0)
        self.assertEqual(trust.millionths(PEER, NOW + 119.0), 510_000 - 19 + 10_000)

    def test_an_offence_does_not_refill_the_minute(self) -> None:
        """What was gained before an offence still counts against the minute's cap."""
        trust = Trust()
        earn(trust, PEER, 1)
        trust.offence(PEER, "graft", NOW)
        earn(trust, PEER, 1)
        self.assertEqual(trust.millionths(PEER, NOW), 410_000)

    def test_it_takes_twenty_minutes_to_earn_seven_tenths(self) -> None:
        """The best one can do from 0.5 to 0.7 is about 20 minutes, at any message rate (research: 19.5)."""
        trust = Trust()
        earn(trust, PEER, 20)
        self.assertLess(trust.first_hand(PEER, NOW + 19 * 60.0), 0.7)
        trust = Trust()
        earn(trust, PEER, 22)
        self.assertGreaterEqual(trust.first_hand(PEER, NOW + 21 * 60.0), 0.7)

    def test_an_offence_costs_a_tenth(self) -> None:
        """-0.1 each; the fourth from the baseline reaches 0.1 and brings the ban."""
        trust = Trust()
        bans = [trust.offence(PEER, "graft", NOW) for _ in range(4)]
        self.assertEqual(trust.millionths(PEER, NOW), 100_000)
        self.assertEqual(bans[:3], [0.0, 0.0, 0.0])
        self.assertEqual(bans[3], 600.0)
        self.assertEqual(trust.banned_until(PEER, NOW), NOW + 600.0)

    def test_one_offence_weighs_as_much_as_a_hundred_services(self) -> None:
        """Ten minutes of the best service are gone with one offence."""
        trust = Trust()
        end = earn(trust, PEER, 10)
        trust.offence(PEER, "graft", end)
        self.assertLessEqual(trust.millionths(PEER, end), 500_000)

    def test_the_score_stays_within_0_and_1(self) -> None:
        """No service leads above 1 and no offence below 0."""
        trust = Trust()
        trust.set_score(PEER, 1.0, NOW)
        earn(trust, PEER, 3)
        self.assertEqual(trust.millionths(PEER, NOW), 1_000_000)
        for _ in range(20):
            trust.offence(PEER, "graft", NOW + 180.0)
        self.assertEqual(trust.millionths(PEER, NOW + 180.0), 0)

    def test_broken_promises_are_charged_once_in_ten_seconds(self) -> None:
        """One burst of lost packets is one broken promise, not ten."""
        trust = Trust()
        charged = [trust.broken_promise(PEER, NOW + second) for second in (0.0, 5.0, 9.9, 10.0)]
        self.assertEqual(charged, [True, False, False, True])
        self.assertAlmostEqual(trust.first_hand(PEER, NOW + 10.0), 0.3, places=4)
        self.assertTrue(trust.broken_promise(OTHER, NOW + 5.0), "another link has its own ten seconds")

    def test_half_lives(self) -> None:
        """Half of what lies above the baseline is gone in 6 h, half of what lies below in 24 h."""
        trust = Trust()
        trust.set_score(PEER, 0.9, NOW)
        trust.set_score(OTHER, 0.3, NOW)
        self.assertEqual(trust.millionths(PEER, NOW + 6 * HOUR), 700_000)
        self.assertEqual(trust.millionths(OTHER, NOW + 24 * HOUR), 400_000)

    def test_from_nothing_it_takes_a_day_to_a_quarter(self) -> None:
        """From 0: 0.25 after 24 h, 0.44 after 72 h (docs/design.rst, Figures)."""
        trust = Trust()
        trust.set_score(PEER, 0.0, NOW)
        self.assertAlmostEqual(trust.first_hand(PEER, NOW + DAY), 0.25, places=6)
        self.assertAlmostEqual(trust.first_hand(PEER, NOW + 3 * DAY), 0.4375, places=6)

    def test_downtime_counts(self) -> None:
        """What was written down before a restart has decayed by as much as if the node had run."""
        before, after = Trust(), Trust()
        before.set_score(PEER, 0.9, NOW)
        before.take_rows(inf)
        after.load(before.take_records())
        self.assertEqual(after.millionths(PEER, NOW + 6 * HOUR), 700_000)

    def test_the_borders_of_what_a_score_decides(self) -> None:
        """Below 0.3 a peer is doubtful, below 0.2 ignored; at the borders it is not."""
        trust = Trust()
        for score, doubtful, ignored in (
            (0.3, False, False),
            (0.299999, True, False),
            (0.2, True, False),
            (0.199, True, True),
        ):
            trust.set_score(PEER, score, NOW)
            self.assertEqual(
                (trust.is_doubtful(PEER, NOW), trust.is_ignored(PEER, NOW)), (doubtful, ignored), score
            )

    def test_the_borders_are_the_same_everywhere(self) -> None:
        """Parts of the core do not import each other, so each names the borders it acts on: they are these."""
        self.assertEqual({sources.GOOD_ENOUGH, admission.DOUBTFUL}, {DOUBTFUL / SCORE_SCALE})
        self.assertEqual(spread.IGNORED_BELOW, IGNORED / SCORE_SCALE)

    def test_the_configuration_is_honoured(self) -> None:
        """Baseline, gain, penalty and ban threshold are the operator's."""
        trust = Trust(baseline=0.4, gain=0.002, penalty=0.15, ban=0.2)
        self.assertEqual(trust.first_hand(PEER, NOW), 0.4)
        trust.useful(PEER, AUTHOR, NOW)
        self.assertEqual(trust.millionths(PEER, NOW), 402_000)
        self.assertEqual(trust.offence(PEER, "graft", NOW), 0.0)
        self.assertGreater(trust.offence(PEER, "graft", NOW), 0.0)
        self.assertEqual(trust.millionths(PEER, NOW), 102_000)

    def test_a_configuration_that_bans_strangers_is_refused(self) -> None:
        """A baseline at or below the ban threshold is the caller's fault, as is what is no number from 0 to 1."""
        for wrong in ({"baseline": 0.1}, {"baseline": 1.0}, {"gain": nan}, {"penalty": -0.1}, {"ban": 0.5}):
            self.assertRaises(ValueError, Trust, **wrong)


class BanTests(SynchronousTestCase):
    def test_a_violation_bans_whatever_the_score(self) -> None:
        """One breach of the protocol bans for 10 min even a peer with the best score."""
        trust = Trust()
        trust.set_score(PEER, 1.0, NOW)
        self.assertEqual(trust.violation(PEER, "signature", NOW), 600.0)
        self.assertEqual(trust.banned_until(PEER, NOW + 599.9), NOW + 600.0)
        self.assertIsNone(trust.banned_until(PEER, NOW + 600.0))
        self.assertEqual(trust.banned_until(OTHER, NOW), None)

    def test_bans_double_up_to_a_day(self) -> None:
        """10 min, 20, 40 ... 24 h; the count outlives each ban."""
        trust, wall, bans = Trust(), NOW, []
        for _ in range(10):
            trust.set_score(PEER, 1.0, wall)
            bans.append(trust.violation(PEER, "malformed", wall))
            wall += bans[-1] + DAY
        self.assertEqual(bans, [min(600.0 * 2**index, DAY) for index in range(10)])

    def test_what_comes_while_banned_does_not_double_the_ban(self) -> None:
        """Frames still in flight when the link was cut are one violation, not many."""
        trust = Trust()
        trust.violation(PEER, "signature", NOW)
        self.assertEqual(trust.violation(PEER, "signature", NOW + 1.0), 599.0)
        self.assertEqual(trust.explain(PEER, NOW + 1.0).bans, 1)

    def test_nobody_comes_back_at_or_below_the_threshold(self) -> None:
        """A ban lasts at least until the score is above the threshold again, and never over a day."""
        trust = Trust()
        trust.set_score(PEER, 0.02, NOW)
        until = trust.banned_until(PEER, NOW)
        assert until is not None
        self.assertGreater(trust.first_hand(PEER, until), 0.1)
        self.assertLessEqual(trust.first_hand(PEER, until - 2.0), 0.1)
        self.assertLess(until, NOW + DAY)

    def test_the_operators_word(self) -> None:
        """An operator bans for as long as he says, lifts a ban, and cannot lift what is not there."""
        trust = Trust()
        self.assertFalse(trust.unban(PEER, NOW))
        trust.ban(PEER, inf, NOW)
        self.assertEqual(trust.banned_until(PEER, NOW + 1000 * DAY), inf)
        self.assertTrue(trust.unban(PEER, NOW))
        self.assertIsNone(trust.banned_until(PEER, NOW))
        trust.ban(PEER, 5.0, NOW)
        self.assertEqual(trust.banned_until(PEER, NOW), NOW + 5.0)
        self.assertRaises(ValueError, trust.ban, PEER, 0.0, NOW)
        for score in (-0.1, 1.1, nan, inf):
            self.assertRaises(ValueError, trust.set_score, PEER, score, NOW)

    def test_a_ban_outlives_a_restart(self) -> None:
        """Until when, and how often, is in the record."""
        before, after = Trust(), Trust()
        before.violation(PEER, "signature", NOW)
        before.take_rows(NOW)
        after.load(before.take_records())
        self.assertEqual(after.banned_until(PEER, NOW + 10.0), NOW + 600.0)
        self.assertEqual(after.violation(PEER, "signature", NOW + 700.0), 1200.0)


class OpinionTests(SynchronousTestCase):
    def test_fresh_colluders_move_nobody_at_all(self) -> None:
        """A thousand new identities in as many groups praise and slander: exactly nothing happens."""
        trust = Trust()
        for number in range(100, 1100):
            trust.met(node(number), NOW - HOUR)
            say(trust, node(number), 1_000_000 if number % 2 else 0, NOW)
        self.assertEqual(trust.score(SUBJECT, NOW), 0.5)

    def test_the_first_minute_of_an_acquaintance_weighs_nothing(self) -> None:
        """The weight grows with age to 1 h: the best score weighs nothing on the day it is met."""
        trust = Trust()
        for peer in matured(trust, range(100, 140), 1.0, wall=NOW):
            trust.forget(peer, NOW)
            trust.met(peer, NOW)
            trust.set_score(peer, 1.0, NOW)
            say(trust, peer, 1_000_000, NOW)
        self.assertEqual(trust.score(SUBJECT, NOW), 0.5)

    def test_one_voice_of_the_best_does_not_outweigh_our_own(self) -> None:
        """Our own 0.5 has weight 1, which nobody else exceeds: one voucher alone changes nothing."""
        trust = Trust()
        (peer,) = matured(trust, range(100, 101), 1.0)
        say(trust, peer, 1_000_000, NOW)
        self.assertEqual(trust.opinion(SUBJECT, NOW), 0.5)

    def test_any_number_of_colluders_moves_nobody_by_more_than_15_hundredths(self) -> None:
        """The table of docs/design.rst, Figures: 1 voucher 0.5, 5 or 1,000 that earned weight 0.65."""
        for count, earned, expected in (
            (1, 0.7, 0.5),
            (5, 0.7, 0.65),
            (200, 0.7, 0.65),
            (1, 1.0, 0.5),
            (5, 1.0, 0.65),
        ):
            trust = Trust()
            for peer in matured(trust, range(100, 100 + count), earned):
                say(trust, peer, 1_000_000, NOW)
            self.assertEqual(trust.score(SUBJECT, NOW), expected, (count, earned))

    def test_a_network_group_has_one_voice(self) -> None:
        """However many vouchers of one group: they count as one, which does not outweigh our own."""
        trust = Trust()
        for peer in matured(trust, range(100, 150), 1.0):
            say(trust, peer, 0, NOW, group="192.0.2.0/16")
        self.assertEqual(trust.score(SUBJECT, NOW), 0.5)

    def test_of_a_group_the_weightiest_is_heard(self) -> None:
        """A colluder beside an honest peer of long standing does not take its voice away."""
        trust = Trust()
        honest = matured(trust, range(100, 105), 0.9)
        beside = matured(trust, range(200, 205), 0.6)
        for index, (good, bad) in enumerate(zip(honest, beside, strict=True)):
            say(trust, good, 600_000, NOW, group=str(index))
            say(trust, bad, 0, NOW, group=str(index))
        self.assertEqual(trust.opinion(SUBJECT, NOW), 0.6)

    def test_slander_cannot_doubt_or_ban(self) -> None:
        """What decides is D, which opinions never touch."""
        trust = Trust()
        for peer in matured(trust, range(100, 200), 1.0):
            say(trust, peer, 0, NOW)
        self.assertEqual(trust.score(SUBJECT, NOW), 0.35)
        self.assertEqual(trust.first_hand(SUBJECT, NOW), 0.5)
        self.assertFalse(trust.is_doubtful(SUBJECT, NOW))
        self.assertIsNone(trust.banned_until(SUBJECT, NOW))

    def test_what_is_no_statement_is_not_kept(self) -> None:
        """Out of range, from the future, too old, of a stranger, about oneself, by us or about us."""
        trust = Trust(me=ME)
        trust.met(PEER, NOW)
        trust.met(ME, NOW)
        for author, about, score, wall in (
            (PEER, SUBJECT, -1, NOW),
            (PEER, SUBJECT, 1_000_001, NOW),
            (PEER, SUBJECT, 500_000, NOW + 31.0),
            (PEER, SUBJECT, 500_000, NOW - DAY - 1.0),
            (OTHER, SUBJECT, 500_000, NOW),
            (PEER, PEER, 500_000, NOW),
            (PEER, ME, 500_000, NOW),
            (ME, SUBJECT, 500_000, NOW),
        ):
            statement = TrustStatement(author, about, score, int(wall * 1000), b"")
            self.assertFalse(trust.hear(statement, "group", NOW), statement)
        for score in (nan, inf, 0.5, True, "1"):
            statement = TrustStatement(PEER, SUBJECT, score, int(NOW * 1000), b"")  # type: ignore[arg-type]
            self.assertFalse(trust.hear(statement, "group", NOW), score)

    def test_statements_age(self) -> None:
        """A day-old opinion counts no more."""
        trust = Trust()
        for peer in matured(trust, range(100, 105), 1.0):
            say(trust, peer, 1_000_000, NOW)
            trust.set_score(peer, 1.0, NOW + DAY)
        self.assertEqual(trust.score(SUBJECT, NOW + DAY), 0.65)
        self.assertEqual(trust.score(SUBJECT, NOW + DAY + 1.0), 0.5)

    def test_newcomers_do_not_displace_who_earned_more(self) -> None:
        """However many speak, those that served us are still heard."""
        trust = Trust()
        for peer in matured(trust, range(100, 105), 0.9):
            say(trust, peer, 1_000_000, NOW)
        for number in range(1000, 1400):
            trust.met(node(number), NOW)
            say(trust, node(number), 0, NOW)
        self.assertEqual(trust.score(SUBJECT, NOW + 1.0), 0.65)

    def test_what_is_kept_of_others_is_bounded(self) -> None:
        """256 vouchers with 64 subjects each, the newest statements of each."""
        opinions = Opinions()
        for number in range(300):
            for about in range(80):
                opinions.hear(node(number), "", node(about), Said(0, NOW + about), lambda _: 1)
        self.assertEqual(len(opinions), 256 * 64)
        self.assertEqual(opinions.about(node(15), NOW, lambda _: 1), [])
        self.assertEqual(opinions.about(node(16), NOW, lambda _: 1), [(0, 1)])

    def test_we_speak_only_of_what_we_know_first_hand(self) -> None:
        """At most 16 statements, the strongest opinions first, none at the baseline, none about who asks."""
        trust = Trust()
        for index in range(40):
            trust.set_score(node(100 + index), 0.5 + index / 100, NOW)
        trust.offence(PEER, "graft", NOW)
        trust.met(OTHER, NOW)
        for peer in matured(trust, range(200, 205), 1.0):
            say(trust, peer, 1_000_000, NOW)
        statements = trust.statements(NOW, asker=node(139))
        self.assertEqual(len(statements), 16)
        self.assertEqual([score for _, score in statements[:5]], [1_000_000] * 5)
        self.assertEqual(statements[5], (node(138), 880_000))
        self.assertNotIn(node(139), dict(statements))
        self.assertEqual(Trust().statements(NOW), [])
        trust = Trust()
        trust.violation(PEER, "signature", NOW)
        self.assertEqual(trust.statements(NOW), [(PEER, 400_000)])

    def test_a_banned_voucher_is_not_heard(self) -> None:
        """A ban silences, whatever the score was."""
        trust = Trust()
        peers = matured(trust, range(100, 110), 1.0)
        for peer in peers:
            say(trust, peer, 1_000_000, NOW)
            trust.violation(peer, "signature", NOW)
        self.assertEqual(trust.score(SUBJECT, NOW), 0.5)

    def test_the_explanation_has_every_part(self) -> None:
        """First-hand, opinion, voices, uptime, counts and bans, as they were."""
        trust = Trust()
        trust.met(SUBJECT, NOW - 50.0)
        trust.parted(SUBJECT, NOW - 20.0)
        trust.met(SUBJECT, NOW - 10.0)
        trust.useful(SUBJECT, AUTHOR, NOW)
        trust.violation(SUBJECT, "signature", NOW)
        for peer in matured(trust, range(100, 105), 1.0):
            say(trust, peer, 1_000_000, NOW)
        parts = trust.explain(SUBJECT, NOW)
        self.assertEqual((parts.first_hand, parts.opinion, parts.trust), (0.401, 1.0, 0.551))
        self.assertEqual((parts.voices, parts.valid, parts.invalid, parts.bans), (5, 1, 1, 1))
        self.assertEqual((parts.uptime_seconds, parts.banned_until), (10.0, NOW + 600.0))
        self.assertIsNone(trust.explain(OTHER, NOW).first_seen)


class AuditTests(SynchronousTestCase):
    def test_gains_are_one_row_a_minute(self) -> None:
        """Ten gains of one minute are one row, given out when the minute is over."""
        trust = Trust()
        for author in range(100, 120):
            trust.useful(PEER, node(author), NOW)
        self.assertEqual(trust.take_rows(NOW + 59.0), [])
        (row,) = trust.take_rows(NOW + 60.0)
        self.assertEqual(
            (row.time, row.node_id, row.cause, row.count, row.delta, row.before, row.after),
            (NOW, PEER, "useful", 10, 10_000, 500_000, 510_000),
        )
        self.assertEqual(trust.take_rows(inf), [])

    def test_everything_else_is_a_row_at_once(self) -> None:
        """An offence closes what was gained before, notes the decay, and stands under its own cause."""
        trust = Trust()
        trust.set_score(PEER, 0.9, NOW)
        trust.useful(PEER, AUTHOR, NOW)
        trust.violation(PEER, "signature", NOW + 6 * HOUR)
        trust.unban(PEER, NOW + 6 * HOUR)
        rows = trust.take_rows(NOW + 6 * HOUR)
        self.assertEqual(
            [(row.cause, row.delta) for row in rows],
            [
                ("operator", 400_000),
                ("useful", 1_000),
                ("decay", -200_500),
                ("signature", -100_000),
                ("ban", 0),
                ("unban", 0),
            ],
        )

    def test_rows_and_records_agree_at_any_moment(self) -> None:
        """While a peer serves without pause, its record is still written, and is what the rows add up to."""
        trust, rows, record = Trust(), [], None
        for tenth in range(3000):
            wall = NOW + tenth / 10
            trust.useful(PEER, node(100 + tenth % 7), wall)
            rows += trust.take_rows(wall)
            for record in trust.take_records():
                self.assertEqual(record.value, rows[-1].after if rows else 500_000)
        assert record is not None
        self.assertGreater(record.value, 530_000)

    def test_a_checkpoint_replaces_old_rows(self) -> None:
        """Pruning leaves one row, from which the rest replays to the same value; a hole is noticed."""
        trust = Trust()
        for minute in range(10):
            trust.useful(PEER, AUTHOR, NOW + 600.0 * minute)
            trust.offence(PEER, "graft", NOW + 600.0 * minute + 300.0)
        rows = trust.take_rows(inf)
        whole = replay(rows, 500_000, NOW + DAY)
        self.assertEqual(whole, trust.millionths(PEER, NOW + DAY))
        kept = [checkpoint(rows[:9]), *rows[9:]]
        self.assertEqual(replay(kept, 500_000, NOW + DAY), whole)
        kept = [checkpoint(rows[3:9]), *rows[9:]]
        self.assertEqual(replay(kept, 500_000, NOW + DAY), whole)
        self.assertRaises(ValueError, replay, rows[:3] + rows[4:], 500_000, NOW)

    def test_forgetting_brings_the_trail_back_to_the_baseline(self) -> None:
        """A forgotten node leaves a row and an empty record, and starts anew from there."""
        trust = Trust()
        trust.met(PEER, NOW)
        trust.violation(PEER, "signature", NOW)
        trust.forget(PEER, NOW)
        self.assertIsNone(trust.banned_until(PEER, NOW))
        rows = trust.take_rows(NOW)
        self.assertEqual((rows[-1].cause, rows[-1].after), ("forgotten", 500_000))
        (record,) = trust.take_records()
        self.assertEqual((record.value, record.bans, record.valid, record.invalid), (500_000, 0, 0, 0))
        trust.useful(PEER, AUTHOR, NOW)
        self.assertEqual(replay(rows + trust.take_rows(inf), 500_000, NOW), 501_000)
        self.assertEqual(trust.explain(PEER, NOW + 5.0).uptime_seconds, 5.0)


class BoundTests(SynchronousTestCase):
    def test_strangers_that_left_nothing_are_not_remembered(self) -> None:
        """A flood of links that come and go leaves no trace in memory."""
        trust = Trust()
        for number in range(1000):
            trust.met(node(number), NOW)
            trust.parted(node(number), NOW)
        trust.parted(node(5000), NOW)
        self.assertEqual(len(trust), 0)

    def test_a_flood_of_ids_does_not_empty_the_table_of_what_matters(self) -> None:
        """The table is bounded; live links, and bans, outlive any number of ids that did one little thing."""
        trust = Trust()
        trust.violation(OTHER, "signature", NOW)
        trust.met(PEER, NOW)
        earn(trust, PEER, 1)
        for number in range(10_000, 10_000 + MAX_KNOWN + 500):
            trust.useful(node(number), AUTHOR, NOW)
        self.assertEqual(len(trust), MAX_KNOWN + 1)
        self.assertEqual(trust.millionths(PEER, NOW), 510_000)
        self.assertIsNotNone(trust.banned_until(OTHER, NOW))

    def test_a_flood_of_bans_ends_the_shortest_first(self) -> None:
        """The table of bans is bounded too; what goes is what would end first, never a good peer's score."""
        trust = Trust()
        trust.ban(OTHER, DAY, NOW)
        earn(trust, PEER, 1)
        for number in range(10_000, 10_000 + MAX_BANNED + 5):
            trust.violation(node(number), "signature", NOW + (number - 10_000) / 1000)
        self.assertEqual(len(trust), MAX_BANNED + 1)
        self.assertEqual(trust.banned_until(OTHER, NOW), NOW + DAY)
        self.assertEqual(trust.millionths(PEER, NOW), 510_000)

    def test_a_store_with_too_many_records_is_cut(self) -> None:
        """Of more records than fit the last are taken."""
        trust = Trust()
        trust.load(TrustKept(node(number), 600_000, NOW) for number in range(MAX_KNOWN + 10))
        self.assertEqual(trust.millionths(node(0), NOW), 500_000)
        self.assertEqual(trust.millionths(node(MAX_KNOWN), NOW), 600_000)
