import csv
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import denoise.detection_maps as maps_module
from denoise import pretrained
from denoise.detection import conformal_threshold, detect
from denoise.detection_maps import Examiner, Maps, _cell_means, code_distance
from denoise.errors import MediaError, UsageError
from denoise.networks.autoencoder import Autoencoder
from denoise.networks.logmel import log_mel
from denoise.windows import Windows
from tests.conftest import awake, card

SIDE = 4


def _weights(folder: Path, medium: str = "image", channels: int = 1) -> Path:
    """An autoencoder that restores patches which are planes, and nothing else."""
    network = Autoencoder(channels, widths=(), code=3, side=SIDE)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIDE)] * 2, indexing="ij")
    basis = torch.stack([torch.ones(SIDE, SIDE), y, x]).flatten(1)
    basis = (basis / basis.norm(dim=1, keepdim=True)).view(3, 1, SIDE, SIDE)
    with torch.no_grad():
        network.encoder[0].weight.copy_(basis.expand(-1, channels, -1, -1) / channels)
        network.decoder[0].weight.copy_(basis.expand(-1, channels, -1, -1))
        for layer in (network.encoder[0], network.decoder[0]):
            layer.bias.zero_()
    return pretrained.save(folder, pretrained.Weights(network, None, card("planes", medium=medium)), overwrite=True)


