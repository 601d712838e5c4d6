"""Whatever a hostile peer may say: every message of the protocol, sensible, on the edge, and sometimes beyond it."""

from __future__ import annotations

import struct
from random import Random
from typing import TYPE_CHECKING, Any

import msgpack

from positron.core import messages
from positron.core.envelope import BROADCAST, DIRECT, RECEIPT, SIGNATURE_TAG, encode_entries
from positron.core.identity import Signer, seal
from positron.core.statements import sign_address_record, sign_trust_statement
from positron.core.sync.index import bound
from positron.core.sync.ranges import FINGERPRINT, HAVE, LIST, SKIP, Writer

if TYPE_CHECKING:
    from tests.fuzz.hostile import Hostile

HEADER = struct.Struct(">BB32sQQHQQB")
BINDING = struct.Struct(">32s32sQQ")
EDGES = (0, 1, 2, 255, 256, 2**16 - 1, 2**16, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    -(2**63),
    2**64 - 1,
    float("nan"),
    float("inf"),
    "",
    "x" * 300,
    b"",
    b"x" * 70_000,
    (),
    ((),) * 100,
    "\0",
    "é" * 64,
)
HOSTS = (
    "10.9.9.9:1",
    "203.0.113.7:9000",
    "[::1]:1",
    "[2001:db8::1]:65535",
    "[fe80::1%eth0]:1024",
    "localhost:8888",
    "a.example:8888",
    "255.255.255.255:65536",
    "0.0.0.0:0",
    "[::ffff:10.1.2.3]:8888",
    "１２７.0.0.1:80",
    "1.2.3.4:²",
    ":",
    "",
    "x" * 264,
    "1.2.3.4:-1",
    "[::1",
    "a" * 250 + ".b:1",
    "\0:1",
)


def frame(tag: int, *values: Any) -> bytes:
    """A frame of any values, allowed or not."""
    return bytes((tag,)) + bytes(msgpack.packb(values))


def edge(rng: Random, low: int, high: int) -> int:
    """A number from `low` to `high`: mostly one at which something may change."""
    if rng.random() < 0.3:
        return rng.randint(low, high)
    return rng.choice([number for number in (*EDGES, low, high) if low <= number <= high])


