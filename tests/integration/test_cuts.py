"""A cut through the network, and the death of a third of it, with real processes: nothing is lost, none comes twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Fleet, Process, wait_for
from switch import Switch
from test_network import check, connected, speak

NODES = int(os.environ.get("POSITRON_TEST_NODES", "8"))
"""How many processes; `make drill` asks for 20."""

CUT_SECONDS = float(os.environ.get("POSITRON_TEST_CUT", "25"))
"""How long the cut lasts, longer than the 15 s after which a dead link is given up; `make drill` asks for 120."""

HEAL_SECONDS = 20.0
"""How long after the cut everything may take to be everywhere."""

PACE = 0.1
"""Seconds between two messages of the whole network."""


@pytest.fixture
def switch() -> Iterator[Switch]:
    """What lies between the processes; it ends after them."""
    switch = Switch()
    try:
        yield switch
    finally:
        switch.close()


@pytest.fixture
def fleet(tmp_path: Path, switch: Switch) -> Iterator[Fleet]:
    """Processes that end with the test."""
    fleet = Fleet(tmp_path)
    try:
        yield fleet
    finally:
        fleet.close()


def switched(fleet: Fleet, switch: Switch, count: int) -> list[Process]:
    """So many nodes, each on a host of its own and reached through the switch, as one network; all are listened to."""
    first = fleet.node(host="127.1.1.1")
    bootstrap = switch.attach(first)
    nodes = [first.start()]
    for number in range(2, count + 1):
        node = fleet.node("--bootstrap", bootstrap, host=f"127.{number}.{number}.1")
        switch.attach(node)
        nodes.append(node.start())
    for node in nodes:
        node.ready(60)
    wait_for("one network", lambda: all(n.up() >= 5 for n in nodes) and connected(nodes), 60)
    said = {node.node_id: ["hello"] for node in nodes}
    for node in nodes:
        node.publish("t", "hello")
    wait_for("all are known", lambda: all(n.status()["store"]["messages"] >= count for n in nodes), 30)  # type: ignore[index]
    for node in nodes:
        # With history: what a node learns by a sync of an author who started before it is history to it.
        fleet.listener.subscribe(node, "topic=%23&history=10000")
    check(fleet, nodes, said, 30)
    return nodes


def chatter(fleet: Fleet, speakers: list[Process], seconds: float, tag: str) -> dict[str, list[str]]:
    """Messages from random speakers at an even pace for so long; what each author said, in order."""
    said: dict[str, list[str]] = {}
    begun = time.monotonic()
    number = 0
    while number * PACE < seconds:
        due = begun + number * PACE
        fleet.listener.until("the next is due", lambda due=due: time.monotonic() >= due, PACE + 30)
        for author, texts in speak(fleet, speakers, 1, f"{tag} {number}").items():
            said.setdefault(author, []).extend(texts)
        number += 1
    return said


def test_a_cut_through_the_middle_heals(fleet: Fleet, switch: Switch) -> None:
    """Two sides publish through a long silence between them; within 20 s of its end everybody has heard everything."""
    nodes = switched(fleet, switch, NODES)
    check(fleet, nodes, speak(fleet, nodes, 50, "before"), 30)
    sides = random.Random(NODES).sample(nodes, NODES)
    left, right = sides[::2], sides[1::2]

    switch.cut(left, right)
    said = chatter(fleet, nodes, CUT_SECONDS, "meanwhile")
    ids = [{node.node_id for node in side} for side in (left, right)]
    of_left, of_right = ({a: texts for a, texts in said.items() if a in side} for side in ids)
    assert of_left and of_right
    for node in nodes:
        assert node.peer_ids() <= ids[node in right], f"{node.name} has links across"
    check(fleet, left, of_left, 10)
    check(fleet, right, of_right, 10)

    switch.heal()
    healed = time.monotonic()
    heard, owed = fleet.listener.heard, [sum(map(len, part.values())) for part in (of_right, of_left)]
    fleet.listener.until(
        "all of the other side's messages",
        lambda: all(len(heard[node.name]) >= owed[node in right] for node in nodes),
        HEAL_SECONDS,
    )
    print(
        f"{NODES} nodes, cut for {CUT_SECONDS:.0f} s: all is everywhere {time.monotonic() - healed:.1f} s after it"
    )
    check(fleet, left, of_right, 0)
    check(fleet, right, of_left, 0)
    check(fleet, nodes, speak(fleet, nodes, 50, "after"), 30)


def test_a_third_is_killed_at_once(fleet: Fleet, switch: Switch) -> None:
    """Killed with -9 while all publish: the survivors lose nothing of theirs, and agree on what the dead had said."""
    nodes = switched(fleet, switch, NODES)
    victims = [nodes[0], *random.Random(NODES).sample(nodes[1:], round(0.3 * NODES) - 1)]
    survivors = [node for node in nodes if node not in victims]
    said = chatter(fleet, nodes, 5, "together")
    dead = {node.node_id for node in victims}
    for victim in victims:
        victim.signal(signal.SIGKILL)
    for author, texts in chatter(fleet, survivors, 20, "alone").items():
        said.setdefault(author, []).extend(texts)
    for victim in victims:
        victim.kill()

    living = {author: texts for author, texts in said.items() if author not in dead}
    owed = sum(map(len, living.values()))
    heard = [fleet.listener.heard[node.name] for node in survivors]

    def agreed() -> bool:
        ids = [{message["id"] for message in messages} for messages in heard]
        return all(one == ids[0] for one in ids) and owed == sum(m["author"] in living for m in heard[0])

    fleet.listener.until("the survivors agree", agreed, 30)
    last_words: dict[str, list[str]] = {author: [] for author in dead}
    for message in sorted(heard[0], key=lambda message: message["seq"]):
        if message["author"] in dead:
            last_words[message["author"]].append(message["data"])
    for author, texts in last_words.items():
        assert texts == said[author][: len(texts)], "what the dead said has a hole"
    check(fleet, survivors, {**living, **last_words}, 0)
