"""The command: one verb a function, which parses, calls and prints. Heavy imports happen inside the verbs."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from denoise.cli_options import Attenuation, Device, Dtype, Ensemble, Json, ListCorruptions, Sigma, number_or_auto
from denoise.cli_output import (
    as_line,
    print_failure,
    print_findings,
    print_index,
    print_rest,
    print_result,
    progress_bar,
)
from denoise.errors import DenoiseError, UsageError, as_sentence, lacks_memory
from denoise.options import ATTENUATION_DB, DAMAGE, Options
from denoise.signals import STOPPED, end_cleanly

# Inputs are `readable=False`: else Typer refuses all of them for one that may not be read, which is told later.

app = typer.Typer(
    name="denoise",
    help="Restore noisy photos and recordings; train on your own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def restore(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Pictures and recordings, or one folder of them.", readable=False, show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A file, or a folder (no suffix).", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of shipped weights (see `denoise models`) or a folder of weights; by default `photo` for "
            "pictures, `inpaint` for their holes and `speech` for sound. With --mask, 'photo,inpaint' does both.",
            show_default=False,
        ),
    ] = None,
    sigma: Sigma = "auto",
    strength: Annotated[float, typer.Option(help="0 leaves everything as it is, 1 restores it fully.")] = 1.0,
    attenuation_db: Attenuation = ATTENUATION_DB,
    clip: Annotated[
        str, typer.Option(help="Sound over full scale: 'none' clips it if the format must, 'rescale' turns all down.")
    ] = "none",
    start: Annotated[float, typer.Option(help="Sound: restore from this second on; the rest stays as it is.")] = 0.0,
    end: Annotated[float | None, typer.Option(help="Sound: restore up to this second.", show_default=False)] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Also write before, after and difference to this picture.", show_default=False)
    ] = None,
    residual: Annotated[
        Path | None, typer.Option(help="Sound: also write what was taken out to this file.", show_default=False)
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            help="Fill the holes of a picture: a mask of its size, white where a hole is, or 'alpha' for what is "
            "transparent.",
            show_default=False,
        ),
    ] = None,
    mask_color: Annotated[
        str | None, typer.Option(help="Fill what has this colour, such as '#ff00ff'.", show_default=False)
    ] = None,
    dilate: Annotated[int, typer.Option(help="Make the holes wider by so many pixels to all sides.")] = 0,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace outputs that exist. NAME.restored.EXT is replaced unasked, in a batch where it is older.",
        ),
    ] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    ensemble: Ensemble = 1,
    as_json: Json = False,
) -> None:
    """Restore pictures and recordings; writes NAME.restored.EXT beside each, or what -o says."""
    options = Options(
        sigma=number_or_auto(sigma),
        strength=strength,
        attenuation_db=attenuation_db,
        clip=clip,  # type: ignore[arg-type]
        start_s=start,
        end_s=end,
        compare=compare,
        residual=residual,
        mask=mask,
        mask_color=mask_color,
        dilate_px=dilate,
    )
    from denoise import outputs, pipeline
    from denoise.holes import with_mask_read
    from denoise.loading import Restorers
    from denoise.pipeline import Failure

    single = len(inputs) == 1 and not inputs[0].is_dir()
    if options.extras and not single:
        raise UsageError("--compare and --residual take one input at a time.")
    restorers = Restorers(model, device, dtype, ensemble)
    results: list[Any] = []
    if single:
        with progress_bar() as progress:
            results.append(pipeline.restore_single(restorers, inputs[0], out, options, overwrite, progress))
        print_result(results[0], as_json)
    else:
        jobs, options = outputs.jobs(inputs, out, overwrite), with_mask_read(options)
        for job in jobs:
            with progress_bar() as progress:  # one a file, for it has to be gone before anything is printed
                results += pipeline.restore_many(restorers, [job], options, overwrite, progress)
            print_result(results[-1], as_json)
    print_rest(results, [] if single else outputs.left_out(inputs, out, jobs), as_json)
    if failed := sum(isinstance(result, Failure) for result in results):
        raise DenoiseError(f"{failed} of {len(results)} files could not be restored; they are named above.")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def train(context: typer.Context) -> None:
    """Train on your own files: denoise train RECIPE --data.root DIR [--init NAME] [--key value ...]."""
    from denoise.training.main import train as run

    run(context.args)


@app.command("export-weights")
def export_weights(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint that `denoise train` wrote.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Weights folder to write.", show_default=False)],
    card: Annotated[
        Path | None, typer.Option(help="YAML file with summary, licence, data and limits.", show_default=False)
    ] = None,
    noise_level: Annotated[
        str | None, typer.Option(help="Weights whose estimator of the noise level to take.", show_default=False)
    ] = None,
    blend: Annotated[
        str | None, typer.Option(help="Weights before, to write the mean of them and the new ones.", show_default=False)
    ] = None,
    blend_share: Annotated[
        float | None,
        typer.Option(help="How much of the mean the weights before are, 0..1; by default 0.3.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace weights that are there.")] = False,
) -> None:
    """Turn a training checkpoint into a weights folder: safetensors, config, model card, measured metrics."""
    from denoise.training.export import as_model, export

    typer.echo(f"Wrote {as_model(export(checkpoint, out, card, noise_level, blend, blend_share, overwrite))}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Name or folder of weights.", show_default=False)],
    data: Annotated[
        Path, typer.Option(help="Pictures: folder of clean ones. Sound: folder of noisy and clean recordings.")
    ],
    corruption: Annotated[
        str | None,
        typer.Option(
            help="Pictures: what to do to the clean ones.",
            show_default=f"{DAMAGE['image']}, for weights that fill holes {DAMAGE['holes']}",
        ),
    ] = None,
    sigma: Sigma = "auto",
    attenuation_db: Attenuation = ATTENUATION_DB,
    device: Device = "auto",
    dtype: Dtype = "auto",
    ensemble: Ensemble = 1,
    as_json: Json = False,
) -> None:
    """Score weights: PSNR and SSIM on pictures; SI-SDR, PESQ, STOI and ESTOI on pairs of recordings."""
    options = Options(sigma=number_or_auto(sigma), attenuation_db=attenuation_db)
    from denoise.evaluation.asked import check_used
    from denoise.loading import load

    restorer = load(model, device, dtype, ensemble)
    task = restorer.card.task
    check_used(model, task, options, ensemble, corruption)
    damage = DAMAGE[task] if corruption is None else corruption
    scores: Any
    with progress_bar() as progress:
        if task == "image":
            from denoise.evaluation.benchmark import evaluate as run

            scores = run(restorer, data, damage, options.sigma, progress)
        elif task == "holes":
            from denoise.evaluation.inpainting import evaluate_inpainting

            scores = evaluate_inpainting(restorer, data, damage, progress)
        else:
            from denoise.evaluation.speech import evaluate_pairs

            scores = evaluate_pairs(restorer, data, attenuation_db, progress)
    typer.echo(as_line(scores) if as_json else str(scores))
    for path, reason in scores.failures.items():
        print_failure(path, reason)
    if scores.failures:
        raise DenoiseError("Not all files could be scored; those that could not are named above.")


@app.command()
def corrupt(
    source: Annotated[Path, typer.Argument(help="A clean picture or recording.", readable=False, show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.", show_default=False)],
    spec: Annotated[
        str | None,
        typer.Option(
            "--with",
            help="Corruptions, joined by '+'.",
            show_default=f"{DAMAGE['image']} for a picture, {DAMAGE['sound']} for a recording",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    names: ListCorruptions = False,  # noqa: ARG001  # its callback does it all
) -> None:
    """Damage a file on purpose: denoise corrupt photo.png --with gaussian:sigma=25+jpeg:quality=80 -o noisy.png."""
    from denoise.outputs import single_target
    from denoise.pipeline import corrupt_file

    typer.echo(f"Wrote {corrupt_file(source, single_target(source, out, overwrite), spec, seed, typer.echo)}")


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path(),
) -> None:
    """Write a photo to try things on: noisy (photo.png), with holes (scratched.png, mask.png) and clean."""
    from denoise.samples import write_samples

    for path in write_samples(folder):
        typer.echo(f"Wrote {path}")


@app.command()
def models(as_json: Json = False) -> None:
    """List the shipped weights."""
    from denoise import pretrained

    for card in pretrained.models():
        typer.echo(as_line(card) if as_json else f"{card.name:12} {card.licence:12} {card.summary}")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Print versions, devices, number format and codecs, and check that they fit together."""
    from denoise.doctor import examine

    findings = examine()
    if as_json:
        for finding in findings:
            typer.echo(as_line(finding))
    else:
        for finding in findings:
            typer.echo(f"{'ok ' if finding.ok else 'BAD'}  {finding.what:14} {finding.text}")
    if not all(finding.ok for finding in findings):
        raise DenoiseError("Something above does not fit; install again as the README says.")


