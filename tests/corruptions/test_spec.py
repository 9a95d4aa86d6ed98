"""Corruptions by a line of text."""

from __future__ import annotations

import pytest

from denoise.corruptions.audio import Clip, Codec, Hum, Noise
from denoise.corruptions.base import Compose
from denoise.corruptions.image import Camera, Downsample, Gaussian, Jpeg, PoissonGaussian, Quantize
from denoise.corruptions.spec import NAMES, describe, parse
from denoise.errors import UsageError


def test_numbers_ranges_words_and_none() -> None:
    gaussian = parse("gaussian:sigma=5..50")
    assert isinstance(gaussian, Gaussian)
    assert gaussian.sigma == (5.0, 50.0)
    downsample = parse("downsample:factor=1.5..4,method=area")
    assert isinstance(downsample, Downsample)
    assert (downsample.factor, downsample.method) == ((1.5, 4.0), "area")
    quantize = parse("quantize:bits=6")
    assert isinstance(quantize, Quantize)
    assert quantize.bits == 6
    camera = parse("camera:iso=800,quality=none")
    assert isinstance(camera, Camera)
    assert isinstance(camera.corruptions[1], Quantize)


def test_plus_joins_one_after_another() -> None:
    composed = parse("poisson-gaussian:shot=20,read=5 + jpeg:quality=90")
    assert isinstance(composed, Compose)
    first, second = composed.corruptions
    assert isinstance(first, PoissonGaussian)
    assert (first.shot, first.read) == ((20.0, 20.0), (5.0, 5.0))
    assert isinstance(second, Jpeg)
    assert second.quality == (90.0, 90.0)


def test_sounds_counts_and_folders() -> None:
    noise = parse("noise:snr_db=-5..5,count=2..4,folder=/my noises/a.b")
    assert isinstance(noise, Noise)
    assert (noise.snr_db, noise.count, noise.folder) == ((-5.0, 5.0), (2, 4), "/my noises/a.b")
    composed = parse("hum:snr_db=10..20,harmonics=3+clip+codec:kind=mp3,quality=0.5")
    assert isinstance(composed, Compose)
    hum, clip, codec = composed.corruptions
    assert isinstance(hum, Hum)
    assert (hum.snr_db, hum.harmonics) == ((10.0, 20.0), (3, 3))
    assert isinstance(clip, Clip)
    assert isinstance(codec, Codec)
    assert (codec.kind, codec.quality) == ("mp3", (0.5, 0.5))
    assert parse("noise:folder=none").folder is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "Unknown corruption ''.*gaussian, correlated-gaussian"),
        ("gausian:sigma=3", "Unknown corruption 'gausian'.*camera"),
        ("gaussian+", "Unknown corruption ''"),
        ("gaussian:sigm=3", r"'sigm' of 'gaussian' is unknown: what it takes is gaussian:sigma=25"),
        ("gaussian:sigma=3,sigma=4", "came twice"),
        ("gaussian:sigma", "Cannot read 'gaussian:sigma=': give a number or a range"),
        ("gaussian:sigma=much", "Cannot read 'gaussian:sigma=much'"),
        ("gaussian:sigma=-3", "sigma=-3.0 is not allowed"),
        ("gaussian:sigma=9..1", "is not allowed"),
        ("quantize:bits=2.5", "give a whole number"),
        ("camera:mosaic=0..1", "give a number$|give a number\\."),
        ("camera:quality=best", "or none"),
        ("downsample:method=nearest", "give bicubic or area"),
        ("demosaic:phase=1", "what it takes is demosaic\\."),
        ("noise:count=1.5..2", "give a whole number or a range low..high"),
        ("noise:count=0", "give whole numbers, one or two, within 1..100"),
        ("noise:folder=", "give a path or none"),
        ("codec:kind=aac", "give any or mp3 or vorbis or opus"),
        ("band-limit:lowest_hz=low", "give a number or a range low..high or none"),
    ],
)
def test_errors_say_what_is_allowed(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(spec)


def test_every_description_starts_with_a_line_that_parses() -> None:
    lines = describe()
    assert len(lines) == len(NAMES)
    for name, line in zip(NAMES, lines, strict=True):
        written, sentence = line.split("  ", 1)
        assert type(parse(written)) is NAMES[name]
        assert repr(parse(written)) == repr(NAMES[name]())
        assert sentence.endswith((".", ":"))
