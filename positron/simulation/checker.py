"""What every run must end with: all of it, everywhere, exactly once, in order, and nothing that nobody said.

A run that ends badly says the seed and what is wrong; one seed replays it.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from positron.core.identity import short
from positron.simulation.world import World, WorldNode

Number = tuple[bytes, int, int]
"""(author, epoch, seq): one message."""


@define
class Report:
    """`owed` pairs of (message, node), how many of them were `delivered`; `faults` are sentences."""

    owed: int = 0
    delivered: int = 0
    faults: list[str] = field(factory=list)

    @property
    def is_clean(self) -> bool:
        """Everything owed was delivered and nothing else was."""
        return not self.faults and self.owed == self.delivered


def heard(node: WorldNode, history: bool = False) -> dict[Number, list[bytes]]:
    """What a node's subscribers heard: the payloads by message, direct messages left out.

    `history`: those subscribers are meant who asked for history.
    """
    found: dict[Number, list[bytes]] = {}
    for delivery in node.delivered:
        if delivery.direct or (delivery.history and not history):
            continue
        for offset, (_, payload) in enumerate(delivery.entries):
            number = (delivery.author, delivery.epoch, delivery.seq + offset)
            found.setdefault(number, []).append(payload)
    return found


def check(
    world: World,
    nodes: Iterable[WorldNode],
    published: dict[bytes, list[bytes]],
    *,
    history: bool = False,
) -> Report:
    """Hold what `nodes` heard against `published` (payloads by author, in order; payloads are distinct).

    Every node owes its application each payload once; per author in order, except what is marked late, or history,
    which an application has only if it asked for it (`history`).
    """
    report = Report()
    for node in nodes:
        told = heard(node, history)
        by_author: dict[bytes, list[bytes]] = {}
        for number in sorted(told):
            if len(told[number]) > 1:
                report.faults.append(f"{short(node.node_id)} heard {number[1:]} {len(told[number])} times")
            by_author.setdefault(number[0], []).append(told[number][0])
        for author, payloads in published.items():
            report.owed += len(payloads)
            got = by_author.pop(author, [])
            report.delivered += len(set(got) & set(payloads))
            if [payload for payload in payloads if payload in set(got)] != got:
                report.faults.append(
                    f"{short(node.node_id)} heard other things of {short(author)} than it said"
                )
        for author in by_author:
            report.faults.append(f"{short(node.node_id)} heard {short(author)}, who said nothing")
        report.faults += _disorder(node)
    if not report.is_clean:
        report.faults.append(f"seed {world.seed}: {report.delivered} of {report.owed} delivered")
    return report


def _disorder(node: WorldNode) -> list[str]:
    """Deliveries out of their author's order that were not marked late."""
    faults = []
    last: dict[tuple[bytes, int], int] = {}
    for delivery in node.delivered:
        if delivery.direct or delivery.history or delivery.late:
            continue
        key = (delivery.author, delivery.epoch)
        if delivery.seq <= last.get(key, 0):
            faults.append(f"{short(node.node_id)} heard {delivery.seq} after {last[key]}")
        last[key] = delivery.seq + len(delivery.entries) - 1
    return faults
