"""Commands whose modules are imported on use; see "Lazily Loading Subcommands" in click's documentation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.shell_completion import CompletionItem


_OVERVIEW: Final = "vlm_runner.overview"


class LazyCommand(NamedTuple):
    """Where a command is (`package.module:name`), and the first sentence of its help."""

    path: str
    summary: str


class LazyGroup(click.Group):
    """A group that lists its commands, under the headings of `lazy`, without importing them."""

    def __init__(self, *args: Any, lazy: Mapping[str, Mapping[str, LazyCommand]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections = lazy
        self._lazy = {name: command for section in lazy.values() for name, command in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        if (lazy := self._lazy.get(cmd_name)) is None:
            return None
        module, _, name = lazy.path.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click's, without importing every command whose name fits."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 -- of no other command's use

        flags = click.Command.shell_complete(self, ctx, incomplete)
        found = [item for item in self._lazy.items() if item[0].startswith(incomplete)]
        return [*(CompletionItem(name, help=each.summary) for name, each in found), *flags]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_OVERVIEW] = not args
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without any word only the commands, as an overview."""
        if not ctx.meta[_OVERVIEW]:
            super().format_help(ctx, formatter)
            return
        self.format_help_text(ctx, formatter)
        self.format_commands(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(f"More: {ctx.command_path} --help, {ctx.command_path} COMMAND --help")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - the same
        width = max(map(len, self._lazy))
        for title, commands in self._sections.items():
            with formatter.section(title):
                # Padded, so that the summaries of all sections are aligned.
                formatter.write_dl([(name.ljust(width), each.summary) for name, each in commands.items()])
