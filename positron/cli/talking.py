"""Commands that send and receive: pub, sub, send, events."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from positron.cli.client import Stream
from positron.cli.failures import NO_NODE, TIMED_OUT, CommandFailed
from positron.cli.finding import client
from positron.cli.output import Output, plain, short
from positron.cli.settings import Seconds, Settings, pass_settings, shared

RECEIPT = ("id", "seq", "peers", "stored")
MESSAGE = ("topic", "author", "seq", "data")
MAX_INPUT = 512 * 1024
"""Bytes of one value on stdin. The node accepts requests of this size, so nothing that fits is refused here."""
STORE_SECONDS = 30.0
"""How much longer than any other answer one may take that waits for the disk."""


@click.command("pub")
@click.argument("topic")
@click.argument("data", required=False)
@click.option("--json-data", is_flag=True, help="DATA is JSON, not a string.")
@click.option("--lines", is_flag=True, help="Publish each line of stdin.")
@click.option("--stored", is_flag=True, help="Wait until it is on disk.")
@shared
@pass_settings
def pub_(
    settings: Settings, topic: str, data: str | None, json_data: bool, lines: bool, stored: bool
) -> None:
    """Publish DATA under TOPIC; - reads it from stdin.

    What is not UTF-8 is published as bytes.
    """
    if lines and data not in (None, "-"):
        raise click.UsageError("--lines reads stdin: leave DATA out")
    node, output = client(settings), Output(settings)
    timeout = settings.timeout + (STORE_SECONDS if stored else 0)
    for value in _stdin_lines(json_data) if lines else [_value(data, json_data)]:
        body = {"topic": topic, "data": value, "stored": stored}
        receipt = node.post("/v1/publish", body, timeout)
        output.record(receipt, RECEIPT)
        if receipt["peers"] == 0:
            output.hint("no peers yet: it is kept, and synced to the first one")


@click.command("send")
@click.argument("peer")
@click.argument("data", required=False)
@click.option("--json-data", is_flag=True, help="DATA is JSON, not a string.")
@shared
@pass_settings
def send_(settings: Settings, peer: str, data: str | None, json_data: bool) -> None:
    """Send DATA to one PEER and wait until it acknowledges; - reads it from stdin.

    It is sealed to that peer. --timeout is how long to wait.
    """
    body = {"node_id": peer, "data": _value(data, json_data), "timeout": settings.timeout}
    # The node says by itself when that time is over.
    answer = client(settings).post("/v1/send", body, timeout=settings.timeout + 5)
    Output(settings).record(answer, ("id", "acknowledged", "rtt_seconds"))


@click.command("sub")
@click.argument("topics", nargs=-1, metavar="TOPIC...")
@click.option("--count", type=click.IntRange(1), help="End after so many messages.")
@click.option("--for", "seconds", type=Seconds(), metavar="SECONDS", help="End after this time.")
@click.option("--history", type=click.IntRange(0), default=0, help="First, so many messages from before.")
@click.option("--direct", is_flag=True, help="Direct messages to this node.")
@shared
@pass_settings
def sub_(
    settings: Settings,
    topics: tuple[str, ...],
    count: int | None,
    seconds: float | None,
    history: int,
    direct: bool,
) -> int:
    """Print the messages of each TOPIC as they come.

    A topic may end in /# for everything below it; # alone is everything.
    """
    if not topics and not direct:
        raise click.UsageError("name a TOPIC (# is everything), or say --direct")
    from urllib.parse import urlencode

    query: list[tuple[str, object]] = [("topic", topic) for topic in topics]
    query += [("history", history)] * bool(history) + [("direct", 1)] * direct
    output = Output(settings)
    stream = client(settings).stream(f"/v1/stream?{urlencode(query)}", seconds)
    output.hint("listening on " + " ".join([*topics, *["direct messages"] * direct]))
    return _follow(stream, output, _message, count)


@click.command("events")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@click.option("--for", "seconds", type=Seconds(), metavar="SECONDS", help="End after this time.")
@shared
@pass_settings
def events_(settings: Settings, count: int | None, seconds: float | None) -> int:
    """Print what happens to the node: peers come and go, gaps, refusals."""
    output = Output(settings)
    stream = client(settings).stream("/v1/events", seconds)
    output.hint("listening for events")
    return _follow(stream, output, _event, count)


def _follow(stream: Stream, output: Output, show: Any, count: int | None) -> int:
    """Print a stream until its end, `count` lines or the time; the exit code."""
    shown = 0
    for event, _, data in stream:
        if event == "lagged":
            output.hint(_lagged(data["topic"], data["skipped"]))
            continue
        if output.json:
            output.json_line(data)
        else:
            show(output, data)
        shown += 1
        if shown == count:
            return 0
    if stream.timed_out:
        return TIMED_OUT if count is not None else 0
    output.hint("the node has stopped")
    return NO_NODE


def _lagged(topic: str, skipped: int) -> str:
    """Of messages, those that are stored still come; of events, they are gone."""
    return f"too slow for {topic}: {skipped} left memory" if topic else f"too slow: {skipped} events skipped"


def _message(output: Output, data: dict[str, Any]) -> None:
    """One message as text."""
    if not output.terminal:
        output.row(MESSAGE, data)
        return
    head = output.styled(f"{short(data['author'])} {plain(data['topic'])}".rstrip(), dim=True)
    output.line(f"{head} {plain(data['data'])}")


def _event(output: Output, data: dict[str, Any]) -> None:
    """One event as text."""
    fields = " ".join(
        f"{name}={plain(value)}" for name, value in data.items() if name not in ("event", "time")
    )
    if output.terminal:
        from datetime import datetime

        clock = datetime.fromtimestamp(data["time"]).strftime("%H:%M:%S")
        output.line(
            f"{output.styled(clock, dim=True)} {output.styled(plain(data['event']), bold=True)} {fields}"
        )
    else:
        output.row(("time", "event", "fields"), {**data, "fields": fields})


def _value(data: str | None, json_data: bool) -> object:
    """The value of one DATA argument, as the control API takes it."""
    if data is None:
        raise click.UsageError("DATA is missing; - reads it from stdin")
    if data == "-":
        return _decoded(_bounded(sys.stdin.buffer.read(MAX_INPUT + 1)), json_data)
    return _decoded(data.encode("utf-8", "surrogateescape"), json_data)


def _stdin_lines(json_data: bool) -> Iterator[object]:
    """The value of each line of stdin, as soon as it is there."""
    source: Iterable[bytes] = iter(lambda: sys.stdin.buffer.readline(MAX_INPUT + 1), b"")
    for line in source:
        yield _decoded(_bounded(line).removesuffix(b"\n").removesuffix(b"\r"), json_data)


def _bounded(raw: bytes) -> bytes:
    """What stdin held, unless it was cut off: it may have no end, and the node reads no body of that size."""
    if len(raw) > MAX_INPUT:
        raise CommandFailed(
            "payload_too_large",
            f"stdin holds more than {MAX_INPUT} bytes at once",
            "split the data, or send a reference to it",
        )
    return raw


def _decoded(raw: bytes, json_data: bool) -> object:
    if json_data:
        try:
            return json.loads(raw, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise CommandFailed(
                "usage", f"DATA is not JSON: {error}", "leave --json-data out to send a string"
            ) from None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return {"$bytes": base64.b64encode(raw).decode("ascii")}


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
