"""Twenty real processes, found through one bootstrap that starts last, and what they promise each other."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet, Process, wait_for

TWENTY = 20
MESSAGES = int(os.environ.get("POSITRON_TEST_MESSAGES", "200"))
"""How many are published each time; `make drill` asks for 1,000."""

AUTHORS = int(os.environ.get("POSITRON_TEST_AUTHORS", "5"))
"""How many publish what a late joiner missed, ten times as many messages; `make drill` asks for 20."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Processes that end with the test."""
    fleet = Fleet(tmp_path)
    try:
        yield fleet
    finally:
        fleet.close()


def connected(nodes: list[Process]) -> bool:
    """Whether everybody can reach everybody over links."""
    links = {node.node_id: node.peer_ids() for node in nodes}
    seen, edge = set(), [next(iter(links))]
    while edge:
        node_id = edge.pop()
        if node_id not in seen and node_id in links:
            seen.add(node_id)
            edge += links[node_id]
    return seen == set(links)


def speak(fleet: Fleet, speakers: list[Process], count: int, tag: str) -> dict[str, list[str]]:
    """`count` messages from random speakers; what each author said, in order."""
    rng = random.Random(tag)
    said: dict[str, list[str]] = {}
    ids = {node.name: node.node_id for node in speakers}
    for number in range(count):
        node = rng.choice(speakers)
        data = f"{tag} {number}"
        reply = node.publish("t", data)
        assert "id" in reply, reply
        said.setdefault(ids[node.name], []).append(data)
        fleet.listener.pump(0)
    return said


def check(fleet: Fleet, listeners: list[Process], said: dict[str, list[str]], seconds: float) -> None:
    """Every listener hears all of it, each once, in order per author, and nothing else."""
    owed = sum(map(len, said.values()))
    heard = fleet.listener.heard
    fleet.listener.until(
        f"{owed} messages at {len(listeners)} nodes",
        lambda: all(len(heard[node.name]) >= owed for node in listeners),
        seconds,
    )
    fleet.listener.pump(0.5)
    for node in listeners:
        by_author: dict[str, list[dict[str, Any]]] = {}
        for message in heard[node.name]:
            by_author.setdefault(message["author"], []).append(message)
        for author, messages in by_author.items():
            live = [message["seq"] for message in messages if not message["late"]]
            assert live == sorted(live), f"{node.name} heard {author} out of order"
            data = [message["data"] for message in sorted(messages, key=lambda message: message["seq"])]
            assert data == said[author], f"{node.name} heard {author} wrongly"
        heard[node.name].clear()


@pytest.mark.parametrize("hosts", ["one host", "many hosts"])
def test_twenty_find_each_other_and_survive_their_bootstrap(fleet: Fleet, hosts: str) -> None:
    """The bootstrap starts 10 s after the others; all messages arrive; it is killed with -9; all arrive again."""

    def host(number: int) -> str:
        return "127.0.0.1" if hosts == "one host" else f"127.{number}.{number}.1"

    bootstrap = fleet.node(host=host(1))
    others = [
        fleet.node("--bootstrap", bootstrap.address, host=host(number)).start()
        for number in range(2, TWENTY + 1)
    ]
    for node in others:
        node.ready(60)
    last = time.monotonic() + 10
    wait_for("ten seconds alone", lambda: time.monotonic() > last, 15)
    bootstrap.start().ready()
    nodes = [bootstrap, *others]
    wait_for("one network of twenty", lambda: all(n.up() >= 5 for n in nodes) and connected(nodes), 30)

    for node in nodes:
        fleet.listener.subscribe(node)
    check(fleet, nodes, speak(fleet, nodes, MESSAGES, "first"), 60)

    bootstrap.kill()
    check(fleet, others, speak(fleet, others, MESSAGES, "second"), 60)


def test_a_late_joiner_receives_what_it_missed(fleet: Fleet) -> None:
    """Everything that several authors said before it existed is in its history within 30 s."""
    first = fleet.node().start().ready()
    authors = [fleet.node("--bootstrap", first.address).start() for _ in range(AUTHORS - 1)]
    for node in authors:
        node.ready()
        wait_for("linked", lambda node=node: node.up() >= 1, 20)
    fleet.listener.subscribe(first)
    owed = 10 * MESSAGES
    said = speak(fleet, [first, *authors], owed, "before")
    check(fleet, [first], said, 60)
    late = fleet.node("--bootstrap", first.address).start().ready()
    wait_for("it has all", lambda: late.status()["store"]["messages"] >= owed, 30)  # type: ignore[index]
    fleet.listener.subscribe(late, f"topic=%23&history={owed + 1000}")
    check(fleet, [late], said, 30)


