"""The command lines of knative/install, knative/deploy and knative/remove."""

from collections.abc import Callable
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from local.deploy import minikube, prerequisites
from local.deploy.deploying import deploy, remove
from local.deploy.rendering import Wanted, known, overlays, tag_of_tree
from local.deploy.runner import DeployError, Runner

#: What the minikube overlay's images are called: a registry of this name does not exist, so nobody asks one.
_LOCAL: str = "dev.local/video2mp3-"
_NAME_YOURS: str = "Only minikube gets images built: name yours by --images PREFIX --tag TAG."

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
_output = Console(highlight=False, soft_wrap=True)
_errors = Console(stderr=True, highlight=False, soft_wrap=True)

Overlay = Annotated[str, typer.Argument(metavar="[OVERLAY]", help=f"One of {', '.join(overlays())}.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would be done, in order.")]
Url = Annotated[str, typer.Option("--url", metavar="URL", help="Where people will reach it: http://NAME.")]


@app.command("install")
def install_command(
    tls: Annotated[str, typer.Option(metavar="EMAIL", help="Certificates by Let's Encrypt, for this address.")] = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Bring Knative, RabbitMQ's operators and what they need onto the current kubectl context; leave what is there."""
    _run(lambda runner: prerequisites.install(runner, issuer_email=tls), dry_run=dry_run)


@app.command("deploy")
def deploy_command(
    overlay: Overlay = "minikube",
    *,
    images: Annotated[
        str, typer.Option(metavar="PREFIX", help="Images that are there: PREFIX-functions and so on.")
    ] = "",
    tag: Annotated[str, typer.Option(help="Their tag.")] = "",
    url: Url = "",
    dry_run: DryRun = False,
) -> None:
    """Bring an overlay onto the current kubectl context, or what is there of it up to date."""

    def work(runner: Runner) -> None:
        if bool(images) != bool(tag):
            raise DeployError("--images and --tag belong together.")
        if tag == "latest":
            raise DeployError("--tag latest says nothing about which images run; name a version.")
        known(overlay)
        found = None if images else _minikube(runner, overlay)
        if found:
            wanted = Wanted(overlay, _LOCAL, tag_of_tree(), url)
        elif images or dry_run:
            wanted = Wanted(overlay, f"{images or 'PREFIX'}-", tag or "TAG", url)
        else:
            raise DeployError(_NAME_YOURS)
        deploy(wanted, runner, minikube=found)

    _run(work, dry_run=dry_run)


@app.command("remove")
def remove_command(
    overlay: Overlay = "minikube",
    *,
    data: Annotated[bool, typer.Option("--data", help="Remove Secrets, volumes and the namespace, too.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Take an overlay off the current kubectl context; what was stored stays, unless --data is given."""
    _run(lambda runner: remove(Wanted(overlay, _LOCAL, "dev"), runner, data=data), dry_run=dry_run)


def _minikube(runner: Runner, overlay: str) -> minikube.Minikube | None:
    if runner.dry_run:
        return minikube.Minikube() if overlay == "minikube" else None
    try:
        return minikube.find(runner)
    except DeployError as error:
        # A stopped one, or a cluster that shows its nodes to others only.
        raise DeployError(f"{_NAME_YOURS}\nWhether this is minikube could not be told. {error}") from error


def _run(work: Callable[[Runner], None], *, dry_run: bool) -> None:
    try:
        work(Runner(_output, dry_run=dry_run, context="" if dry_run else _context()))
    except DeployError as error:
        _fail(str(error))


def _context() -> str:
    """The current context, which all commands of this run are for."""
    try:
        return Runner(_output, dry_run=False).ask("kubectl", "config", "current-context").strip()
    except DeployError:
        # Inside a pod there is none, and kubectl finds its way all the same.
        return ""


def _fail(text: str) -> NoReturn:
    _errors.print(text, markup=False, style="red")
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
