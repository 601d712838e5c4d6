"""Configurations and the options themselves as text: TOML, JSON, JSON schema, the documentation's table."""

from __future__ import annotations

from typing import Any

from positron.config.options import OPTIONS, Config, Option


def as_native(config: Config) -> dict[str, object]:
    """Every option's value as JSON can hold it; `Config(**as_native(config)) == config`."""
    return {key: option.kind.native(getattr(config, key)) for key, option in OPTIONS.items()}


def as_text(config: Config) -> dict[str, str]:
    """Every option's value as a person would type it."""
    return {key: option.kind.show(getattr(config, key)) for key, option in OPTIONS.items()}


def to_toml(config: Config) -> str:
    """A file that gives this configuration: what differs from the defaults is set, the rest is a comment."""
    plain = Config(profile=config.profile)
    lines = ["# A positron configuration. `positron config check` reads it; flags and POSITRON_* outrank it."]
    for key, option in OPTIONS.items():
        value = getattr(config, key)
        mark = "" if value != getattr(plain, key) else "# "
        lines += ["", f"# {option.help}", f"{mark}{key} = {_toml(option.kind.native(value))}"]
    return "\n".join(lines) + "\n"


def to_json(config: Config) -> str:
    """A JSON file that gives this configuration."""
    import json

    return json.dumps(as_native(config), indent=2) + "\n"


def schema() -> dict[str, Any]:
    """The JSON schema of a configuration file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "positron configuration",
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _property(option) for key, option in OPTIONS.items()},
    }


def options_table() -> str:
    """The documentation's page of options, docs/options.rst."""
    lines = [
        "Options",
        "=======",
        "",
        ".. This page is made by `make options` from positron/config/options.py.",
        "",
        "Highest first: flag, environment, ``--config FILE`` (TOML or JSON), ``positron.toml`` in the data folder,",
        "profile, default. The key is the name in files; the flag is ``--`` and the key with hyphens, the",
        "environment variable ``POSITRON_`` and the key in capitals. Lists are repeated flags, or comma-separated in",
        "the environment. Relative paths in a file count from the file's folder.",
        "",
        "Durations are written ``90``, ``90s``, ``5m``, ``24h`` or ``7d``; sizes in bytes or with ``KiB``, ``MiB``",
        "or ``GiB``; pairs as ``200/800``.",
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 20 30 25 25",
        "",
        "   * - key",
        "     - meaning",
        "     - value",
        "     - default",
    ]
    for option in OPTIONS.values():
        cells = (f"``{option.key}``", option.help, option.kind.describe(), _default(option))
        lines += [f"   {mark} - {cell}" for mark, cell in zip("*   ", cells, strict=True)]
    return "\n".join(lines) + "\n"


def _default(option: Option) -> str:
    """The default as a cell of the table."""
    if option.profiles:
        return ", ".join(f"``{text}`` ({name})" for name, text in option.profile_texts().items())
    return option.default_text() if option.shown else f"``{option.default_text()}``"


def _property(option: Option) -> dict[str, object]:
    """One option in the schema."""
    described: dict[str, object] = {"description": option.help, **option.kind.schema()}
    if option.default is not None:
        described["default"] = option.kind.native(option.kind.read(option.default))
    return described


def _toml(value: object) -> str:
    """A value as TOML writes it: its strings, numbers, booleans and lists are also JSON's."""
    import json

    return json.dumps(value, ensure_ascii=False)