def _slope(height: int, width: int, seed: int) -> np.ndarray:
    """A picture that rises to the right, with some noise. Shape: `[H, W]` uint8"""
    draw = np.random.default_rng(seed)
    return (40 + 3 * np.arange(width) + draw.normal(0, 2, (height, width))).clip(0, 255).astype(np.uint8)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Fifty normal pictures, five more to judge and two with a defect, of several sizes."""
    folder = tmp_path / "pictures"
    for k in range(50):
        _save(folder / "normal" / f"{k}.png", _slope(20 + k % 7, 30 + k % 5, k))
    for k in range(5):
        _save(folder / "line" / f"good {k}.png", _slope(23, 33, 100 + k))
    for k in range(2):
        pixels = _slope(23, 33, 200 + k)
        pixels[8:12:2, 16:20] += 60
        _save(folder / "line" / f"bad {k}.png", pixels)
    return folder


def _rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_finds_defects_and_shows_where(pictures: Path, tmp_path: Path) -> None:
    (pictures / "line" / "torn.png").write_bytes((pictures / "line" / "bad 0.png").read_bytes()[:60])
    (pictures / "normal" / "empty.png").touch()
    told: list[tuple[int, int, str]] = []
    out = pictures / "report"
    found = detect(_weights(tmp_path / "m"), pictures, out, false_alarm_rate=0.1, progress=lambda *x: told.append(x))
    assert {finding.file for finding in found.anomalies} >= {"line/bad 0.png", "line/bad 1.png"}
    assert [finding.file for finding in found.anomalies[:2]] == ["line/bad 0.png", "line/bad 1.png"] or [
        finding.file for finding in found.anomalies[:2]
    ] == ["line/bad 1.png", "line/bad 0.png"]
    assert len(found.findings) == 7
    assert (found.model, found.score) == ("planes", "both")
    assert found.remembered + found.held_out == 50
    assert sorted(failure.source for failure in found.failures) == ["line/torn.png", "normal/empty.png"]
    assert told[-1][:2] == (59, 59)

    rows = _rows(out / "scores.csv")
    assert rows["line/bad 0.png"]["anomaly"] == "1"
    assert float(rows["line/bad 0.png"]["p_value"]) == pytest.approx(1 / (found.held_out + 1), rel=1e-4)
    assert "damaged" in rows["line/torn.png"]["problem"]
    with Image.open(out / "maps" / "line" / "bad 0.png.png") as image:
        heat = np.asarray(image.convert("L")).astype(int)
    assert heat.shape == (23, 33)
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert (8 <= y < 12, 16 <= x < 20) == (True, True)
    assert heat[8:12, 16:20].mean() > 3 * heat[:, :12].mean()

    again = detect(tmp_path / "m", pictures, out, false_alarm_rate=0.1)
    assert again == found  # what the first report holds is not judged


def test_names_need_not_be_text(pictures: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (pictures / "line" / "bad 0.png").rename(pictures / "line" / name)
    detect(_weights(tmp_path / "m"), pictures, tmp_path / "out", false_alarm_rate=0.1)
    assert f"line/{name}".encode(errors="surrogateescape") in (tmp_path / "out" / "scores.csv").read_bytes()


@pytest.mark.parametrize("score", ["error", "code", "both"])
@pytest.mark.parametrize("pool", ["max", "mean"])
def test_every_score_knows_what_it_can(pictures: Path, tmp_path: Path, score: Any, pool: Any) -> None:
    _save(tmp_path / "odd" / "turned.png", np.ascontiguousarray(_slope(33, 23, 7).T))  # restored well, of another code
    noise = np.random.default_rng(0).integers(0, 255, (23, 33)).astype(np.uint8)
    _save(tmp_path / "odd" / "noise.png", noise)
    found = detect(
        _weights(tmp_path / "m"), tmp_path / "odd", tmp_path / "out", pictures / "normal", 0.1, score=score, pool=pool
    )
    names = {finding.file for finding in found.anomalies}
    assert "noise.png" in names
    assert ("turned.png" in names) or score == "error"


def test_keeps_its_promise_of_false_alarms() -> None:
    draw = np.random.default_rng(0)
    for count, rate in ((19, 0.05), (40, 0.05), (30, 0.2)):
        alarms = []
        for _ in range(4000):
            *held, new = draw.standard_normal(count + 1).tolist()
            alarms.append(new > conformal_threshold(held, rate))
        assert rate - 1 / (count + 1) - 0.02 < np.mean(alarms) < rate + 0.012
    with pytest.raises(UsageError, match="takes 19"):
        conformal_threshold([1.0] * 18, 0.05)
    assert math.isfinite(conformal_threshold([1.0] * 9, 0.1))


@pytest.mark.parametrize("side", [None, 8])
def test_windows_change_nothing(tmp_path: Path, side: int | None) -> None:
    network = awake(Autoencoder(1, widths=(4, 4), code=3, side=side))
    examiner = Examiner(pretrained.save(tmp_path / "m", pretrained.Weights(network, None, card())), device="cpu")
    signal = torch.rand(1, 150, 133, generator=torch.Generator().manual_seed(0))
    examiner.bank = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    whole = examiner.maps(signal)
    margin = examiner.windows.context
    height, width = signal.shape[-2:]
    extended = torch.nn.functional.pad(signal, (margin,) * 4, mode="replicate")
    restored = examiner.network(extended[None])[0][:, margin : margin + height, margin : margin + width]
    torch.testing.assert_close(whole.errors, (restored - signal).square().mean(0))
    lead = margin // examiner.network.stride[0]
    rows, columns = (lead - (-length // examiner.network.stride[0]) for length in (height, width))
    codes = examiner.network.encode(extended[None])[0][:, lead:rows, lead:columns]
    assert whole.distances.shape == whole.cell_errors.shape == codes.shape[1:]
    torch.testing.assert_close(whole.distances.flatten(), code_distance(codes.flatten(1).T, examiner.bank))
    context, unit = examiner.windows.context, examiner.windows.multiple_of
    examiner.windows = Windows(2 * context + 2 * unit, context, multiple_of=unit)
    for mine, theirs in zip(examiner.maps(signal), whole, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
    assert sorted(examiner.codes(signal)[:, 0].tolist()) == pytest.approx(sorted(codes[0].flatten().tolist()), abs=1e-4)


def test_a_border_is_no_defect(tmp_path: Path) -> None:
    network = awake(Autoencoder(3, widths=(4, 4), code=3, depth=1))
    examiner = Examiner(pretrained.save(tmp_path / "m", pretrained.Weights(network, None, card())), device="cpu")
    examiner.bank = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    for values in examiner.maps(torch.full((3, 40, 32), 0.4))[1:]:
        torch.testing.assert_close(values, values[4, 4].expand_as(values))


def test_a_picture_of_one_patch_is_seen_as_in_training(tmp_path: Path) -> None:
    network = awake(Autoencoder(1, widths=(4,), code=3, side=8, depth=1))
    examiner = Examiner(pretrained.save(tmp_path / "m", pretrained.Weights(network, None, card())), device="cpu")
    patch = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(examiner.codes(patch), examiner.network.encode(patch[None])[0, :, 0, 0][None])


def test_the_heat_is_what_the_score_is_made_of(tmp_path: Path) -> None:
    examiner = Examiner(_weights(tmp_path / "m"), device="cpu")
    errors, distances = torch.rand(5, 7), torch.rand(2, 2)
    maps = Maps(errors, _cell_means(errors, (SIDE, SIDE)), distances)
    spread = torch.stack([torch.stack([distances[y // SIDE, x // SIDE] for x in range(7)]) for y in range(5)])
    assert examiner.heat(maps, "error").equal(errors.sqrt())
    assert examiner.heat(maps, "code").equal(spread)
    assert examiner.heat(maps, "both").equal(errors.sqrt() * spread)


def test_the_map_shows_what_was_scored(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for k in range(20):
        _save(tmp_path / "in" / "normal" / f"{k}.png", draw.normal(100, 2, (24, 24)).astype(np.uint8))
    odd = draw.normal(100, 2, (24, 24))
    odd[8:16, 8:16] = 100 + 30 * np.tile(np.arange(4), 2)  # planes: restored well, of another code
    _save(tmp_path / "in" / "odd.png", odd.astype(np.uint8))
    found = detect(_weights(tmp_path / "m"), tmp_path / "in", tmp_path / "out", false_alarm_rate=0.1, score="code")
    assert found.findings[0].anomaly
    with Image.open(tmp_path / "out" / "maps" / "odd.png.png") as image:
        heat = np.asarray(image.convert("L")).astype(int)
    inside = heat[8:16, 8:16].mean()
    heat[8:16, 8:16] = 0
    assert inside > heat.max()


def test_a_report_is_no_input(pictures: Path, tmp_path: Path) -> None:
    weights = _weights(tmp_path / "m")
    for out in (pictures / "normal", pictures / "normal" / "report"):
        with pytest.raises(UsageError, match="would lie among normal files"):
            detect(weights, pictures, out, false_alarm_rate=0.1)
    _save(pictures / "maps" / "of a city.png", _slope(23, 33, 300))  # no report's
    first = detect(weights, pictures, pictures / "report 1", false_alarm_rate=0.1)
    second = detect(weights, pictures, pictures / "report 2", false_alarm_rate=0.1)
    assert second.findings == first.findings and len(first.findings) == 8


def test_what_cannot_be_done_is_said_before_the_work(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told: list[object] = []
    for changes, message in (
        ({"false_alarm_rate": 0.01}, "25 held-out normal files cannot promise"),
        ({"out": tmp_path / "file" / "below"}, "is a file"),
    ):
        arguments = {"out": tmp_path / "out", "progress": lambda *step: told.append(step), **changes}
        with pytest.raises(UsageError, match=message):
            detect(_weights(tmp_path / "m"), pictures, **arguments)
    assert not told


def test_a_map_that_cannot_be_written_costs_no_more(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "maps" / "line" / "bad 0.png.png").mkdir(parents=True)
    found = detect(_weights(tmp_path / "m"), pictures, tmp_path / "out", false_alarm_rate=0.1)
    assert [failure.source for failure in found.failures] == ["line/bad 0.png"]
    row = _rows(tmp_path / "out" / "scores.csv")["line/bad 0.png"]
    assert row["anomaly"] == "1" and "could not be written" in row["problem"]
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 8
    assert (tmp_path / "out" / "maps" / "line" / "bad 1.png.png").is_file()


def test_one_file_among_normal_ones(pictures: Path, tmp_path: Path) -> None:
    (pictures / "line" / "bad 0.png").rename(pictures / "bad.png")
    found = detect(_weights(tmp_path / "m"), pictures / "bad.png", tmp_path / "out", false_alarm_rate=0.1)
    assert [(finding.file, finding.anomaly) for finding in found.findings] == [("bad.png", True)]


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    alpha = np.repeat(np.uint8([0, 255]), 5)[:, None].repeat(11, 1)
    cut = np.dstack([_slope(10, 11, 0)] * 3 + [alpha])
    _save(tmp_path / "cut out.png", cut)
    cut[:5] = 255
    _save(tmp_path / "flat.png", cut[..., :3].copy())
    examiner = Examiner(_weights(tmp_path / "m"), device="cpu")
    torch.testing.assert_close(examiner.read(tmp_path / "cut out.png"), examiner.read(tmp_path / "flat.png"))


def test_bands(tmp_path: Path, tiny_weights: Path) -> None:
    gray = Examiner(_weights(tmp_path / "gray"), device="cpu")
    colour = Examiner(_weights(tmp_path / "colour", channels=3), device="cpu")
    _save(tmp_path / "gray.png", _slope(9, 11, 0))
    _save(tmp_path / "colour.png", np.stack([_slope(9, 11, k) for k in range(3)], axis=-1))
    Image.new("CMYK", (11, 9), (0, 0, 0, 51)).save(tmp_path / "cmyk.tif")
    assert gray.read(tmp_path / "gray.png").shape == gray.read(tmp_path / "colour.png").shape == (1, 9, 11)
    assert colour.read(tmp_path / "gray.png").shape == colour.read(tmp_path / "colour.png").shape == (3, 9, 11)
    for examiner, channels in ((gray, 1), (colour, 3)):
        torch.testing.assert_close(examiner.read(tmp_path / "cmyk.tif"), torch.full((channels, 9, 11), 0.8))
    for medium, channels in (("image", 4), ("sound", 3)):
        with pytest.raises(UsageError, match=f"takes {channels} bands"):
            Examiner(_weights(tmp_path / "unfit", medium, channels), device="cpu")
    with pytest.raises(UsageError, match="UNet"):
        Examiner(tiny_weights)


def test_pictures_are_judged_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(_slope(9, 11, 0)).copy()).save(tmp_path / "phone.png", exif=exif)
    _save(tmp_path / "upright.png", _slope(9, 11, 0))
    examiner = Examiner(_weights(tmp_path / "m"), device="cpu")
    assert examiner.read(tmp_path / "phone.png").equal(examiner.read(tmp_path / "upright.png"))


def _tone(seed: int, seconds: float = 1.0, rate_hz: int = 16_000) -> np.ndarray:
    draw = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * 500 * time) + 0.01 * draw.standard_normal(len(time))).astype(np.float32)


def test_recordings(tmp_path: Path) -> None:
    for folder, count in (("normal", 24), ("line", 3)):
        (tmp_path / "sound" / folder).mkdir(parents=True)
        for k in range(count):
            soundfile.write(tmp_path / "sound" / folder / f"{k}.wav", _tone(k + 100 * count, 1 + k / 16), 16_000)
    burst = _tone(0)
    burst[8000:8800] += 0.4 * np.random.default_rng(1).standard_normal(800).astype(np.float32)
    soundfile.write(tmp_path / "sound" / "line" / "burst.flac", np.stack([burst, burst], axis=-1).clip(-1, 1), 16_000)
    soundfile.write(tmp_path / "sound" / "line" / "silent.wav", np.zeros(4000), 16_000)
    weights = _weights(tmp_path / "m", "sound")
    found = detect(weights, tmp_path / "sound", tmp_path / "out", false_alarm_rate=0.1, bands=32)
    assert found.anomalies[0].file == "line/burst.flac"
    assert [Path(failure.source).name for failure in found.failures] == ["silent.wav"]
    assert len(_rows(tmp_path / "out" / "scores.csv")) == 5
    with Image.open(tmp_path / "out" / "maps" / "line" / "burst.flac.png") as heat:
        assert heat.size == (800, 480)


def test_long_recordings_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps_module, "_FRAMES", 7)
    examiner = Examiner(_weights(tmp_path / "m", "sound"), bands=16, device="cpu")
    soundfile.write(tmp_path / "tone.wav", _tone(0, 0.777), 16_000, subtype="FLOAT")
    sound = torch.from_numpy(_tone(0, 0.777))[None]
    whole = log_mel(sound * (0.5 / sound.abs().max()), 16_000, 16)[0]
    torch.testing.assert_close(examiner.read(tmp_path / "tone.wav"), whole, atol=1e-5, rtol=1e-5)
    soundfile.write(tmp_path / "high.wav", _tone(0, 0.777, 48_000), 48_000)
    assert abs(examiner.read(tmp_path / "high.wav").shape[-1] - whole.shape[-1]) <= 1


def test_spectrograms_are_made_as_the_card_tells(tmp_path: Path) -> None:
    network = Autoencoder(1, widths=(), code=3, side=SIDE)
    told = card("told", medium="sound", rate_hz=8000, bands=20)
    weights = pretrained.save(tmp_path / "told", pretrained.Weights(network, None, told))
    soundfile.write(tmp_path / "tone.wav", _tone(0), 16_000)
    assert Examiner(weights, device="cpu").read(tmp_path / "tone.wav").shape == (1, 20, 64)
    with pytest.raises(UsageError, match="bands=20, not 12; leave it out"):
        Examiner(weights, bands=12, device="cpu")
    untold = Examiner(_weights(tmp_path / "m", "sound"), device="cpu")
    assert untold.read(tmp_path / "tone.wav").shape == (1, 64, 64)


def test_refusals(pictures: Path, tmp_path: Path) -> None:
    weights = _weights(tmp_path / "m")
    options: list[tuple[dict[str, Any], str]] = [
        ({"score": "luck"}, "choose error, code or both"),
        ({"false_alarm_rate": 1.5}, "out of range"),
        ({"false_alarm_rate": 0.001}, "takes 999"),
        ({"out": pictures / "line" / "bad 0.png"}, "is a file"),
        ({"data": pictures / "nothing", "normal": pictures / "normal"}, "no file or folder"),
        ({"data": pictures / "line"}, "What is normal"),
        ({"normal": pictures / "line" / "bad 0.png"}, "at least two"),
        ({"data": pictures / "normal", "normal": pictures / "normal"}, "all pictures in it are normal ones"),
        ({"data": tmp_path / "m", "normal": pictures / "normal"}, "it holds no pictures"),
        ({"rate_hz": 16_000}, "for pictures and rate_hz is of sound"),
        ({"bands": 64}, "for pictures and bands is of sound"),
    ]
    for changes, message in options:
        with pytest.raises(UsageError, match=message):
            detect(**{"model": weights, "data": pictures, "out": tmp_path / "out", **changes})
    assert not (tmp_path / "out").exists()


def test_unusable_normal_files_are_told_with_the_reason(pictures: Path, tmp_path: Path) -> None:
    files = sorted((pictures / "normal").iterdir())
    for path in files[20:]:
        path.write_bytes(b"none")
    with pytest.raises(UsageError, match=r"promise a false-alarm rate.*png is not a picture"):
        detect(_weights(tmp_path / "m"), pictures, tmp_path / "out")
    for path in files:
        path.write_bytes(b"none")
    with pytest.raises(UsageError, match=r"None of 25 normal files.*png is not a picture"):
        detect(_weights(tmp_path / "m"), pictures, tmp_path / "out")


def test_the_callers_defaults_change_nothing(pictures: Path, tmp_path: Path) -> None:
    weights = _weights(tmp_path / "m")
    found = [detect(weights, pictures, tmp_path / "out", seed=np.int64(3))]  # type: ignore[arg-type]
    torch.set_default_device("meta")
    torch.set_default_dtype(torch.float64)
    try:
        found.append(detect(weights, pictures, tmp_path / "out", seed=3))
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert found[0] == found[1]


def test_recordings_that_are_no_sound_are_not_judged(tmp_path: Path) -> None:
    examiner = Examiner(_weights(tmp_path / "m", "sound"), device="cpu")
    for sides in ((np.inf, -np.inf), (3e38, 3e38), (np.nan, 0)):
        soundfile.write(tmp_path / "none.wav", np.full((9000, 2), sides, np.float32), 16_000, subtype="FLOAT")
        with pytest.raises(MediaError, match="not finite, or absurdly loud"):
            examiner.read(tmp_path / "none.wav")


def test_recordings_with_nothing_in_the_band_are_not_judged(tmp_path: Path) -> None:
    examiner = Examiner(_weights(tmp_path / "m", "sound"), bands=16, device="cpu")
    high = 0.5 * np.sin(2 * np.pi * 20_000 * np.arange(48_000) / 48_000)
    ramp = np.hanning(48_000)
    opposite = np.stack([_tone(0), -_tone(0) * 1.0001], axis=-1)
    for sound, rate_hz in ((high * ramp, 48_000), (opposite, 16_000)):
        soundfile.write(tmp_path / "nothing.wav", sound, rate_hz, subtype="FLOAT")
        with pytest.raises(MediaError, match="leaves nothing at 16000 Hz"):
            examiner.read(tmp_path / "nothing.wav")
