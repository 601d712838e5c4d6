"""A program that hosts a node and writes down what it is told: `ID late` or `ID live`, a line for each message.

recorder.py FILE --host HOST --port PORT --data-dir DIR --bootstrap HOST:PORT
"""

from __future__ import annotations

import argparse
import sys
from typing import TextIO

from twisted.application.service import Application, IService
from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver

from positron import Config, Message, Node


def write_down(file: TextIO, message: Message) -> None:
    """One line, which outlives the process from now on."""
    file.write(f"{message.id} {'late' if message.late else 'live'}\n")
    file.flush()


def main() -> None:
    """Run until killed, or ended by SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    for option in ("--host", "--data-dir", "--bootstrap"):
        parser.add_argument(option, required=True)
    parser.add_argument("--port", required=True, type=int)
    options = parser.parse_args()
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    config = Config(
        host=options.host, port=options.port, data_dir=options.data_dir, bootstrap=[options.bootstrap]
    )
    with open(options.file, "a") as file:
        node = Node(reactor, config)
        node.subscribe("#", lambda message: write_down(file, message))
        application = Application("recorder")
        node.setServiceParent(application)
        IService(application).privilegedStartService()
        IService(application).startService()
        reactor.addSystemEventTrigger("before", "shutdown", IService(application).stopService)
        reactor.run()


if __name__ == "__main__":
    main()
