"""How ``--help`` looks: plain lines that can be copied, no boxes and no names of types."""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import copy
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_name

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of every command's context."""


def write(command: Any, context: Any, formatter: Any, commands: list[tuple[str, str]]) -> None:
    """The help of a command: its usage, what it does, its arguments, its options, its commands, an example."""
    parameters = command.get_params(context)
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    wanted = [name_of(one) if one.required else f"[{name_of(one)}]" for one in arguments]
    formatter.write_usage(context.command_path, " ".join(["[OPTIONS]", *wanted, *(["COMMAND …"] if commands else [])]))
    formatter.write_paragraph()
    formatter.write_text(command.help or "")
    tables = {
        "Arguments": [(name_of(one), one.help or "") for one in arguments],
        "Options": [(name_of(one), told(one)) for one in parameters if one.param_type_name == "option"],
        "Commands": commands,
    }
    for title, rows in tables.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows, col_max=26)
    if command.epilog:
        formatter.write_paragraph()
        formatter.write(f"{command.epilog}\n")  # on one line, so that it can be copied


def name_of(parameter: Any) -> str:
    """``DATA``, ``--shots K``, ``-h, --help``: what is typed for an argument or an option."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    names = ", ".join(sorted(parameter.opts, key=len))
    return names if parameter.is_flag else f"{names} {parameter.metavar or parameter.name.upper()}"


def told(option: Any) -> str:
    """The option's help, with its default where that says anything."""
    plain = option.is_flag or option.default is None or option.default == "" or callable(option.default)
    return str(option.help or "") + ("" if plain else f"  [default: {option.default}]")


class Command(TyperCommand):
    """One verb."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        write(self, ctx, formatter, [])


class Group(TyperGroup):
    """Several verbs."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with a line for each verb."""
        inner = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        write(self, ctx, formatter, [(name, one.get_short_help_str(300)) for name, one in inner if one is not None])


class App(typer.Typer):
    """A typer application whose every command has help that looks so."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            cls=Group, rich_markup_mode=None, context_settings=HELP, pretty_exceptions_enable=False,
            add_completion=False, invoke_without_command=True, **settings,
        )  # fmt: skip

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """The decorator that makes a command of a function."""
        return super().command(name, cls=Command, **settings)

    def __call__(self, args: list[str] | None = None, **settings: Any) -> Any:
        """Run the command that the arguments name (default: those of the process)."""
        words = sys.argv[1:] if args is None else args
        return super(App, self.only(words)).__call__(args=words, **settings)

    def only(self, words: list[str]) -> App:
        """With none but the command that the words begin with, where there is one: to make them all takes as long as
        many a command does.
        """
        commands = [one for one in self.registered_commands if words[:1] == [_called(one)]]
        groups = [copy(one) for one in self.registered_groups if words[:1] == [_called(one)]]
        if not (commands or groups):
            return self
        for group in groups:
            if isinstance(group.typer_instance, App):
                group.typer_instance = group.typer_instance.only(words[1:])
        alone = copy(self)
        alone.registered_commands, alone.registered_groups = commands, groups
        return alone


def _called(one: Any) -> str:
    """What is typed for a command or a group."""
    inner = getattr(one, "typer_instance", None)
    return str(inner.info.name if inner is not None else one.name or get_command_name(one.callback.__name__))


def instead_of_nothing(context: typer.Context) -> None:
    """Print the help where a group was named without one of its commands, and leave with exit code 2."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
