"""Commands about peers: peers, trust, ping."""

from __future__ import annotations

from typing import Any

import click

from positron.cli.client import part
from positron.cli.finding import client
from positron.cli.output import Column, Output, short, size, span, trip
from positron.cli.settings import Seconds, Settings, pass_settings, shared

PEER_COLUMNS = (
    Column("node_id", "PEER", short),
    Column("address", "ADDRESS"),
    Column("direction", "DIR"),
    Column("state", "STATE"),
    Column("trust", "TRUST", lambda trust: f"{trust:.2f}"),
    Column("rtt_seconds", "RTT", trip),
    Column("messages_in_total", "IN"),
    Column("messages_out_total", "OUT"),
    Column("bytes_in_total", "BYTES IN", size),
    Column("bytes_out_total", "BYTES OUT", size),
    Column("connected_seconds", "SINCE", span),
)

TRUST_COLUMNS = (
    Column("node_id", "PEER", short),
    Column("trust", "TRUST", lambda trust: f"{trust:.3f}"),
    Column("first_hand", "FIRST-HAND", lambda score: f"{score:.3f}"),
    Column("opinion", "OPINION", lambda score: f"{score:.3f}"),
    Column("uptime", "LINKED", span),
    Column("valid", "VALID"),
    Column("invalid", "INVALID"),
    Column("responsiveness", "ANSWERS", trip),
    Column("bans", "BANS"),
)

HISTORY_COLUMNS = (
    Column("time", "TIME", lambda seconds: _clock(seconds)),
    Column("cause", "CAUSE"),
    Column("count", "COUNT"),
    Column("delta", "DELTA", lambda delta: f"{delta:+.4f}"),
    Column("before", "BEFORE", lambda score: f"{score:.4f}"),
    Column("after", "AFTER", lambda score: f"{score:.4f}"),
)


@click.group("peers", invoke_without_command=True)
@click.option("--all", "everyone", is_flag=True, help="Also those that are not linked.")
@shared
@click.pass_context
def peers_(context: click.Context, everyone: bool) -> None:
    """List the peers, or add, drop, ban or forget one.

    A peer is named by its id, or by the first 4 characters of it or more.
    """
    if context.invoked_subcommand is None:
        settings = context.ensure_object(Settings)
        body = client(settings).get("/v1/peers", **({"all": 1} if everyone else {}))
        Output(settings).table(body, "peers", PEER_COLUMNS)


@peers_.command("add")
@click.argument("address")
@shared
@pass_settings
def add(settings: Settings, address: str) -> None:
    """Dial an ADDRESS (host:port)."""
    Output(settings).record(client(settings).post("/v1/peers", {"address": address}), ("address",))


def _verdict(settings: Settings, peer: str, verb: str, body: dict[str, Any] | None = None) -> None:
    """Say something about one peer to the node, and print what it answers."""
    answer = client(settings).post(f"/v1/peers/{part(peer)}/{verb}", body)
    Output(settings).record(answer, [name for name in answer if name != "schema"])


@peers_.command("drop")
@click.argument("peer")
@shared
@pass_settings
def drop(settings: Settings, peer: str) -> None:
    """End the link to PEER."""
    _verdict(settings, peer, "drop")


@peers_.command("ban")
@click.argument("peer")
@click.option(
    "--for", "seconds", type=Seconds(), default=3600.0, metavar="SECONDS", help="How long; 0 lifts it. [1h]"
)
@shared
@pass_settings
def ban(settings: Settings, peer: str, seconds: float) -> None:
    """End the link to PEER and refuse it for a while."""
    _verdict(settings, peer, "ban", {"seconds": seconds})


@peers_.command("forget")
@click.argument("peer")
@shared
@pass_settings
def forget(settings: Settings, peer: str) -> None:
    """Remove what is known of PEER: addresses, trust, bans."""
    _verdict(settings, peer, "forget")


@click.command("trust")
@click.argument("peer", required=False)
@click.option("--history", is_flag=True, help="The changes that led to it.")
@click.option(
    "--set", "score", type=click.FloatRange(0, 1), metavar="SCORE", help="Set the first-hand score."
)
@shared
@pass_settings
def trust_(settings: Settings, peer: str | None, history: bool, score: float | None) -> None:
    """Show what the node thinks of its peers, or of one PEER and why."""
    node, output = client(settings), Output(settings)
    if peer is None:
        if history or score is not None:
            raise click.UsageError("name the PEER")
        output.table(node.get("/v1/trust"), "peers", TRUST_COLUMNS)
        return
    path = f"/v1/trust/{part(peer)}"
    if score is not None:
        output.record(node.post(path, {"score": score}), ("node_id", "score"))
        return
    body = node.get(path)
    if history or settings.json:
        output.table(body, "events", HISTORY_COLUMNS)
    else:
        output.object({name: value for name, value in body.items() if name != "events"})


@click.command("ping")
@click.argument("peer")
@click.option("--count", type=click.IntRange(1), default=1, help="How often. [1]")
@shared
@pass_settings
def ping_(settings: Settings, peer: str, count: int) -> None:
    """Measure the round trip to a linked PEER."""
    node, output = client(settings), Output(settings)
    for _ in range(count):
        output.record(node.post(f"/v1/peers/{part(peer)}/ping"), ("node_id", "rtt_seconds"))


def _clock(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
