"""What each route answers: the node's values as the JSON that the command prints with `--json`.

A view takes the node and a `Call` and returns a JSON object, or a coroutine of one. The names of the fields are
promised (docs/operating.rst); fields may be added, never renamed.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable
from typing import Any

from attrs import asdict

from positron.config.render import as_native
from positron.control import values
from positron.control.calls import Call
from positron.control.problems import Problem, bad_request
from positron.core.identity import TEXT_SIZE
from positron.errors import UnknownPeer

MIN_PREFIX = 4
MAX_TIMEOUT = 3600.0
MAX_BAN = 366 * 86400.0
ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")

# --------------------------------------------------------------------------------------------------- reading


def status(node: Any, call: Call) -> dict[str, Any]:
    """GET /v1/status."""
    return dict(node.status())


def identity(node: Any, call: Call) -> dict[str, Any]:
    """GET /v1/id."""
    return {"node_id": node.node_id, "address": node.address}


def peers(node: Any, call: Call) -> dict[str, Any]:
    """GET /v1/peers: the links; with `?all=1` everyone known."""
    found = node.known_peers() if call.asks("all") else node.peers()
    return {"peers": [asdict(peer) for peer in found]}


def topics(node: Any, call: Call) -> dict[str, Any]:
    """GET /v1/topics."""
    return {"topics": [asdict(topic) for topic in node.topics()]}


def stats(node: Any, call: Call) -> dict[str, Any]:
    """GET /v1/stats."""
    return asdict(node.stats())


def trust(node: Any, call: Call) -> dict[str, Any]:
    """GET /v1/trust."""
    return {"peers": [asdict(view) for view in node.trust()]}


async def trust_of(node: Any, call: Call) -> dict[str, Any]:
    """GET /v1/trust/ID: its parts, and as `events` the newest changes (`?limit=`, 100)."""
    node_id = resolve(node, call.path["id"])
    limit = call.count("limit", 100, 10_000)
    view = asdict(node.trust(node_id))
    return {**view, "events": list(await node.trust_history(node_id, limit=limit))}


def config(node: Any, call: Call) -> dict[str, Any]:
    """GET /v1/config: every option's value, as a configuration file would hold it."""
    return {"config": as_native(node.config)}


async def message(node: Any, call: Call) -> dict[str, Any]:
    """GET /v1/messages/ID."""
    found = await asked(lambda: node.message(call.path["id"]))
    if found is None:
        raise Problem(
            404, "unknown_message", "no such message is known here", "ids look like AUTHOR.EPOCH.SEQ"
        )
    return {"id": call.path["id"], **found}


# -------------------------------------------------------------------------------------------------- changing


async def publish(node: Any, call: Call) -> dict[str, Any]:
    """POST /v1/publish {topic, data, stored}. With `stored` the answer waits until it is on disk."""
    call.only("topic", "data", "stored")
    topic, data, wait = call.text("topic"), _data(call), call.flag("stored")
    receipt = await asked(lambda: node.publish(topic, data))
    if wait:
        await receipt.stored
    return {"id": receipt.id, "seq": receipt.seq, "peers": receipt.peers, "stored": wait}


async def send(node: Any, call: Call) -> dict[str, Any]:
    """POST /v1/send {node_id, data, timeout}: a direct message, answered once it is acknowledged."""
    call.only("node_id", "data", "timeout")
    recipient, data = resolve(node, call.text("node_id")), _data(call)
    timeout = call.number("timeout", 0.001, MAX_TIMEOUT, 10.0)
    acknowledgement = await asked(lambda: node.send(recipient, data, timeout=timeout))
    return {
        "id": acknowledgement.id,
        "acknowledged": True,
        "rtt_seconds": acknowledgement.rtt_seconds,
    }


def add_peer(node: Any, call: Call) -> dict[str, Any]:
    """POST /v1/peers {address}: dial it, once."""
    call.only("address")
    address = call.text("address")
    asked(lambda: node.add_peer(address))
    return {"address": address}


def drop_peer(node: Any, call: Call) -> dict[str, Any]:
    """POST /v1/peers/ID/drop: end the link."""
    call.only()
    node_id = resolve(node, call.path["id"])
    node.drop_peer(node_id)
    return {"node_id": node_id}


