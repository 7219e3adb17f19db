"""forge-observability: write ObservabilityStacks, read their status, run one on this machine."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from forge_observability import cluster, template, view
from forge_observability.local import up as local_up
from forge_observability.stackfile import StackFile, StackFileError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class SourceChoice(StrEnum):
    """The source types, as Typer wants a choice."""

    langfuse = "langfuse"
    github = "github"
    jira = "jira"
    prometheus = "prometheus"


File = Annotated[
    Path, typer.Option("--file", "-f", help="The stack file: one ObservabilityStack, and its Secrets if you like.")
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace; that of your kubeconfig when absent.")
]


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="Name of the stack.")] = "forge",
    source: Annotated[list[SourceChoice] | None, typer.Option(help="Sources to write; all four when absent.")] = None,
    file: Annotated[Path, typer.Option("--file", "-f", help="Where to write it.")] = Path("stack.yaml"),
    force: Annotated[bool, typer.Option(help="Overwrite the file.")] = False,
) -> None:
    """Write a stack file to start from."""
    if file.exists() and not force:
        _fail(f"{file} exists; pass --force to overwrite it, or --file to write another")
    file.write_text(template.render(name, [s.value for s in source or SourceChoice]), encoding="utf-8")
    out.print(f"wrote {file}. Fill in the addresses and the Secrets, then:")
    out.print(f"  forge-observability up -f {file}       on this machine")
    out.print(f"  forge-observability apply -f {file}    in a cluster")


@app.command()
def apply(
    file: File,
    namespace: Namespace = None,
    dry_run: Annotated[bool, typer.Option(help="Let the API server check it, change nothing.")] = False,
) -> None:
    """Apply a stack file to a cluster."""
    with _told():
        for line in cluster.apply(StackFile.read(file), namespace=namespace, dry_run=dry_run):
            out.print(line)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Name of the stack; all of the namespace when absent.")] = None,
    namespace: Namespace = None,
) -> None:
    """Show what a cluster's stacks are doing."""
    with _told():
        stacks = cluster.read(name, namespace=namespace)
    if not stacks:
        out.print("no stacks here; `forge-observability init` writes one")
    for stack in stacks:
        out.print(view.stack_view(stack))


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="Name of the stack.")],
    what: Annotated[
        list[str],
        typer.Argument(
            help="A source; SOURCE:START/END for a backfill of that window; all for every source that is not "
            "suspended; transform; transform:full-refresh."
        ),
    ],
    namespace: Namespace = None,
) -> None:
    """Run loads and transforms of a cluster's stack now."""
    with _told():
        out.print(cluster.run(name, ",".join(what), namespace=namespace))


@app.command()
def up(
    file: File,
    once: Annotated[bool, typer.Option(help="Load and transform once, print the summary, end.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Where the data and the state live.")] = Path(".forge"),
    host: Annotated[str, typer.Option(help="Address on which the API and the page listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the API and the page; 0 for a free one.")] = 8080,
    keep_serving: Annotated[bool, typer.Option(help="With --once: go on serving the page, without new loads.")] = False,
) -> None:
    """Run a stack on this machine: child processes in place of Jobs, the embedded store in place of ClickHouse."""
    with _told():
        stack_file = StackFile.read(file)
        options = local_up.Options(
            data_dir=data_dir.absolute(), host=host, port=port, once=once, keep_serving=keep_serving
        )
        raise typer.Exit(asyncio.run(local_up.run(stack_file, options, out)))


class _told:  # noqa: N801 - reads as a word at its use
    """Errors that are the user's to mend are told in a line, without a traceback."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, StackFileError | cluster.ClusterError | local_up.UpError):
            _fail(str(error))


def _fail(message: str) -> None:
    err.print(f"[red]error:[/red] {message}", soft_wrap=True)
    raise typer.Exit(1)


def main() -> None:
    """The console script."""
    app()
