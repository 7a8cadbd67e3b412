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
    context: typer.Context,
    jobs: Annotated[int, typer.Option(min=1, max=100_000, help="How many videos.")] = 20,
    arrivals: Annotated[str, typer.Option(help="at-once, ramp:SECONDS or poisson:RATE (jobs a second).")] = "at-once",
    media: Annotated[Path | None, typer.Option(help="Folder of recordings; without it, ffmpeg makes some.")] = None,
    seconds: Annotated[str, typer.Option(metavar="N|N-M", help="How long those are that ffmpeg makes.")] = "1-8",
    accounts: Annotated[int, typer.Option(min=1, max=1000, help="Accounts that take turns.")] = 1,
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
    if context.invoked_subcommand is not None:
        return
    from local.loadtest import media as found
    from local.loadtest.api import Refused
    from local.loadtest.arrivals import NoArrivals, parse
    from local.loadtest.burst import Wish
    from local.loadtest.command import make
    from local.loadtest.rooms import NoServers
    from local.loadtest.server import NoServer

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
    try:
        code = make(wish, services=services, idle_seconds=scale_to_zero)
    except (NoServers, NoServer, Refused, found.NoMedia) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    raise typer.Exit(code)


def _usage(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