def test_a_killed_node_comes_back_as_itself(fleet: Fleet) -> None:
    """Killed with -9 and restarted: it hears what it missed, keeps id and peers, reuses no number, repeats nothing."""
    nodes = [fleet.node().start().ready()]
    nodes += [fleet.node("--bootstrap", nodes[0].address).start().ready() for _ in range(3)]
    wait_for("linked", lambda: all(node.up() >= 3 for node in nodes), 30)
    victim = nodes[2]
    node_id = victim.node_id
    for node in nodes:
        fleet.listener.subscribe(node)
    spoken = speak(fleet, nodes, 200, "before")
    check(fleet, nodes, spoken, 30)
    before = victim.publish("t", "last words")["id"]
    said = {node_id: ["last words"]}
    check(fleet, nodes, said, 30)
    wait_for("stored", lambda: victim.status()["store"]["messages"] >= 201, 10)  # type: ignore[index]
    victim.kill()
    others = [node for node in nodes if node is not victim]
    missed = speak(fleet, others, 200, "meanwhile")
    check(fleet, others, missed, 30)
    victim.start().ready()
    assert victim.node_id == node_id
    wait_for("what it missed", lambda: victim.status()["store"]["messages"] >= 401, 30)  # type: ignore[index]
    fleet.listener.subscribe(victim, "topic=%23&history=1000")
    everything = {author: [*texts, *missed.get(author, [])] for author, texts in spoken.items()}
    everything[node_id].append("last words")
    check(fleet, [victim], everything, 30)
    wait_for("its links", lambda: victim.up() >= 3, 30)
    after = victim.publish("t", "first words")["id"]
    assert after.split(".")[0] == before.split(".")[0] == node_id
    assert int(after.split(".")[1]) > int(before.split(".")[1])
    check(fleet, nodes, {node_id: ["first words"]}, 30)


def test_a_stopped_process_is_gone_and_comes_back(fleet: Fleet) -> None:
    """SIGSTOP: gone at the others within 15 s; SIGCONT: within 15 s it knows on its own side, and is back."""
    nodes = [fleet.node().start().ready()]
    nodes += [fleet.node("--bootstrap", nodes[0].address).start().ready() for _ in range(2)]
    wait_for("linked", lambda: all(node.up() >= 2 for node in nodes), 30)
    victim = nodes[1]
    node_id = victim.node_id
    victim.signal(signal.SIGSTOP)
    others = [nodes[0], nodes[2]]
    wait_for("gone at the others", lambda: all(node_id not in node.peer_ids() for node in others), 16)
    victim.signal(signal.SIGCONT)
    wait_for("back", lambda: all(node_id in node.peer_ids() for node in others) and victim.up() >= 2, 30)


def test_send_reaches_only_its_target(fleet: Fleet) -> None:
    """Over three links, and with an error where there is nobody."""
    first = fleet.node("--discovery", "false").start().ready()
    second = fleet.node("--discovery", "false", "--bootstrap", first.address).start().ready()
    third = fleet.node("--discovery", "false", "--bootstrap", second.address).start().ready()
    wait_for("a chain", lambda: second.up() == 2 and first.up() == third.up() == 1, 20)
    for node in (first, second, third):
        fleet.listener.subscribe(node, "direct=1")
    reply = first.ask("POST", "/v1/send", {"node_id": third.node_id, "data": "hush", "timeout": 10})
    assert reply.get("acknowledged") is True, reply
    heard = fleet.listener.heard
    fleet.listener.until("it arrives", lambda: bool(heard[third.name]), 5)
    assert [message["data"] for message in heard[third.name]] == ["hush"]
    assert heard[first.name] == heard[second.name] == []
    gone = third.node_id
    third.kill()
    reply = first.ask("POST", "/v1/send", {"node_id": gone, "data": "hello?", "timeout": 2})
    assert reply["error"]["code"] == "timeout", reply