class Tongue:
    """Makes the frames of one hostile peer, from what it heard and what it can think of."""

    def __init__(self, peer: Hostile, rng: Random) -> None:
        self.peer = peer
        self.rng = rng

    # --------------------------------------------------------------------------------------------- anything

    def anything(self) -> bytes:
        """One frame of any kind; a few in a thousand are no message at all."""
        rng = self.rng
        if rng.random() < 0.004:
            return self.garbage()
        kind = rng.choice(KINDS)
        made: bytes = getattr(self, kind)()
        if rng.random() < 0.004 and made[0] not in (messages.PUSH_TAG, 0):
            return self.twisted(made)
        return made

    def garbage(self) -> bytes:
        """Bytes."""
        return self.rng.choice((b"", b"\x08", b"\x0e\x93\x01", self.rng.randbytes(self.rng.randrange(1, 99))))

    def twisted(self, made: bytes) -> bytes:
        """The message with one value of a wrong kind, or without its last, or with one more."""
        values = list(msgpack.unpackb(made[1:], use_list=False))
        place = self.rng.randrange(len(values) + 1)
        values[place : place + self.rng.randrange(2)] = [self.rng.choice(STRANGE)]
        return frame(made[0], *values)

    # ------------------------------------------------------------------------------------------ the greeting

    def hello(self, **changes: Any) -> bytes:
        """Who I am; `changes` of nothing is what everybody says."""
        values: dict[str, Any] = {
            "version_min": 1,
            "version_max": 1,
            "network_id": self.peer.network_id,
            "agent": "hostile",
            "epoch": 5,
            "port": 8888,
            "addresses": (self.peer.address,),
            "wall_ms": self.peer.wall_ms,
            "observed": "10.0.1.1:8888",
        }
        return messages.encode(messages.Hello(**values | changes))

    def greeting(self) -> bytes:
        """A word of the greeting; seldom, for out of turn it ends what is fun."""
        if self.rng.random() < 0.9:
            return self.ping()
        return self.rng.choice((self.strange_hello, self.welcome, self.goodbye))()

    def strange_hello(self) -> bytes:
        """A HELLO on the edges."""
        rng = self.rng
        return self.hello(
            version_max=edge(rng, 0, 255),
            agent=rng.choice(("", "x" * 64, "\0")),
            epoch=edge(rng, 0, 2**64 - 1),
            port=edge(rng, 0, 65535),
            addresses=tuple(rng.choice(HOSTS) for _ in range(rng.randrange(9))),
            wall_ms=rng.choice((self.peer.wall_ms, edge(rng, 0, 2**64 - 1))),
            observed=rng.choice(HOSTS),
        )

    def welcome(self) -> bytes:
        """Yes, or why not."""
        rng = self.rng
        if rng.random() < 0.5:
            return frame(messages.Welcome.TAG, rng.choice((0, 1, 1, 2, 255)))
        word = rng.choice((*messages.REFUSALS, "".join(rng.choices("abcdefgh", k=9))))
        return frame(messages.Welcome.TAG, 0, word, (), self.records(rng.randrange(17)))

    def goodbye(self) -> bytes:
        """I go."""
        word = self.rng.choice((*messages.GOODBYES, "".join(self.rng.choices("abcdefgh", k=32))))
        return frame(messages.Goodbye.TAG, word, self.rng.random() < 0.5)

    # ---------------------------------------------------------------------------------------- round trips

    def ping(self) -> bytes:
        """Any nonce."""
        return frame(messages.Ping.TAG, edge(self.rng, 0, 2**64 - 1))

    def pong(self) -> bytes:
        """An answer, to what was asked or to nothing."""
        rng = self.rng
        nonce = rng.choice([*self.peer.nonces, edge(rng, 0, 2**64 - 1)])
        wall = rng.choice((self.peer.wall_ms, edge(rng, 0, 2**64 - 1)))
        return frame(messages.Pong.TAG, nonce, rng.choice((0, 100)), wall)

    # ------------------------------------------------------------------------------------------- of others

    def peers_get(self) -> bytes:
        """Who is there?"""
        return frame(messages.PeersGet.TAG)

    def peers(self) -> bytes:
        """These are there."""
        return frame(messages.Peers.TAG, self.records(self.rng.choice((0, 1, 1, 3, 100))))

    def records(self, count: int) -> tuple[bytes, ...]:
        """Signed address records of whoever."""
        return tuple(self.record() for _ in range(count))

    def record(self) -> bytes:
        """One, of a node that may exist."""
        rng = self.rng
        signer = rng.choice((self.peer.identity, self.peer.stranger(rng.randrange(500))))
        addresses = tuple(
            rng.choice((*HOSTS, f"{rng.randrange(1, 224)}.{rng.randrange(256)}.1.1:{rng.randrange(65536)}"))
            for _ in range(edge(rng, 0, 8))
        )
        time_ms = rng.choice((self.peer.wall_ms, edge(rng, 0, 2**63 - 1)))
        seq = rng.choice((self.peer.wall_ms, edge(rng, 0, 2**63 - 1)))
        return sign_address_record(
            signer, self.peer.network_id, tuple(filter(None, addresses)), seq, time_ms
        ).raw[: messages.MAX_RECORD]

    def vouch_get(self) -> bytes:
        """What do you think of others?"""
        return frame(messages.VouchGet.TAG)

    def vouch(self) -> bytes:
        """What I think of others."""
        rng = self.rng
        said = []
        for _ in range(rng.choice((0, 1, 16))):
            about = rng.choice((self.peer.victim.node_id, self.peer.stranger(rng.randrange(500)).node_id))
            time_ms = rng.choice((self.peer.wall_ms, edge(rng, 0, 2**63 - 1)))
            said.append(
                sign_trust_statement(
                    self.peer.identity, self.peer.network_id, about, edge(rng, 0, 1_000_000), time_ms
                )
            )
        return frame(messages.Vouch.TAG, tuple(each.raw for each in said))

    # ------------------------------------------------------------------------------------------- envelopes

    def push(self) -> bytes:
        """An envelope: my own, a stranger's, or one that went by, again."""
        rng = self.rng
        if self.peer.raws and rng.random() < 0.3:
            return messages.push_frame(edge(rng, 0, 255), rng.choice(self.peer.raws))
        return self.pushed(self.envelope())

    def pushed(self, raw: bytes) -> bytes:
        """This one, noted."""
        self.peer.note(raw)
        return messages.push_frame(self.rng.choice((0, 0, 1, 16, 64, 255)), raw)

    def author(self) -> Signer:
        """Whose envelope the next one is."""
        rng = self.rng
        return self.peer.identity if rng.random() < 0.7 else self.peer.stranger(rng.randrange(40))

    def envelope(self, author: Signer | None = None, **fixed: Any) -> bytes:
        """A signed envelope, mostly such as is accepted; `fixed` are fields that are not left to chance."""
        rng, author = self.rng, author or self.author()
        kind = fixed.get("kind") or rng.choice((BROADCAST,) * 6 + (DIRECT, DIRECT, RECEIPT))
        epoch = fixed.get("epoch", self.peer.epoch)
        if "epoch" not in fixed and rng.random() < 0.1:
            epoch = rng.choice((edge(rng, 0, 2**63 - 1), epoch + rng.randrange(-5, 300)))
        seq = fixed.get("seq") or self.seq(author, epoch)
        count = fixed.get("count") or (rng.choice((1, 1, 1, 2, 7, 256)) if kind == BROADCAST else 1)
        created = fixed.get("created", self.created())
        lifetime = 3_600_000
        if "created" not in fixed:
            lifetime = rng.choice((lifetime, lifetime, lifetime, 1, 1000, 7 * 24 * 3_600_000))
        ttl = rng.choice((16, 16, 0, 1, 64))
        recipient, body = self.body(author, kind, epoch, seq, count)
        fields = (
            1,
            kind,
            author.node_id,
            epoch,
            seq,
            count,
            created,
            min(created + lifetime, 2**64 - 1),
            ttl,
        )
        return self.signed(author, fields, recipient + body)

    def signed(self, author: Signer, fields: tuple[Any, ...], rest: bytes) -> bytes:
        """An envelope of these header fields, whatever they are."""
        unsigned = HEADER.pack(*fields) + rest
        return unsigned + author.sign(SIGNATURE_TAG + self.peer.network_id + unsigned)

    def seq(self, author: Signer, epoch: int) -> int:
        """The next number, one after a gap, one before, or the last there is."""
        numbers, key, rng = self.peer.numbers, (author.node_id, epoch), self.rng
        last = numbers.get(key, 0)
        if rng.random() < 0.02:
            return edge(rng, 1, 2**63 - 300)
        numbers[key] = last + rng.choice((1, 1, 1, 2, 257))
        return max(1, numbers[key] - rng.choice((0, 0, 0, 0, 1, 5)))

    def created(self) -> int:
        """When it was made: mostly now."""
        rng, now = self.rng, self.peer.wall_ms
        if rng.random() < 0.8:
            return now
        return max(0, rng.choice((now + 29_000, now + 31_000, now - 30_000, now - 3_500_000, 0, 2**63 - 1)))

    def body(self, author: Signer, kind: int, epoch: int, seq: int, count: int) -> tuple[bytes, bytes]:
        """Recipient and body."""
        rng, victim = self.rng, self.peer.victim
        if kind == BROADCAST:
            size = rng.choice((0, 1, 1, 100)) if count > 1 else rng.choice((0, 1, 100, 100, 20_000, 65_000))
            if rng.random() < 0.002:
                return b"", rng.randbytes(30)
            return b"", encode_entries([("t", bytes(size))] * count)
        recipient = rng.choice((victim.node_id, victim.node_id, self.peer.stranger(1).node_id))
        if kind == RECEIPT:
            return recipient, rng.choice([*self.peer.ids, rng.randbytes(16)])
        if recipient != victim.node_id or rng.random() < 0.3:
            return recipient, rng.randbytes(rng.choice((0, 48, 200)))
        return recipient, seal(recipient, BINDING.pack(author.node_id, recipient, epoch, seq) + b"hello")

    def evidence(self) -> bytes:
        """Two of one author: a proof, now and then."""
        rng, author = self.rng, self.author()
        if rng.random() < 0.7 and len(self.peer.raws) > 1:
            return frame(messages.Evidence.TAG, rng.choice(self.peer.raws), rng.choice(self.peer.raws))
        same = {"epoch": self.peer.epoch, "seq": edge(rng, 1, 9), "kind": rng.choice((1, 1, 2, 3))}
        return frame(messages.Evidence.TAG, *(self.envelope(author, **same) for _ in range(2)))

    # ------------------------------------------------------------------------------------------------- ids

    def ids(self, most: int = 4096) -> bytes:
        """Joined ids: known ones, wanted ones, ones that nobody has."""
        rng = self.rng
        count = rng.choice((1, 1, 2, 16, most))
        known = [*self.peer.ids, *self.peer.wants]
        invented = [rng.randbytes(16) for _ in range(count)]
        return b"".join(rng.choice(known) if known and rng.random() < 0.5 else each for each in invented)

    def have(self) -> bytes:
        """I have these."""
        return frame(messages.Have.TAG, self.ids(300))

    def want(self) -> bytes:
        """Give me these."""
        return frame(messages.Want.TAG, self.ids())

    def miss(self) -> bytes:
        """I do not have these."""
        return frame(messages.Miss.TAG, self.ids())

    def refused(self) -> bytes:
        """I will not have that."""
        return frame(messages.Refused.TAG, self.ids(1)[:16], self.rng.choice(messages.REJECTIONS))

    def graft(self) -> bytes:
        """Push to me."""
        return frame(messages.Graft.TAG, self.rng.choice((1, 1, 2, 255)), self.rng.random() < 0.3)

    def prune(self) -> bytes:
        """Do not."""
        return frame(
            messages.Prune.TAG, self.rng.choice((0, 0, 1, 30, 3600)), self.records(self.rng.randrange(3))
        )

    # ----------------------------------------------------------------------------------------------- SYNC

    def sync(self) -> bytes:
        """A round of a session: begun by the victim, by me, or by nobody."""
        rng = self.rng
        number, round_ = rng.choice(
            [*self.peer.sessions, (edge(rng, 0, 2**32 - 1), 0), (rng.randrange(5), 0)]
        )
        if rng.random() < 0.2:
            round_ = edge(rng, 0, 255)
        return frame(messages.Sync.TAG, number, round_, self.ranges(), rng.random() < 0.05)

    def ranges(self) -> bytes:
        """The bytes of a round."""
        rng, now = self.rng, self.peer.wall_ms
        if rng.random() < 0.02:
            return rng.randbytes(rng.randrange(40))
        if rng.random() < 0.1:
            return b""
        floor = rng.choice((0, max(0, now - 3_600_000), max(0, now - 1000), edge(rng, 0, 2**62)))
        ceiling = max(floor + 1, rng.choice((now, now - 1000, now + 10**9, 2**63 - 1)))
        out = Writer(floor, ceiling, 64 * 1024)
        times = sorted({rng.randrange(floor + 1, ceiling + 1) for _ in range(rng.choice((1, 2, 30)))})
        low = bound(floor)
        for time in times:
            self.range(out, low, bound(time))
            low = bound(time)
        return out.finish()

    def range(self, out: Writer, low: bytes, high: bytes) -> None:
        """One range."""
        rng = self.rng
        mode = rng.choice((SKIP, FINGERPRINT, LIST, HAVE, HAVE))
        if mode == FINGERPRINT:
            out.fingerprint(low, high, rng.randbytes(16))
        elif mode != SKIP:
            joined = self.ids(3000)
            out.listing(low, high, mode, sorted(joined[at : at + 16] for at in range(0, len(joined), 16)))


KINDS = (
    ("greeting", "greeting", "ping", "pong", "pong", "peers_get", "peers", "vouch_get", "vouch")
    + ("push",) * 8
    + (
        "evidence",
        "have",
        "have",
        "want",
        "want",
        "miss",
        "refused",
        "graft",
        "prune",
        "sync",
        "sync",
        "sync",
    )
)
