"""The `zeroflow` command: one module per command, imported when it is used."""

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from zeroflow import __version__

COMMANDS = {
    "up": ("zeroflow.cli.up:up", "Run the platform on this machine."),
    "run": ("zeroflow.cli.run:run", "Run a KFP pipeline and show its progress."),
    "runs": ("zeroflow.cli.runs:app", "Runs: list, show, logs, events, diff, retry, fork, cancel."),
    "why": ("zeroflow.cli.why:why", "Why a step ran again, or a canary was rolled back."),
    "predict": ("zeroflow.cli.predict:predict", "Ask an InferenceService once."),
    "load": ("zeroflow.cli.load:load", "Steady traffic for an InferenceService, and its latencies."),
    "tune": ("zeroflow.cli.tune:tune", "Find the best parameters of a Python function."),
    "deploy": ("zeroflow.cli.deploy:deploy", "Deploy a Knative Functions project."),
    "functions": ("zeroflow.cli.functions:app", "Deployed functions: list, invoke, delete."),
    "trials": ("zeroflow.cli.trials:trials", "The trials of an Experiment, as a table or a page."),
    "events": ("zeroflow.cli.events:app", "What happened: events and what became of them."),
    "models": ("zeroflow.cli.models:app", "Registered models and their versions."),
    "lineage": ("zeroflow.cli.lineage:lineage", "From data to deployment: what came of what."),
    "audit": ("zeroflow.cli.audit:app", "Who changed or used what: verify and export the trail."),
    "users": ("zeroflow.cli.users:app", "Who else may ask: add, list, remove."),
    "images": ("zeroflow.cli.images:app", "What stands for a container image on this machine."),
    "backup": ("zeroflow.cli.backup:backup", "Write a home into one file, while it is used."),
    "restore": ("zeroflow.cli.backup:restore", "Make a home from a backup."),
    "repair": ("zeroflow.cli.repair:repair", "Save what can be read of damaged databases."),
    "store": ("zeroflow.cli.store:app", "Objects in the local store."),
}


class LazyGroup(TyperGroup):
    """Loads a command's module when the command is used: `zeroflow --help` imports none of them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        target, summary = COMMANDS[cmd_name]
        module, _, name = target.partition(":")
        found: Any = getattr(importlib.import_module(module), name)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False)
            alone.command(cmd_name)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name, command.short_help = cmd_name, summary
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"zeroflow {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Kubeflow's lifecycle as functions that sleep until an event wakes them."""


def main() -> None:
    """Run the command line."""
    app()
