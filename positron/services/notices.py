"""Who is told what happens to the node: callbacks and streams of notices.

Rule: a listener's exception is its own. It is logged once with its traceback, and the others hear the notice.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutine

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from positron.core.events import Emit
from positron.core.notices import Notice
from positron.services.streams import NoticeStream


class Listener:
    """One callback for notices. `cancel` ends it."""

    def __init__(self, got: Callable[[Notice], object], listeners: list[Listener]) -> None:
        self.got = got
        self.errors = 0
        self._listeners = listeners

    def cancel(self) -> None:
        """Call it no more."""
        if self in self._listeners:
            self._listeners.remove(self)


class Notices:
    """Performs `Emit`."""

    _log = Logger()

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._streams: list[NoticeStream] = []

    def listen(self, got: Callable[[Notice], object]) -> Listener:
        """Call `got(notice)` for each from now on. A coroutine that it returns is run, and not waited for."""
        if not callable(got):
            raise TypeError("a listener is called with each notice")
        listener = Listener(got, self._listeners)
        self._listeners.append(listener)
        return listener

    def stream(self) -> NoticeStream:
        """An async iterator over all from now on."""
        stream = NoticeStream(self._streams.remove)
        self._streams.append(stream)
        return stream

    def perform(self, action: Emit) -> None:
        """Tell everybody."""
        self.tell(action.notice)

    def tell(self, notice: Notice) -> None:
        """Tell everybody, in the order in which they asked."""
        for listener in tuple(self._listeners):
            # Application code, as in a subscription.
            try:
                result = listener.got(notice)
            except BaseException:
                self._failed(Failure(), listener, notice)
                continue
            if iscoroutine(result):
                result = Deferred.fromCoroutine(result)
            if isinstance(result, Deferred):
                result.addErrback(self._failed, listener, notice)
        for stream in tuple(self._streams):
            stream.give(notice)

    def _failed(self, failure: Failure, listener: Listener, notice: Notice) -> None:
        listener.errors += 1
        if listener.errors == 1:
            self._log.failure("A listener for {kind} raised", failure, kind=type(notice).__name__)

    def finish(self) -> None:
        """The node has stopped: every stream ends once it is read."""
        for stream in tuple(self._streams):
            stream.finish()
