"""`python -m local.manifests [OVERLAY...]`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from local.manifests import check, schemas
from local.manifests.programs import PROGRAMS, ManifestError
from local.testservers.server import ServerError

app = typer.Typer(add_completion=False)
_output = Console(highlight=False, soft_wrap=True)
_errors = Console(stderr=True, highlight=False, soft_wrap=True)


@app.command()
def main(
    overlays: Annotated[list[Path] | None, typer.Argument(help="Folders; all below knative/overlays if none.")] = None,
    *,
    install: Annotated[bool, typer.Option("--install", help="Only install the programs and the schemas.")] = False,
) -> None:
    """Render overlays, hold each document against its schema and hand each Knative Service to kn, without a cluster.

    What is missing is installed first. CRDS=FOLDER takes the CustomResourceDefinitions there before our own copies.
    """
    try:
        for program in PROGRAMS:
            program.install(_say)
        schemas.install(_say)
    except ServerError as error:
        _errors.print(str(error), markup=False)
        raise typer.Exit(1) from error
    if install:
        return
    failed = [overlay for overlay in overlays or check.overlays() if not _passes(overlay)]
    if failed:
        raise typer.Exit(1)


def _passes(overlay: Path) -> bool:
    try:
        text = check.render(overlay)
        verdict = check.validate(text)
    except ManifestError as error:
        _errors.print(str(error), markup=False)
        return False
    _output.print("\n".join((overlay.name, *verdict.table())), markup=False)
    problems = [*verdict.problems]
    for service in check.services(text):
        try:
            check.created(service)
        except ManifestError as error:
            problems.append(str(error))
    for problem in problems:
        _errors.print(f"{overlay.name}: {problem}", markup=False)
    return not problems


def _say(text: str) -> None:
    _errors.print(text, style="dim", markup=False)


if __name__ == "__main__":
    app()