def ban_peer(node: Any, call: Call) -> dict[str, Any]:
    """POST /v1/peers/ID/ban {seconds}; 0 lifts a ban."""
    call.only("seconds")
    node_id = resolve(node, call.path["id"])
    seconds = call.number("seconds", 0.0, MAX_BAN)
    asked(lambda: node.ban_peer(node_id, seconds))
    return {"node_id": node_id, "seconds": seconds}


def forget_peer(node: Any, call: Call) -> dict[str, Any]:
    """POST /v1/peers/ID/forget: remove what is known of it."""
    call.only()
    node_id = resolve(node, call.path["id"])
    node.forget_peer(node_id)
    return {"node_id": node_id}


async def ping_peer(node: Any, call: Call) -> dict[str, Any]:
    """POST /v1/peers/ID/ping: the round trip over the link."""
    call.only()
    node_id = resolve(node, call.path["id"])
    return {"node_id": node_id, "rtt_seconds": await node.ping(node_id)}


def set_trust(node: Any, call: Call) -> dict[str, Any]:
    """POST /v1/trust/ID {score}: the operator's verdict, 0 to 1."""
    call.only("score")
    node_id = resolve(node, call.path["id"])
    score = call.number("score", 0.0, 1.0)
    asked(lambda: node.set_trust(node_id, score))
    return {"node_id": node_id, "score": score}


async def backup(node: Any, call: Call) -> dict[str, Any]:
    """POST /v1/backup {file}: a copy of the database in a new file, under an absolute path of this computer."""
    call.only("file")
    file = call.text("file")
    if not os.path.isabs(file) or "\0" in file:
        raise bad_request("file must be an absolute path")
    return {"file": file, "bytes": await node.backup(file)}


def reload(node: Any, call: Call) -> dict[str, Any]:
    """POST /v1/reload: read the configuration again."""
    call.only()
    node.reload()
    return {"reloaded": True}


# --------------------------------------------------------------------------------------------------- helpers


def message_line(message: Any) -> dict[str, Any]:
    """One message as a line of `sub --json`.

    Data that JSON cannot hold (NaN, keys that are no strings) becomes its msgpack, as `{"$msgpack": base64}`: a
    peer may send it, and dropping it in silence would be worse.
    """
    try:
        data = values.to_json(message.data)
    except ValueError:
        data = {"$msgpack": base64.b64encode(message.payload).decode("ascii")}
    return {
        "id": message.id,
        "topic": message.topic,
        "author": message.author,
        "seq": message.seq,
        "created": message.created,
        "received": message.received,
        "hops": message.hops,
        "late": message.late,
        "data": data,
    }


def resolve(node: Any, text: str) -> str:
    """The node id that `text` is or begins. A whole id need not be known.

    Raises `Problem` for what cannot be an id and `UnknownPeer` for a beginning that fits none or several.
    """
    wanted = text.lower()
    if len(wanted) < MIN_PREFIX or len(wanted) > TEXT_SIZE or not ALPHABET.issuperset(wanted):
        raise bad_request(
            "a peer is named by its id, or by the first 4 characters of it or more",
            "list them with `positron peers`",
        )
    if len(wanted) == TEXT_SIZE:
        return wanted
    found = {node_id for node_id in _known_ids(node) if node_id.startswith(wanted)}
    if len(found) == 1:
        return found.pop()
    if not found:
        raise UnknownPeer(f"no peer's id begins with {wanted}")
    raise UnknownPeer(f"{wanted} is the beginning of {', '.join(sorted(found)[:10])}")


def _known_ids(node: Any) -> Iterable[str]:
    yield node.node_id
    for known in (*node.known_peers(), *node.peers()):
        yield known.node_id


def _data(call: Call) -> object:
    """The field `data` as the application's value."""
    try:
        return values.from_json(call.field("data"))
    except ValueError as error:
        raise bad_request(f"data: {error}") from None


def asked(ask: Callable[[], Any]) -> Any:
    """What the node answers to a caller whose arguments it refuses with ValueError or TypeError."""
    try:
        return ask()
    except (ValueError, TypeError) as error:
        raise bad_request(str(error)) from None
