"""Configuration: each option declared once (`options`), read from six places (`sources`), written (`render`).

Rule: no Twisted here. The `positron` command imports this before anything else, and it must answer at once.
"""

from __future__ import annotations

from positron.config.forms import Inbound, Share
from positron.config.kinds import split_address
from positron.config.options import OPTIONS, PROFILES, Config, Option, require_known
from positron.config.places import default_data_dir, make_runtime_dir, runtime_dir
from positron.config.sources import Loaded, load
from positron.core.limits import Rate

__all__ = [
    "OPTIONS",
    "PROFILES",
    "Config",
    "Inbound",
    "Loaded",
    "Option",
    "Rate",
    "Share",
    "default_data_dir",
    "load",
    "make_runtime_dir",
    "require_known",
    "runtime_dir",
    "split_address",
]
