"""Commands that show something of a running node: status, id, topics, stats, trace."""

from __future__ import annotations

import time
from typing import Any

import click

from positron.cli.client import part
from positron.cli.failures import CommandFailed
from positron.cli.finding import client
from positron.cli.output import Column, Output, size, span, visible
from positron.cli.settings import Seconds, Settings, pass_settings, shared

POLL_SECONDS = 0.1


@click.command("status")
@click.option("--wait", type=Seconds(), metavar="SECONDS", help="Wait until the node is ready.")
@shared
@pass_settings
def status_(settings: Settings, wait: float | None) -> None:
    """Show what the node is doing."""
    body = client(settings).get("/v1/status") if wait is None else _when_ready(settings, wait)
    output = Output(settings)
    if output.terminal:
        output.object(summary(body))
    else:
        output.object(body)


def _when_ready(settings: Settings, seconds: float) -> dict[str, Any]:
    """The status once it says ready; a node that is not there yet is waited for, too."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            body = client(settings).get("/v1/status")
            if body["ready"]:
                return body
        except CommandFailed as error:
            if error.code not in ("no_node", "not_running", "timeout"):
                raise
        if time.monotonic() >= deadline:
            raise CommandFailed("timeout", f"the node was not ready within {seconds:g} s", "its log says why")
        time.sleep(POLL_SECONDS)


def summary(body: dict[str, Any]) -> dict[str, str]:
    """Status for people, a line for each subject."""
    peers, messages, store = body["peers"], body["messages"], body["store"]
    skew = body["clock_skew_seconds"]
    summary = {
        "node": body["node_id"],
        "network": f"{body['network']} ({'ready' if body['ready'] else 'not ready'})",
        "version": f"{body['version']}, up for {span(body['uptime_seconds'])}",
        "listens on": ", ".join(body["listen"]),
        "peers": f"{peers['up']} up ({peers['outbound']} out, {peers['inbound']} in), {peers['suspect']} suspect, "
        f"{peers['known']} known, {peers['banned']} banned",
        "messages": ", ".join(f"{count} {name.removesuffix('_total')}" for name, count in messages.items()),
        "rejected": ", ".join(f"{count} {reason}" for reason, count in body["rejected"].items()),
        "store": f"{store['messages']} messages in {store['envelopes']} envelopes, {size(store['bytes'])}",
        "clock": f"{skew:+.3f} s against the peers" if skew else "",
    }
    return {name: visible(text) for name, text in summary.items() if text}


@click.command("id")
@shared
@pass_settings
def id_(settings: Settings) -> None:
    """Show the node's id and address."""
    Output(settings).record(client(settings).get("/v1/id"), ("node_id", "address"))


@click.command("topics")
@shared
@pass_settings
def topics_(settings: Settings) -> None:
    """List the topics the node has heard of."""
    columns = (
        Column("topic", "TOPIC"),
        Column("subscribers", "SUBSCRIBERS"),
        Column("messages_total", "MESSAGES"),
    )
    Output(settings).table(client(settings).get("/v1/topics"), "topics", columns)


@click.command("stats")
@shared
@pass_settings
def stats_(settings: Settings) -> None:
    """Show all counters."""
    Output(settings).object(client(settings).get("/v1/stats"))


@click.command("trace")
@click.argument("message")
@shared
@pass_settings
def trace_(settings: Settings, message: str) -> None:
    """Show what the node knows of a MESSAGE (AUTHOR.EPOCH.SEQ)."""
    Output(settings).object(client(settings).get(f"/v1/messages/{part(message)}"))
