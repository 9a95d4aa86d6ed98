"""The page of the tour: one HTML file beside its pictures, without scripts and without anything from elsewhere."""

from __future__ import annotations

import html
from pathlib import Path

from denoise.tour.chapters import Chapter

_STYLE = """
:root { color-scheme: light; --ink: #1f2937; --soft: #5b6472; --line: #e5e7eb; --blue: #2563eb; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fbfbfa; }
body { font: 17px/1.6 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main, header, footer { max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 3.5rem; padding-bottom: 1rem; }
h1 { font-size: 2.3rem; line-height: 1.15; margin: 0 0 .6rem; letter-spacing: -.02em; }
h2 { font-size: 1.45rem; line-height: 1.25; margin: 0 0 .5rem; letter-spacing: -.01em; }
p { margin: .6rem 0; max-width: 46rem; }
.lead { font-size: 1.15rem; color: var(--soft); }
nav ol { columns: 2; max-width: 46rem; padding-left: 1.4rem; margin: 1rem 0 0; }
a { color: var(--blue); text-decoration: none; } a:hover { text-decoration: underline; }
section { padding: 2.2rem 0 1.2rem; border-top: 1px solid var(--line); margin-top: 1.6rem; }
figure { margin: 1.2rem 0 0; background: #fff; border: 1px solid var(--line); border-radius: .6rem; }
figure { padding: 1rem 1rem .8rem; }
figure img { display: block; width: 100%; height: auto; }
figcaption { border-top: 1px solid var(--line); margin-top: .8rem; padding-top: .7rem; }
figcaption b { color: var(--blue); }
td code { white-space: nowrap; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .5rem .8rem .5rem 0; border-bottom: 1px solid var(--line); }
code { font: .88em ui-monospace, "DejaVu Sans Mono", monospace; }
code { background: #f1f2f4; padding: .1em .3em; border-radius: .25em; }
footer { color: var(--soft); font-size: .9rem; padding-bottom: 3rem; }
@media (max-width: 40rem) { nav ol { columns: 1; } h1 { font-size: 1.8rem; } body { font-size: 16px; } }
@media print { section { break-inside: avoid; } }
"""

_TITLE = "<title>A tour of the autoencoders</title>"
_FAMILY = [
    ("undercomplete", "UndercompleteAutoencoder", "the code is smaller than the input", "undercomplete"),
    ("sparse", "SparseAutoencoder", "few units of the code are active at a time", "sparse_kl"),
    ("denoising", "DenoisingAutoencoder", "the input is damaged, the target is not", "denoising"),
    ("contractive", "ContractiveAutoencoder", "the code changes little with the input", "contractive"),
]


def is_page(path: Path) -> bool:
    """Whether a file is the page of a tour."""
    return path.is_file() and _TITLE.encode() in path.read_bytes()


def write(chapters: dict[str, Chapter], facts: str) -> str:
    """The page; `facts` says how, when and by what it was made. The picture of a chapter is `NAME.png`."""
    contents = "".join(f'<li><a href="#{name}">{html.escape(one.title)}</a></li>' for name, one in chapters.items())
    sections = "".join(_section(name, one) for name, one in chapters.items())
    family = "".join(
        f"<tr><td><b>{name}</b></td><td>{what}</td><td><code>{kind}</code></td>"
        f"<td><code>denoise train recipes/autoencoders/{recipe}.yaml</code></td></tr>"
        for name, kind, what, recipe in _FAMILY
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{_TITLE}
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>A tour of the autoencoders</h1>
<p class="lead">Four kinds of autoencoder, one idea: say the input by a code, and keep the code from being a mere copy.
Everything below was trained and measured on this machine a moment ago; every number comes from that run.</p>
<nav><ol>{contents}<li><a href="#family">The family, to train yourself</a></li></ol></nav>
</header>
<main>{sections}
<section id="family">
<h2>The family, to train yourself</h2>
<div class="wide"><table>
<thead><tr><th>member</th><th>what keeps it from copying</th><th>class</th><th>on digits, in minutes</th></tr></thead>
<tbody>{family}</tbody>
</table></div>
<p>Penalties and corruptions combine: <code>denoising_contractive.yaml</code> has both. The recipes also take a folder
of pictures, and <code>spectrogram.yaml</code> a folder of recordings; each says how in its first lines.</p>
</section>
</main>
<footer><p>{html.escape(facts)}</p></footer>
</body>
</html>
"""


def _section(name: str, chapter: Chapter) -> str:
    words = "".join(f"<p>{paragraph}</p>\n" for paragraph in chapter.paragraphs)
    return f"""
<section id="{name}">
<h2>{html.escape(chapter.title)}</h2>
{words}<figure>
<img src="{name}.png" alt="{html.escape(chapter.alt)}">
<figcaption><b>Measured.</b> {html.escape(chapter.found)}</figcaption>
</figure>
</section>"""
