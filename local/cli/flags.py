"""A flag for every option of a conversion, made of its declaration (functions.common.options)."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from functions.common.options import OPTIONS, Option


def with_option_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for each option.

    Args:
        command: gets, as `options`, the texts of those that were given, by their names.
    """

    @wraps(command)
    def run(**given: Any) -> None:
        texts = {option.name: given.pop(option.name) for option in OPTIONS}
        command(**given, options={name: text for name, text in texts.items() if text is not None})

    own = [each for each in inspect.signature(command).parameters.values() if each.name != "options"]
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *map(_flag, OPTIONS))]
    # What typer reads of a function.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typeshed has none on functions
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _flag(option: Option) -> inspect.Parameter:
    help_ = f"{option.help} {option.takes[0].upper()}{option.takes[1:]}.".replace("`", "")
    annotation = Annotated[str | None, typer.Option(help=help_, metavar="TEXT", show_default=option.default)]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