@app.command()
def detect(
    data: Annotated[
        Path,
        typer.Argument(help="Folder of pictures or recordings to judge, or one.", readable=False, show_default=False),
    ],
    model: Annotated[str, typer.Option(help="Autoencoder weights, trained on other normal ones.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report.", show_default=False)],
    normal: Annotated[
        Path | None,
        typer.Option(help="Folder of normal ones not trained on, 37 or more at the default rate; else DATA/normal."),
    ] = None,
    false_alarm_rate: Annotated[float, typer.Option(help="Share of normal ones that may be reported.")] = 0.05,
    score: Annotated[str, typer.Option(help="error (of the reconstruction), code (distance) or both.")] = "both",
    pool: Annotated[str, typer.Option(help="max: as strange as the strangest part; mean: as all of it.")] = "max",
    rate_hz: Annotated[
        int | None, typer.Option(help="Sound: rate of the spectrograms that the model saw; its card tells.")
    ] = None,
    bands: Annotated[int | None, typer.Option(help="Sound: their mel bands; its card tells.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find what is unlike normal pictures or recordings; writes scores.csv and heat maps."""
    from denoise.detection import detect as run

    with progress_bar() as progress:
        options = (normal, false_alarm_rate, score, pool, rate_hz, bands, device)
        found = run(model, data, out, *options, progress=progress)  # type: ignore[arg-type]
    if as_json:
        typer.echo(as_line(found))
    else:
        print_findings(found)
    if found.failures:
        raise DenoiseError(f"{len(found.failures)} files could not be judged or drawn; they are named above.")


@app.command()
def index(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures.", readable=False, show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the index.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option(help="Weights of an autoencoder; an index that exists has its own.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an index of pictures to search in, or bring one up to date."""
    from denoise.retrieval import index as run

    with progress_bar() as progress:
        report = run(folder, out, model, progress)
    if as_json:
        typer.echo(as_line(report))
    else:
        print_index(report)
    if report.failures:
        raise DenoiseError(f"{len(report.failures)} files could not be indexed; they are named above.")


@app.command()
def search(
    query: Annotated[Path, typer.Argument(help="A picture.", readable=False, show_default=False)],
    index: Annotated[Path, typer.Option(help="Folder of the index.", show_default=False)],
    k: Annotated[int, typer.Option("-k", help="Hits to show.")] = 10,
    patches: Annotated[bool, typer.Option("--patches", help="Compare parts instead of whole pictures.")] = False,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write query and hits to this picture.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a sheet that exists.")] = False,
    model: Annotated[str | None, typer.Option(help="Where the weights lie now, if moved.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Find the pictures of an index that are most like one."""
    from denoise.retrieval import search as run

    for hit in run(query, index, k, patches, model, sheet, overwrite):
        typer.echo(as_line(hit) if as_json else f"{hit.distance:8.4f}  {hit.path}")


@app.command()
def tour(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the page to.")] = Path("tour"),
    effort: Annotated[float, typer.Option(help="Factor on the length of every training.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of first weights, batches and corruptions.")] = 0,
    as_json: Json = False,
) -> None:
    """Train small autoencoders for about two minutes and write a page about what they did: start here."""
    from denoise.tour import write_tour

    with progress_bar() as progress:
        result = write_tour(out, effort, seed, progress)
    if as_json:
        typer.echo(as_line(result))
    else:
        typer.echo(f"Wrote {result.page} ({result.trainings} networks, {result.seconds:.0f} s); open it in a browser.")


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from denoise import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command; every error of ours becomes one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # there are names of files that no encoding can print
    end_cleanly()
    try:
        app()
    except (DenoiseError, OSError) as error:
        typer.echo(f"denoise: {as_sentence(error)}", err=True)
        sys.exit(getattr(error, "exit_code", 1))
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        typer.echo("denoise: This takes more memory than there is; take smaller files or a larger machine.", err=True)
        sys.exit(1)
    except SystemExit as ended:
        if ended.code in STOPPED:
            typer.echo("denoise: stopped; finished files are complete, unfinished ones were not written.", err=True)
        raise
