from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from denoise.networks import build, describe
from denoise.networks.spectral import SpectralUNet, erb_bands
from denoise.networks.stft import hop_length
from tests.conftest import awake

BINS = [hop_length(rate) + 1 for rate in (4000, 8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000)]


def tiny(**settings: object) -> SpectralUNet:
    torch.manual_seed(0)
    return SpectralUNet(**{"widths": (4, 8), "bands": 32, "temporal": 8, "dilations": (1, 2), **settings})


def spectra(batch: int = 1, frames: int = 9, bins: int = 769, seed: int = 0) -> Tensor:
    return torch.randn(batch, 2, frames, bins, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("bands", "highest_hz"), [(16, 8000), (32, 24_000), (96, 24_000), (128, 24_000)])
def test_bands_divide_the_bins(bands: int, highest_hz: int) -> None:
    weights = erb_bands(bands, highest_hz)
    assert weights.shape == (highest_hz / 31.25 + 1, 64 + bands)
    assert weights.min() == 0
    torch.testing.assert_close(weights.sum(0), torch.ones(64 + bands))
    assert (weights.sum(1) > 0).all(), "every bin is heard in some band"
    assert ((weights > 0).sum(1) <= 2).all(), "and in two neighbours at most"
    assert torch.equal(weights[:64, :64], torch.eye(64))
    assert not weights[:64, 64:].any()
    assert not weights[64:, :64].any()


def test_bands_widen_as_the_ear_does() -> None:
    """Glasberg and Moore: the bandwidth is 24.7 Hz * (4.37 f / kHz + 1)."""
    weights = erb_bands(96, 24_000)[64:, 65:-1]
    hz = 2000 + 31.25 * torch.arange(len(weights))
    centres = (weights * hz[:, None]).sum(0)
    steps = centres[2:] - centres[:-2]
    ears = 24.7 * (4.37e-3 * centres[1:-1] + 1)
    ratio = (steps / ears)[10:]  # where a band is many bins wide
    assert ratio.max() / ratio.min() < 1.1


@pytest.mark.parametrize("bins", BINS)
def test_any_number_of_bins(bins: int) -> None:
    observed = spectra(bins=bins)
    restored = awake(tiny())(observed)
    assert restored.shape == observed.shape
    assert restored.isfinite().all()
    assert not torch.equal(restored, observed)


@pytest.mark.parametrize("frames", [1, 2, 3, 50])
def test_any_number_of_frames(frames: int) -> None:
    assert awake(tiny())(spectra(frames=frames)).shape == (1, 2, frames, 769)


def test_what_lies_above_24_khz_passes_through() -> None:
    observed = spectra(bins=1537)
    restored = awake(tiny())(observed)
    assert torch.equal(restored[..., 769:], observed[..., 769:])
    assert torch.equal(restored[..., :769], awake(tiny())(observed[..., :769])), "and what is below does not hear it"


@pytest.mark.parametrize("level", [1e-6, 1.0, 1e4])
def test_nothing_becomes_louder(level: float) -> None:
    network = awake(tiny())
    with torch.no_grad():
        network.tail.weight *= 100
    observed = level * spectra(2)
    before, after = (s.square().sum(1).sqrt() for s in (observed, network(observed)))
    assert (after <= before * (1 + 1e-5)).all()
    assert (after > 0.9 * before).any()


def test_silence_stays_silence() -> None:
    assert not awake(tiny())(torch.zeros(1, 2, 5, 257)).any()


def test_the_receptive_field_is_exact() -> None:
    network = tiny(dilations=(1, 2, 3)).double()
    for weight in network.parameters():  # positive ones let no ReLU hide a path
        torch.nn.init.uniform_(weight, 0, 1 / weight[0].numel())
    reach = network.receptive_field
    assert reach == 10
    observed = spectra(frames=2 * reach + 5, bins=257).double().abs().requires_grad_()
    middle = reach + 2
    network(observed)[:, :, middle].sum().backward()
    seen = observed.grad.abs().amax((0, 1, 3)).nonzero().flatten() - middle
    assert (int(seen.min()), int(seen.max())) == (-reach, reach)


def test_what_lies_beyond_the_receptive_field_is_not_heard() -> None:
    network, observed = awake(tiny()), spectra(frames=40)
    other = observed.clone()
    other[:, :, 20] += 1
    changed = (network(other) != network(observed)).any(-1).any(1)[0].nonzero().flatten()
    assert changed.min() >= 20 - network.receptive_field
    assert changed.max() <= 20 + network.receptive_field


def test_a_new_network_is_a_fixed_gain() -> None:
    observed = spectra(bins=513)
    gain = math.tanh(1) / math.tanh(1.2)
    torch.testing.assert_close(SpectralUNet()(observed), observed * gain, atol=1e-5, rtol=1e-5)


def test_a_config_builds_the_same_network() -> None:
    network = awake(tiny(highest_hz=16_000))
    again = build(describe(network))
    assert isinstance(again, SpectralUNet)
    assert again.config == network.config
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(spectra()), network(spectra()))
    assert not any("merge" in key for key in network.state_dict()), "what follows from the config is not stored"


def test_examples_do_not_hear_each_other() -> None:
    network, batch = awake(tiny()), spectra(4)
    together = network(batch)
    for one, alone in zip(together, batch, strict=True):
        torch.testing.assert_close(one, network(alone[None])[0], atol=1e-5, rtol=1e-5)


def test_bfloat16_is_close() -> None:
    network, observed = awake(tiny()), spectra(frames=30)
    with torch.autocast("cpu", torch.bfloat16):
        low = network(observed)
    assert low.dtype == torch.float32
    assert (low - network(observed)).square().mean() < 1e-3 * observed.square().mean()


def test_all_weights_learn() -> None:
    network = tiny()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    network(spectra(2, bins=769)).square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []
