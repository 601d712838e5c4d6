"""Commands about files, which need no running node: config, key, completion, version."""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Any

import click

from positron.cli.failures import CommandFailed
from positron.cli.launching import given, node_options
from positron.cli.output import Column, Output
from positron.cli.settings import Settings, pass_settings, shared
from positron.config import Loaded, load
from positron.config.render import as_native, as_text, schema, to_json, to_toml


def _loaded(settings: Settings, config_file: str | None, values: dict[str, Any]) -> Loaded:
    """The configuration that a node started with these flags would have."""
    return load(given(settings, values), os.environ, config_file)


@click.group("config")
def config_() -> None:
    """Show, check or make a configuration."""


@config_.command("show")
@click.option("--origin", is_flag=True, help="Where each value comes from.")
@node_options
@shared
@pass_settings
def show(settings: Settings, origin: bool, config_file: str | None, **values: Any) -> None:
    """Show the configuration that a node started with these options would have."""
    loaded = _loaded(settings, config_file, values)
    output = Output(settings)
    if output.json:
        body: dict[str, Any] = {"config": as_native(loaded.config)}
        output.object({**body, "origins": loaded.origins} if origin else body)
        return
    rows = [
        {"key": key, "value": value, "origin": loaded.origins[key]}
        for key, value in as_text(loaded.config).items()
    ]
    columns = [
        Column("key", "KEY"),
        Column("value", "VALUE"),
        *([Column("origin", "ORIGIN")] if origin else []),
    ]
    output.table({"config": rows}, "config", columns)


@config_.command("check")
@click.argument("file")
@shared
@pass_settings
def check(settings: Settings, file: str) -> None:
    """Say whether a node would accept this FILE."""
    config = load({}, {}, file).config
    Output(settings).record(
        {"file": file, "network": config.network, "port": config.port}, ("file", "network", "port")
    )


def _generate(settings: Settings, form: str, config_file: str | None, values: dict[str, Any]) -> None:
    """Print a configuration file."""
    config = _loaded(settings, config_file, values).config
    sys.stdout.write(to_json(config) if form == "json" or settings.json else to_toml(config))


@config_.command("generate")
@click.option("--format", "form", type=click.Choice(["toml", "json"]), default="toml", help="[toml]")
@node_options
@shared
@pass_settings
def generate(settings: Settings, form: str, config_file: str | None, **values: Any) -> None:
    """Print a configuration file with these options in it, and all others as comments."""
    _generate(settings, form, config_file, values)


@click.command("generate-config")
@click.argument("output", required=False)
@click.option("--format", "form", type=click.Choice(["toml", "json"]), help="by OUTPUT's name, else toml")
@node_options
@shared
@pass_settings
def generate_config_(
    settings: Settings, output: str | None, form: str | None, config_file: str | None, **values: Any
) -> None:
    """Print a configuration file, or write it to OUTPUT: an older name of `config generate`."""
    form = form or ("json" if output is not None and output.endswith(".json") else "toml")
    if output is None:
        _generate(settings, form, config_file, values)
        return
    config = _loaded(settings, config_file, values).config
    try:
        with open(output, "x", encoding="utf-8") as file:
            file.write(to_json(config) if form == "json" else to_toml(config))
    except OSError as error:
        raise CommandFailed(
            "config", f"{output}: {error.strerror}", "name a file that does not exist yet"
        ) from None
    click.echo(output)


@config_.command("schema")
def schema_() -> None:
    """Print the JSON schema of a configuration file."""
    click.echo(json.dumps(schema(), indent=2))


@click.group("key")
def key_() -> None:
    """Show or replace the node's key; make a closed network's secret."""


@key_.command("show")
@node_options
@shared
@pass_settings
def show_key(settings: Settings, config_file: str | None, **values: Any) -> None:
    """Show the node id of a key file, without opening its secret."""
    from positron.core.identity import to_text
    from positron.store.keyfile import node_id_of

    path = _loaded(settings, config_file, values).config.identity_path
    if path is None:
        raise CommandFailed("config", "a node in memory keeps no key", "give --data-dir or --identity-file")
    body = {"node_id": to_text(node_id_of(path)), "identity_file": path}
    Output(settings).record(body, ("node_id", "identity_file"))


@key_.command("rotate")
@node_options
@shared
@pass_settings
def rotate(settings: Settings, config_file: str | None, **values: Any) -> None:
    """Give a stopped node a new key, and so a new node id; the old key file stays beside it.

    To others the node is a stranger then: its trust begins anew, and it needs new entries in member files and pins.
    """
    from positron.checks import passphrase
    from positron.core.identity import SEED_SIZE, to_text
    from positron.store import keyfile
    from positron.store.folder import DataFolder

    config = _loaded(settings, config_file, values).config
    if config.data_dir is None or config.identity_path is None:
        raise CommandFailed("config", "a node in memory keeps no key", "give --data-dir")
    previous = to_text(keyfile.node_id_of(config.identity_path))
    held = DataFolder(config.data_dir)
    held.lock()
    try:
        identity, kept = keyfile.replace(config.identity_path, os.urandom(SEED_SIZE), passphrase(config))
    finally:
        held.unlock()
    body = {"node_id": to_text(identity.node_id), "previous": previous, "previous_file": kept}
    Output(settings).record(body, ("node_id", "previous", "previous_file"))


@key_.command("secret")
@node_options
@shared
@pass_settings
def secret(settings: Settings, config_file: str | None, **values: Any) -> None:
    """Put a new secret into --secret-file, above the newest one that is there.

    Give all nodes the file with both, one after another and in any order; when all have it, remove the second line.
    """
    path = _loaded(settings, config_file, values).config.secret_file
    if path is None:
        raise CommandFailed("config", "which file?", "give --secret-file")
    lines = [_new_secret(), *_newest_secret(path)]
    try:
        _replace(path, "".join(line + "\n" for line in lines))
    except OSError as error:
        raise CommandFailed(
            "config", f"{path} cannot be written ({error.strerror})", "name another file"
        ) from None
    Output(settings).record({"secret_file": path, "secrets": len(lines)}, ("secret_file", "secrets"))


def _new_secret() -> str:
    """256 random bits in base32, as short as it gets."""
    return base64.b32encode(os.urandom(32)).decode("ascii").rstrip("=").lower()


def _newest_secret(path: str) -> list[str]:
    """The first secret in the file; none if there is no file yet."""
    try:
        with open(path, encoding="utf-8") as file:
            bare = [line.partition("#")[0].strip() for line in file]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError):
        raise CommandFailed("config", f"{path} cannot be read", "move it away to begin anew") from None
    return [line for line in bare if line][:1]


def _replace(path: str, text: str) -> None:
    """Write a file that only its owner may read; it is the old one or the new one at any moment."""
    partial = f"{path}.{os.urandom(4).hex()}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_(shell: str) -> None:
    """Print a script that completes this command: source <(positron completion bash)."""
    from click.shell_completion import get_completion_class

    from positron.cli.app import command

    completion = get_completion_class(shell)
    if completion is None:
        raise CommandFailed("usage", f"{shell} is not known here", "bash, zsh or fish")
    for name in ("positron", "dnet"):
        click.echo(completion(command, {}, name, f"_{name.upper()}_COMPLETE").source())


@click.command("version")
def version_() -> None:
    """Print the version."""
    from positron import __version__

    click.echo(f"positron {__version__}")
