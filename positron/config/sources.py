"""Where an option's value comes from.

Precedence, highest first: flag, `POSITRON_*` environment, `--config FILE`, `DATA_DIR/positron.toml`, profile,
default. Relative paths in a file count from the file's folder, all others from the working directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from positron.config.kinds import nearest
from positron.config.options import OPTIONS, Config, Option, require_known
from positron.config.places import default_data_dir
from positron.errors import ConfigError

ENV_PREFIX = "POSITRON_"
FILE_NAME = "positron.toml"


@frozen
class Loaded:
    """A configuration, and which source each key's value came from."""

    config: Config
    origins: dict[str, str] = field(repr=False)
    """For each key `flag --port`, `environment POSITRON_PORT`, a file's path, `profile lan` or `default`."""


@frozen
class _Source:
    """One place that gives some options: the values as written, and where relative paths count from."""

    name: str
    values: Mapping[str, object]
    folder: str

    def origin(self, option: Option) -> str:
        """This place, as messages call it."""
        if self.name == "flag":
            return f"flag {option.flag}"
        return f"environment {option.env}" if self.name == "environment" else self.name

    def read(self, option: Option) -> Any:
        """The option's value; a wrong one is a ConfigError that names the key and this place."""
        try:
            value = option.read(self.values[option.key])
        except ConfigError as error:
            raise ConfigError(f"{error} ({self.origin(option)})") from None
        if option.is_path and value is not None:
            return os.path.normpath(os.path.join(self.folder, value))
        return value


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    config_file: str | None = None,
    folder: str | None = None,
) -> Loaded:
    """The configuration of a node started from the command line.

    `flags` holds what was given there, by key; None and an empty list mean not given. Without `config_file`,
    POSITRON_CONFIG names it. Relative paths count from `folder`, or else the working directory. Raises ConfigError,
    in one sentence, for an unknown key, a bad value or a file that cannot be read. Nothing is created.
    """
    folder = folder or os.getcwd()
    sources = [
        _Source("flag", _given(flags), folder),
        _Source("environment", _from_environment(environ), folder),
    ]
    path = config_file or environ.get(ENV_PREFIX + "CONFIG")
    if path:
        sources.append(_from_file(os.path.normpath(os.path.join(folder, os.path.expanduser(path)))))
    chosen, origins = _choose(sources)
    if "data_dir" not in chosen:
        named = Config(**{key: chosen[key] for key in ("network", "port") if key in chosen})
        chosen["data_dir"] = default_data_dir(named.network, named.port, environ)
        origins["data_dir"] = "default"
    data_dir = chosen["data_dir"]
    beside = os.path.join(data_dir, FILE_NAME) if data_dir else None
    if beside and os.path.exists(beside):
        _add_below(chosen, origins, _from_file(beside), data_dir)
    config = Config(**chosen)
    for key, option in OPTIONS.items():
        origins.setdefault(key, f"profile {config.profile}" if option.profiles else "default")
    return Loaded(config, {key: origins[key] for key in OPTIONS})


def _given(flags: Mapping[str, object]) -> dict[str, object]:
    """The flags that were given."""
    given = {key: value for key, value in flags.items() if value is not None and value != [] and value != ()}
    for key in given:
        require_known(key)
    return given


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """The options among the environment's variables; an empty one counts as not set.

    A POSITRON_ variable that is no option is refused if it looks like one misspelt, and else left alone: others
    use the prefix too (an editor of that name sets POSITRON_VERSION in its terminals).
    """
    found: dict[str, object] = {}
    for name, text in environ.items():
        key = name.removeprefix(ENV_PREFIX).lower()
        if not name.startswith(ENV_PREFIX) or key == "config":
            continue
        if key in OPTIONS:
            if text:
                found[key] = text
        elif hint := nearest(name, [option.env for option in OPTIONS.values()], cutoff=0.85):
            raise ConfigError(f"unknown option {name} in the environment{hint}")
    return found


def _from_file(path: str) -> _Source:
    """A TOML or JSON file's options."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
        values = _parse(text, path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # what both parsers, and the decoding, raise
        raise ConfigError(f"{path}: {_one_line(error)}") from None
    for key, value in values.items():
        try:
            require_known(key)
        except ConfigError as error:
            raise ConfigError(f"{error} ({path})") from None
        if isinstance(value, dict):
            raise ConfigError(f"{key}: a table, where one value was expected ({path})")
    return _Source(path, values, os.path.dirname(path))


def _parse(text: str, path: str) -> dict[str, object]:
    """The file's top level; each parser is imported only when a file needs it."""
    if not path.endswith(".json"):
        import tomllib

        return tomllib.loads(text)
    import json

    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("the file does not hold a JSON object")
    return values


def _one_line(error: ValueError) -> str:
    return " ".join(str(error).split())


def _choose(sources: list[_Source]) -> tuple[dict[str, Any], dict[str, str]]:
    """Each key's value from the first source that has it, and that source's name."""
    chosen: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, option in OPTIONS.items():
        source = next((source for source in sources if key in source.values), None)
        if source is not None:
            chosen[key] = source.read(option)
            origins[key] = source.origin(option)
    return chosen, origins


def _add_below(chosen: dict[str, Any], origins: dict[str, str], source: _Source, data_dir: str) -> None:
    """Add what the data folder's own file says and nothing above it does."""
    for key in source.values:
        value = source.read(OPTIONS[key])
        if key == "data_dir" and os.path.realpath(value or "") != os.path.realpath(data_dir):
            raise ConfigError(
                f"data_dir: the file inside a data folder cannot name another one ({source.name})"
            )
        if key not in origins:
            chosen[key] = value
            origins[key] = source.name
