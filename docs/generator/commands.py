"""The page of the command line, from the commands themselves."""

from __future__ import annotations

import re
from typing import Any

import typer

from generator.pages import Page, Site


def add_commands(site: Site) -> None:
    """One page with all commands, their arguments and options."""
    from minicnn.cli import app

    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="minicnn")
    parts = [
        "# Command line",
        "Each command takes `--help`, and many `--json`, for programs. Results go to stdout and everything else to "
        "stderr. An error is one line and status 2; `--debug`, with any command, shows where it came from.",
        *described(command, context, "minicnn"),
    ]
    site.add(Page("commands.md", "Command line", "\n\n".join(parts) + "\n"))


def described(command: Any, context: Any, path: str) -> list[str]:
    """Markdown of a command, and of the commands in it."""
    parts = []
    if not hasattr(command, "commands"):
        parts += [f"## {path}", *prose(command.help or ""), *parameters(command, context)]
    for name in sorted(getattr(command, "commands", {})):
        below = command.commands[name]
        parts += described(below, type(context)(below, info_name=name, parent=context), f"{path} {name}")
    return parts


def prose(text: str) -> list[str]:
    """Help as Markdown; its examples are blocks of code."""
    made = []
    for block in text.replace("\b\n", "").strip().split("\n\n"):
        lines = [line.strip() for line in block.splitlines()]
        commands = [line for line in lines if line.startswith("minicnn ")]
        rest = " ".join(line for line in lines if line not in commands)
        if rest and not rest.startswith("Example"):
            made.append(re.sub(r"([<>*_])", r"\\\1", rest))
        if commands:
            made.append("```console\n" + "\n".join(f"$ {line}" for line in commands) + "\n```")
    return made


def parameters(command: Any, context: Any) -> list[str]:
    """A table of the arguments and options of a command."""
    rows = []
    for parameter in command.get_params(context):
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        option = parameter.param_type_name == "option"
        names = (
            ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
            if option
            else f"`{parameter.name}`"
        )
        record = parameter.get_help_record(context)
        said = (record[1] if record else "") or ""
        rows.append(f"| {names} | {_cell(said)} |")
    return ["\n".join(["| argument or option | meaning |", "|---|---|", *rows])] if rows else []


def _cell(text: str) -> str:
    text = " ".join(text.split()).replace("|", "&#124;").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
    return re.sub(r"`([^`]*)`", lambda m: "`" + m[1].replace("\\", "").replace("&lt;", "<") + "`", text)
