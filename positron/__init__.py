"""What an application imports.

The names below are promised (docs/changelog says how they change); everything else is importable but
not promised. Each is resolved when first used (PEP 562), so `import positron` costs no Twisted and never
installs a reactor.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from positron.config import Config as Config
    from positron.core.notices import ClockSkewed as ClockSkewed
    from positron.core.notices import Gap as Gap
    from positron.core.notices import Lagged as Lagged
    from positron.core.notices import PeerDown as PeerDown
    from positron.core.notices import PeerUp as PeerUp
    from positron.core.notices import Ready as Ready
    from positron.core.notices import Recovered as Recovered
    from positron.core.notices import Refused as Refused
    from positron.core.notices import TrustChanged as TrustChanged
    from positron.errors import ClockSkew as ClockSkew
    from positron.errors import ConfigError as ConfigError
    from positron.errors import DeliveryTimeout as DeliveryTimeout
    from positron.errors import IdentityError as IdentityError
    from positron.errors import NoPeers as NoPeers
    from positron.errors import NotRunning as NotRunning
    from positron.errors import PayloadTooLarge as PayloadTooLarge
    from positron.errors import PositronError as PositronError
    from positron.errors import StoreError as StoreError
    from positron.errors import UnknownPeer as UnknownPeer
    from positron.node import Node as Node
    from positron.services.values import Message as Message
    from positron.services.values import Receipt as Receipt

__version__ = "0.1.0"

_HOME = {
    "Node": "positron.node",
    "Config": "positron.config",
    **dict.fromkeys(("Message", "Receipt"), "positron.services.values"),
    **dict.fromkeys(
        (
            "PeerUp",
            "PeerDown",
            "TrustChanged",
            "Gap",
            "Recovered",
            "Lagged",
            "Refused",
            "ClockSkewed",
            "Ready",
        ),
        "positron.core.notices",
    ),
    **dict.fromkeys(
        (
            "PositronError",
            "NoPeers",
            "PayloadTooLarge",
            "NotRunning",
            "UnknownPeer",
            "DeliveryTimeout",
            "ClockSkew",
            "ConfigError",
            "StoreError",
            "IdentityError",
        ),
        "positron.errors",
    ),
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    """Import what was asked for, once; an unknown name is an AttributeError as everywhere."""
    if name not in _HOME:
        raise AttributeError(f"module 'positron' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    """Show the promised names before they are resolved, too."""
    return sorted({*globals(), *__all__})
