"""How large each table of a core is, and how large it may be: every bound that the documentation promises."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from positron.core.addresses import book as addresses
from positron.core.anti_entropy import MAX_SESSIONS
from positron.core.direct import MAX_RECEIPTS, MAX_RECIPIENTS, MAX_WAITING
from positron.core.gossip import holdings, publish, pull, recents, serve, state
from positron.core.gossip.accept import MAX_MUTED
from positron.core.links import MAX_PINGS
from positron.core.overlay.admission import MAX_ADDRESSES_WATCHED
from positron.core.overlay.lost import MAX_LOST
from positron.core.sequences import MAX_AUTHORS, MAX_EPOCHS, MAX_INTERVALS
from positron.core.swarm import Swarm
from positron.core.sync.index import MAX_ENTRIES
from positron.core.trust import opinion, table

Row = tuple[str, float, float]
"""The name of a table, its size, and what that may be at most."""

MAX_COUNTERS = 64
"""There is one for each thing that is counted, and a peer invents no things."""

LARGEST_PUBLISH = 5_000
"""Messages that the application of a siege hands over at once, and that are taken together."""


def excess(swarm: Swarm) -> list[str]:
    """What is larger than it may be."""
    return [
        f"{name}: {size}, and at most {most} are allowed" for name, size, most in sizes(swarm) if size > most
    ]


def pending(swarm: Swarm) -> set[int]:
    """The tokens that are still to be settled."""
    sent = {each.token for each in swarm._direct._sent.values()}
    waiting = {token for token, _ in swarm._publisher._waiting}
    return sent | waiting | {each.token for each in swarm._pings._asked.values()}


def sizes(swarm: Swarm) -> Iterator[Row]:
    """Every table of this core."""
    for part in (_links, _gossip, _holdings, _sequences, _direct, _sync, _trust, _book, _overlay):
        yield from part(swarm)


def _links(swarm: Swarm) -> Iterator[Row]:
    for link in swarm._context.links.all.values():
        yield "pings", len(link.pings), MAX_PINGS
    for each in swarm.gossip.states.values():
        yield "offers", len(each.offers), state.MAX_OFFERS
        yield "wanted", len(each.wanted), state.WANT_WINDOW
        yield "backlog", len(each.backlog), state.MAX_BACKLOG
        yield "missed", len(each.missed), state.MAX_MISSED
        yield "pongs", len(each.pongs), 16
        yield "checks", len(each.checks), 1
        yield "pulls of a link", each.pulls, pull.MAX_PULLS_PER_LINK
        yield "pulls of a link, counted", -each.pulls, 0
        yield "fetching", each.fetching, serve.MAX_WAITING + serve.FETCH_BATCH
    yield "counters", len(swarm._context.counters), MAX_COUNTERS


def _gossip(swarm: Swarm) -> Iterator[Row]:
    gossip, puller, server = swarm.gossip, swarm.gossip.puller, swarm.gossip.server
    links = len(gossip.states)
    yield "states", links, len(swarm._context.links.up)
    yield "pulls", len(puller._pulls), pull.MAX_PULLS
    yield "timers of pulls", len(puller._due), 2 * pull.MAX_PULLS + 64 * pull.MAX_PULLS_PER_LINK
    yield "ids in flight", len(puller._in_flight), sum(len(each.wanted) for each in gossip.states.values())
    yield "promises remembered", len(puller._remembered), pull.MAX_REMEMBERED
    yield "waiting for the store", max(map(len, server._waiting.values()), default=0), serve.MAX_WAITING
    yield "turns at the store", len(server._queue), links + len(server._fetching)
    yield "muted", len(gossip.acceptance.muted), MAX_MUTED
    yield "evidence", len(gossip._evidence), links
    yield "outbox", len(swarm._publisher._outbox), publish.MAX_OUTBOX + LARGEST_PUBLISH


def _holdings(swarm: Swarm) -> Iterator[Row]:
    held = swarm.gossip.holdings
    kept = held._recents
    recent = sum(len(each.envelope.raw) + recents.RECENT_OVERHEAD for each in kept.by_id.values())
    yield "ids seen", len(held._young) + len(held._old), holdings.MAX_SEEN
    yield "envelopes", held.envelopes, holdings.MAX_ENVELOPES
    yield "bytes held", held.bytes, held._quota
    yield "bytes in memory", recent, recents.RECENT_BYTES + recents.RECENT_OVERHEAD
    yield "bytes in memory, as counted", kept._bytes - recent, 0
    yield "bytes in memory, uncounted", recent - kept._bytes, 0
    yield "claims of numbers", len(kept._claims), len(kept.by_id)
    yield "expiries", len(held._expiry), 2 * len(held.known) + 4 * holdings.MAX_ENVELOPES
    yield "shares", len(held._shares), held.envelopes
    yield "index", len(swarm._index), MAX_ENTRIES


def _sequences(swarm: Swarm) -> Iterator[Row]:
    sequences, limits = swarm._sequences, swarm._context.parameters.limits
    yield "streams", len(sequences), MAX_AUTHORS
    yield "bytes held back", sequences._held_bytes, limits.held_bytes_all
    total = 0
    for author in sequences._streams.values():
        epochs = author.epochs.values()
        total += author.held_bytes
        yield "epochs", len(epochs), MAX_EPOCHS
        yield "intervals", max((len(each.seen) for each in epochs), default=0), MAX_INTERVALS
        yield "held back", author.held_count, limits.held_envelopes
        yield "held back, uncounted", sum(len(each.held) for each in epochs) - author.held_count, 0
    yield "bytes held back, as counted", sequences._held_bytes - total, 0
    lost = [key for key in sequences._waiting._times if not _is_held(swarm, *key)]
    yield "waits for nothing", len(lost), 0


def _is_held(swarm: Swarm, stream: tuple[bytes, int, bytes], number: int) -> bool:
    author = swarm._sequences._streams.get(stream)
    epoch = author.epochs.get(number) if author else None
    return epoch is not None and bool(epoch.held)


def _direct(swarm: Swarm) -> Iterator[Row]:
    direct = swarm._direct
    yield "direct messages sent", len(direct._sent), MAX_WAITING
    yield "receipts", len(direct._receipts), MAX_RECEIPTS
    yield "numbers of receipts", len(direct._next_seq), MAX_RECIPIENTS


def _sync(swarm: Swarm) -> Iterator[Row]:
    sync, links = swarm._sync, len(swarm.gossip.states)
    yield "sessions", len(sync._sessions), MAX_SESSIONS
    yield "rates", len(sync._rates), links
    yield "exchanges due", len(sync._due), links
    yield "questions about others", len(swarm._vouching._ask_at), links
    yield "answers about others", len(swarm._vouching._answers), links


def _trust(swarm: Swarm) -> Iterator[Row]:
    scores, opinions = swarm.trust._scores, swarm.trust._opinions
    yield "known", len(scores.known), table.MAX_KNOWN
    yield "banned", len(scores.banned), table.MAX_BANNED
    yield "vouchers", len(opinions._vouchers), opinion.MAX_VOUCHERS
    for voucher in opinions._vouchers.values():
        yield "statements", len(voucher.said), opinion.MAX_ABOUT


def _book(swarm: Swarm) -> Iterator[Row]:
    book = swarm._book
    yield "address book", len(book), addresses.MAX_RECORDS
    yield "address book, drawn from", len(book._shuffled), len(book)
    yield "contested", len(book.contested), addresses.MAX_CONTESTED
    yield "dials noted", len(book._dials), addresses.MAX_DIALS_NOTED
    for members in book._groups.values():
        yield "entries of a group", len(members), addresses.MAX_IN_GROUP
    for members in book._sources.values():
        yield "untried entries of a source", len(members), addresses.MAX_OF_SOURCE


def _overlay(swarm: Swarm) -> Iterator[Row]:
    overlay, links = swarm.overlay, swarm._context.links
    yield "links up", len(links.up), swarm._context.parameters.max_peers + 1
    for owned in (
        overlay._greeting._talks,
        overlay._greeting._asked,
        overlay._liveness._pinged,
        overlay._clocks._offsets,
        overlay._discovery._known,
        overlay._slots._attempts,
        overlay._draining,
    ):
        gone = set() if overlay._leaving else set(owned) - set(links.all)  # who leaves forgets all by that
        yield "of links that are gone", len(gone), 0
    yield "lost peers", len(overlay._slots.lost), MAX_LOST
    for watched in (overlay._admission._violators, overlay._admission._refused_until):
        yield "addresses watched", len(watched), MAX_ADDRESSES_WATCHED
    yield "deadline in the past for ever", 0 if swarm.deadline > -inf else 1, 0
