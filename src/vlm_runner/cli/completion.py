"""completion: what a shell asks while somebody types; nothing heavy is imported for an answer."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Final

import click
from click.shell_completion import get_completion_class

from vlm_runner.errors import UsageError

WHERE: Final = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/config.fish"}


@click.command()
@click.argument("shell", metavar="SHELL", type=click.Choice([*WHERE]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for bash, zsh or fish.

    \b
    Example:
        echo 'source <(vlm-runner completion bash)' >> ~/.bashrc
        echo 'source <(vlm-runner completion zsh)' >> ~/.zshrc
        echo 'vlm-runner completion fish | source' >> ~/.config/fish/config.fish
    """
    made = get_completion_class(shell)
    if made is None:
        raise UsageError(f"No completion for {shell}.")
    root = ctx.find_root().command
    # Not `source()`, which starts a bash only to look at its version.
    template = made(root, {}, "vlm-runner", "_VLM_RUNNER_COMPLETE")
    click.echo(template.source_template % template.source_vars())


def complete_models(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The models of the package's own catalogue."""
    text = (files("vlm_runner") / "models" / "catalogue.toml").read_text(encoding="utf-8")
    return [name for name in tomllib.loads(text)["models"] if name.startswith(incomplete)]


def complete_phases(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from vlm_runner.core.phases import Phase  # noqa: PLC0415 - not for --help

    return [phase for phase in Phase if phase.startswith(incomplete)]
