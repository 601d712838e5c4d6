"""What a process has spent so far."""

from __future__ import annotations

import os
import resource
import socket
import struct
import sys
from collections.abc import Iterable
from typing import Any

_PACKET = 52
"""Bytes of the headers of IPv4 and TCP (with timestamps, as Linux sends them) on each packet."""
_SENT = struct.Struct("136xI60xQ")
"""`segs_out` and `bytes_sent` of Linux's `struct tcp_info` (linux/tcp.h, from 4.19 on)."""


def cpu_seconds() -> float:
    """CPU time of this process, all threads, user and system."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def resident_bytes() -> int:
    """Memory of this process that is in use now; where that cannot be read (no /proc), the most that ever was."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def wire_bytes(selectables: Iterable[Any]) -> int | None:
    """What the TCP connections among a reactor's `selectables` have sent: TLS and the headers of TCP and IP included.

    None where the kernel does not tell.
    """
    if not sys.platform.startswith("linux"):
        return None
    total = 0
    for one in selectables:
        handle = getattr(one, "socket", None)
        if not isinstance(handle, socket.socket) or handle.type != socket.SOCK_STREAM:
            continue
        if handle.family not in (socket.AF_INET, socket.AF_INET6):
            continue
        told = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        if len(told) < _SENT.size:
            return None
        packets, content = _SENT.unpack_from(told)
        total += content + packets * _PACKET
    return total
