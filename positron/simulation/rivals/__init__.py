"""Other protocols over the same links, to measure positron against. None of this is positron's own core.

`RIVALS[name](nodes=1000, latency=lognormal(0.05, 0.5), loss=0.0, seed=1)` is a network that has joined and settled:

- `push`        sender-chosen fanout 3, TTL 10: the first summary's
- `gossipsub`   gossipsub v1.1 with D = 8; `gossipsub6` with D = 6
- `plumtree`    HyParView (active 5, passive 30) with Plumtree

What may be done with each, the same way (a node is an index from 0; times are seconds, sizes bytes):

- `run(seconds)`                      play
- `publish(node, size)`               -> message number, from 0; `size` is all that an author made and signed
- `crash(nodes, notice=0.0)`          gone; the other ends lose their links at once, as after `WorldNode.kill`; with
                                      `notice=10.0` (the research's) 5 to 10 s later, as when a machine goes dark
- `restart(nodes)`                    back, with nothing remembered
- `partition(groups, notice=10.0)`    nothing passes between them; `heal()` ends it
- `malicious(nodes, behaviour)`       from now on `silent`, `teasing` (announce, never deliver) or `honest` again

What may be read at any time:

- `now`, `nodes` (each `.up`, `.behaviour`, `.seen`), `published[message]` = (node, time, size)
- `deliveries`: `(message, node, time, hops)` in the order of time, first receptions only, not the author's own,
  malicious nodes' too; a restarted node's again
- `copies[message]`: payload frames that arrived for it, anywhere
- `traffic`: payload and control, bytes and frames sent since the network was made; take differences for a span

Bytes include 26 around every frame (`FRAMING`: 4 of length, 22 of a TLS 1.3 record), one record a frame; TCP and IP are
left out. `World.bytes_out` holds the 4 but not the 22: add 22 for each of its `frames_out` to compare.

Links: push and gossipsub stand on a random graph in which each node opens 8 links, at most 50 in all, and opens
new ones for those it loses; after a heal each node dials two random ones within 15 s, which is positron's own redial,
given to them. Plumtree stands on HyParView's own, which is part of it and dials nobody after a heal.

One seed gives one result, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable

from positron.simulation.narrow import FRAMING
from positron.simulation.rivals.gossipsub import Gossipsub, Gossipsub6
from positron.simulation.rivals.network import (
    BEHAVIOURS,
    Delivery,
    Published,
    RivalNetwork,
    Traffic,
)
from positron.simulation.rivals.plumtree import Plumtree
from positron.simulation.rivals.push import Push

__all__ = [
    "BEHAVIOURS",
    "FRAMING",
    "RIVALS",
    "Delivery",
    "Published",
    "RivalNetwork",
    "Traffic",
]

RIVALS: dict[str, Callable[..., RivalNetwork]] = {
    "push": Push,
    "gossipsub": Gossipsub,
    "gossipsub6": Gossipsub6,
    "plumtree": Plumtree,
}
"""The rivals by name; each is called as `RivalNetwork` is."""
