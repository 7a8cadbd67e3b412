"""`video2mp3 burst`: many videos at once, what became of each, and what it cost; `local/burst` starts it.

Exit codes: 0 all was kept, 1 something was lost, doubled or otherwise wrong, 2 a bound was missed or wrong usage,
130 interrupted.
"""

import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(help="Many videos at once: what became of each of them, and what it cost.", add_completion=False)


@app.callback(invoke_without_command=True)
def burst(
    called: typer.Context,
    jobs: Annotated[int, typer.Option(min=1, max=100_000, help="How many videos.")] = 20,
    arrivals: Annotated[str, typer.Option(help="at-once, ramp:SECONDS or poisson:RATE (jobs a second).")] = "at-once",
    media: Annotated[Path | None, typer.Option(help="Folder of recordings; without it, ffmpeg makes some.")] = None,
    seconds: Annotated[str, typer.Option(metavar="N|N-M", help="How long those are that ffmpeg makes.")] = "1-8",
    accounts: Annotated[int, typer.Option(min=1, max=1000, help="Accounts that take turns.")] = 1,
    url: Annotated[str | None, typer.Option(help="A server that runs already; without it, one is started.")] = None,
    host: Annotated[str, typer.Option(help="The name that --url has, where its address is not it.")] = "",
    namespace: Annotated[str | None, typer.Option(help="With --url: where its pods are.")] = None,
    context: Annotated[str | None, typer.Option("--context", help="With --namespace: of the kubeconfig.")] = None,
    rabbitmq: Annotated[
        str | None,
        typer.Option(
            envvar="VIDEO2MP3_BURST_RABBITMQ", help="With --url: the management API, http://user:pw@host/VHOST."
        ),
    ] = None,
    services: Annotated[bool, typer.Option("--services", help="A process per function, on local/services.")] = False,
    scale_to_zero: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="With --services: functions sleep so long after.")
    ] = None,
    faults: Annotated[bool, typer.Option("--faults", help="Kill processes and connections meanwhile.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 1,
    same_options: Annotated[bool, typer.Option("--same-options", help="All jobs with the usual options.")] = False,
    patience: Annotated[float, typer.Option(min=1, help="Seconds in which nothing at all may happen.")] = 300,
    max_p95: Annotated[float | None, typer.Option(help="Exit 2 if 95 % of jobs take longer, in seconds.")] = None,
    max_ratio: Annotated[float | None, typer.Option(help="Exit 2 if the time over the bound is more.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the report.")] = None,
) -> None:
    """Make a burst on a server of its own, or on the one that --url names, and write a report of it."""
    if called.invoked_subcommand is not None:
        return
    from local.loadtest import media as found
    from local.loadtest.api import Refused
    from local.loadtest.arrivals import NoArrivals, parse
    from local.loadtest.command import Elsewhere, make, make_elsewhere
    from local.loadtest.rooms import NoServers
    from local.loadtest.server import NoServer
    from local.loadtest.terms import Wish

    try:
        wish = Wish(
            jobs=jobs,
            arrivals=parse(arrivals),
            output=(output or Path(f"burst-{time.strftime('%Y%m%d-%H%M%S')}")).absolute(),
            recordings=media,
            lengths=found.parse_lengths(seconds),
            various=not same_options,
            accounts=accounts,
            seed=seed,
            faults=faults,
            patience_seconds=patience,
            max_p95_seconds=max_p95,
            max_ratio=max_ratio,
        )
    except (NoArrivals, found.NoMedia) as error:
        _usage(str(error))
    if scale_to_zero is not None and not services:
        _usage("--scale-to-zero is for --services.")
    if url is not None and services:
        _usage("--services starts a server, and --url names one that runs.")
    if url is None and (namespace or rabbitmq or host):
        _usage("--namespace, --rabbitmq and --host are for --url.")
    if url is not None and faults and namespace is None:
        _usage("--faults needs to know where pods are: --namespace.")
    try:
        if url is not None:
            code = make_elsewhere(wish, Elsewhere(url, host, namespace, context, rabbitmq))
        else:
            code = make(wish, services=services, idle_seconds=scale_to_zero)
    except (NoServers, NoServer, Refused, found.NoMedia) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    raise typer.Exit(code)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of a report.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Folder of another one.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for a page with the pictures.")] = None,
) -> None:
    """Put two reports side by side."""
    from rich.console import Console

    from local.loadtest import compare as beside
    from local.loadtest.report import NoReport, read

    try:
        reports = read(first), read(second)
    except NoReport as error:
        _usage(str(error))
    names = (first.name or str(first), second.name or str(second))
    out = Console(highlight=False)
    out.print(beside.table(*reports, names))
    if output is not None:
        out.print(f"The page is {beside.write(*reports, names, output)}", soft_wrap=True)


def _usage(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
