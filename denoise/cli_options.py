"""Options that several verbs of the command share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from denoise.errors import UsageError

Sigma = Annotated[
    str, typer.Option(help="Standard deviation of the noise on the 0..255 scale, or 'auto' to estimate it.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Ensemble = Annotated[
    int,
    typer.Option(
        help="Pictures: average over 1, 2, 4 or 8 views, flipped and turned; better, and so many times slower."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line instead of text.")]
Attenuation = Annotated[
    float, typer.Option(help="Sound: make nothing quieter by more than so many dB; inf for no such limit.")
]


def _list_corruptions(is_wanted: bool) -> None:
    if is_wanted:
        from denoise.corruptions.spec import describe

        typer.echo("\n".join(describe()))
        raise typer.Exit


ListCorruptions = Annotated[
    bool,
    typer.Option("--list", help="Print all corruptions, with defaults.", is_eager=True, callback=_list_corruptions),
]


def number_or_auto(text: str) -> float | Literal["auto"]:
    """A level, or the word for one to be estimated; raises UsageError for anything else."""
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError:
        raise UsageError(f"Sigma {text!r} is neither 'auto' nor a number.") from None
