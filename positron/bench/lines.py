"""What a worker speaks: JSON objects, one a line. It is asked on stdin, and answers on stdout.

An answer repeats the name of what was asked under `answer`; what went wrong is under `error`. The process ends when its
stdin does. Its measuring side is `processes`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

Command = Callable[..., Coroutine[Any, Any, dict[str, Any]]]


class Lines(LineOnlyReceiver):
    """Reads commands and writes what came of each. What is asked of it are the public coroutine methods of `worker`."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20

    def __init__(self, reactor: Any, worker: object) -> None:
        self._reactor = reactor
        self._worker = worker

    def lineReceived(self, line: bytes) -> None:
        """Do it, and answer when it is done."""
        given = json.loads(line)
        name = given.pop("ask")
        command: Command = getattr(self._worker, name)
        asked = Deferred.fromCoroutine(command(**given))
        asked.addErrback(_error)
        asked.addCallback(self._answer, name)

    def _answer(self, found: dict[str, Any], name: str) -> None:
        self.sendLine(json.dumps({"answer": name, **found}).encode())

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Whoever measures has what it wants, or is gone."""
        if self._reactor.running:
            self._reactor.stop()


def _error(failure: Failure) -> dict[str, Any]:
    return {"error": f"{failure.type.__name__ if failure.type else 'error'}: {failure.getErrorMessage()}"}


def serve(reactor: Any, worker: object) -> None:
    """Run the reactor for `worker` until stdin ends."""
    StandardIO(Lines(reactor, worker))
    reactor.run()
