"""The windowed result is the result of the whole signal: for any size, any number of dimensions, any memory."""

from __future__ import annotations

import itertools
import random
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from denoise.errors import DenoiseError, ModelError, UsageError
from denoise.networks.unet import UNet
from denoise.windows import Windows, pad, spans, sweep, sweep_rows

TOLERANCE = 1e-5
"""Of float32 convolutions, which add up in another order when the size differs"""


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def identity(window: Tensor, position: tuple[slice, ...]) -> Tensor:
    return window


def whole(network, signal: Tensor, windows: Windows) -> Tensor:
    """The reference: pad, run the network once on everything, crop."""
    padded = pad(signal, windows.multiple_of)
    result = network(padded[None].clone(), tuple(slice(0, side) for side in padded.shape[1:]))[0]
    return result[(slice(None), *(slice(0, side) for side in signal.shape[1:]))]


class Strided(nn.Module):
    """Two levels and two output channels for one input channel, in 1 to 3 dimensions."""

    multiple_of = 2
    # Two convolutions on pairs reach 2 * 2 samples, the place within a pair adds 1, the first convolution 1.
    receptive_field = 6

    def __init__(self, ndim: int) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[ndim - 1]
        up = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[ndim - 1]
        self.layers = nn.Sequential(
            conv(1, 3, 3, padding=1),
            nn.ReLU(inplace=True),
            conv(3, 4, 2, stride=2),
            conv(4, 4, 3, padding=1),
            nn.ReLU(inplace=True),
            conv(4, 4, 3, padding=1),
            up(4, 2, 2, stride=2),
        )

    def forward(self, window: Tensor, _: tuple[slice, ...]) -> Tensor:
        return self.layers(window)


def draws() -> Iterator[tuple[int, Windows]]:
    """A table of awkward cases, then seeded random ones."""
    yield from ((1, Windows(8)), (1, Windows(64, 5, 3, 8)), (7, Windows(8)), (8, Windows(8)), (9, Windows(8, 0, 0, 8)))
    yield from ((17, Windows(10, 0, 7, 2)), (4000, Windows(1024, 24, 8, 8)), (3001, Windows(65, 24, 8, 8)))
    rng = random.Random(0)
    for _ in range(300):
        multiple_of, context, fade = rng.choice((1, 2, 3, 8)), rng.randrange(9), rng.randrange(12)
        smallest = Windows(1000, context, fade, multiple_of).smallest
        yield rng.randint(1, 300), Windows(smallest + rng.randrange(60), context, fade, multiple_of)


@pytest.mark.parametrize("start_at", [0, 1])
def test_spans_tile_the_axis_with_full_context_and_the_least_overlap(start_at: int) -> None:
    for length, windows in draws():
        cut = spans(length, windows)
        if start_at >= len(cut):
            continue
        cut = spans(length, windows, cut[start_at].start)
        unit = windows.multiple_of
        end = -(-length // unit) * unit
        assert (cut[0].start == 0) == (start_at == 0)
        assert (cut[0].keep_start == 0) == (start_at == 0)
        assert (cut[-1].stop, cut[-1].keep_stop) == (end, length)
        for span in cut:
            assert span.start % unit == span.stop % unit == 0
            assert span.stop - span.start <= windows.size
            assert span.start == 0 or span.keep_start - span.start >= windows.context
            assert span.stop == end or span.stop - span.keep_stop >= windows.context
        for one, two in itertools.pairwise(cut):
            assert one.stop - two.start == windows.overlap < 2 * windows.context + windows.fade + unit
            assert one.keep_stop - two.keep_start == windows.fade
        sides = [span.stop - span.start for span in cut]
        assert max(sides) - min(sides) <= unit, "windows are near-equal, none is thin"
        fewer = len(cut) - 1
        assert (
            fewer == 0 or fewer * (windows.size // unit * unit - windows.overlap) + windows.overlap < end - cut[0].start
        )


def test_a_wide_picture_gets_equal_windows() -> None:
    sides = [span.stop - span.start for span in spans(4000, Windows(1024, 24, 8, 8))]
    assert len(sides) == 5
    assert set(sides) <= {840, 848}


def window_weights(shape: tuple[int, ...], windows: Windows) -> Tensor:
    """`[windows, *shape]`: what each window contributes, from a network that says which window it is."""
    total = 1
    for length in shape:
        total *= len(spans(length, windows))
    number = itertools.count()

    def which(window: Tensor, position: tuple[slice, ...]) -> Tensor:
        result = window.new_zeros(1, total, *window.shape[2:])
        result[:, next(number)] = 1
        return result

    weights = sweep(which, torch.zeros(1, *shape), windows)
    assert next(number) == total
    return weights


def test_the_weights_of_all_windows_sum_to_one() -> None:
    cases = [((length,), windows) for length, windows in itertools.islice(draws(), 0, 200, 4)]
    cases += [((13, 29), Windows(12, 1, 3, 2)), ((1, 31), Windows(9, 2, 2)), ((5, 11, 7), Windows(5, 0, 2))]
    for shape, windows in cases:
        weights = window_weights(shape, windows)
        torch.testing.assert_close(weights.sum(0), torch.ones(shape), atol=1e-6, rtol=0)
        assert weights.min() >= 0


def test_the_blend_is_linear_and_a_product_over_the_axes() -> None:
    windows = Windows(14, 2, 4)  # two windows of 14 on 20 samples: they share samples 6..14 and fade over 8..12
    along = window_weights((20,), windows)
    rising = torch.cat([torch.zeros(8), torch.tensor([0.125, 0.375, 0.625, 0.875]), torch.ones(8)])
    assert torch.equal(along, torch.stack([1 - rising, rising]))
    product = torch.einsum("ax,by,cz->abcxyz", along, along, along).reshape(8, 20, 20, 20)
    torch.testing.assert_close(window_weights((20, 20, 20), windows), product, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(1,), (2,), (37,), (64,), (1, 1), (3, 5), (1, 41), (32, 32), (31, 53), (9, 23, 17)])
@pytest.mark.parametrize("room", [2, 13, 100])
def test_tiled_equals_untiled(shape: tuple[int, ...], room: int) -> None:
    network = Strided(len(shape))
    smallest = Windows(1000, network.receptive_field, 3, network.multiple_of).smallest
    windows = Windows(smallest + room, network.receptive_field, 3, network.multiple_of)
    signal = torch.rand(1, *shape)
    result = sweep(network, signal, windows)
    assert result.shape == (2, *shape)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, whole(network, signal, windows), atol=TOLERANCE, rtol=0)


def test_too_little_context_shows() -> None:
    network, signal = Strided(2), torch.rand(1, 31, 53)
    windows = Windows(20, 0, 0, network.multiple_of)
    assert (sweep(network, signal, windows) - whole(network, signal, windows)).abs().max() > 100 * TOLERANCE


def test_tiled_equals_untiled_for_the_unet() -> None:
    unet = UNet(widths=(8, 16, 32)).eval()
    for name, parameter in unet.named_parameters():
        if name.endswith("second.weight"):
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    unit = unet.multiple_of
    # What a block of `unit` samples sees along one axis, measured: every place relative to the strides is in it.
    at = 25 * unit
    with torch.enable_grad():
        probe = torch.rand(1, 3, 3 * unit, 50 * unit, requires_grad=True)
        unet(probe, torch.rand(1, 1, 3 * unit, 50 * unit))[..., at : at + unit].sum().backward()
    assert probe.grad is not None
    seen = probe.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    radius = max(at + unit - 1 - int(seen.min()), int(seen.max()) - at)
    assert 60 < radius < 110

    windows = Windows(2 * radius + 60, context=radius, fade=8, multiple_of=unit)
    signal, noise_level = torch.rand(3, 257, 331), torch.rand(1, 257, 331)
    condition = pad(noise_level, unit)[None]
    sides = []

    @torch.inference_mode()
    def network(window: Tensor, position: tuple[slice, ...]) -> Tensor:
        sides.append(window.shape[2:])
        return unet(window, condition[(..., *position)])

    result = sweep(network, signal, windows)
    assert len(sides) > 4
    torch.testing.assert_close(result, whole(network, signal, windows), atol=TOLERANCE, rtol=0)


def test_padding_reflects_then_replicates() -> None:
    assert pad(torch.tensor([[1.0, 2, 3, 4, 5]]), 8).tolist() == [[1, 2, 3, 4, 5, 4, 3, 2]]
    assert pad(torch.tensor([[1.0, 2]]), 8).tolist() == [[1, 2, 1, 1, 1, 1, 1, 1]]
    assert pad(torch.tensor([[[7.0]]]), 2).tolist() == [[[7, 7], [7, 7]]]
    untouched = torch.rand(2, 8, 16)
    assert torch.equal(pad(untouched, 8), untouched)


@pytest.mark.parametrize("windows", [Windows(8, 0, 0, 8), Windows(16, 2, 3, 8), Windows(7, 2, 2), Windows(9, 0, 8, 1)])
@pytest.mark.parametrize("shape", [(9,), (41,), (17, 23), (10, 9, 11)])
def test_a_network_that_changes_nothing_changes_no_bit(shape: tuple[int, ...], windows: Windows) -> None:
    signal = torch.rand(2, *shape)
    assert torch.equal(sweep(identity, signal, windows), signal)


@pytest.mark.parametrize("windows", [Windows(8, 0, 0, 8), Windows(24, 2, 3, 8), Windows(64, 2, 3, 8)])
def test_every_window_is_cut_from_the_padded_signal(windows: Windows) -> None:
    signal = torch.rand(1, 41, 18)
    padded = pad(signal, 8)

    def check(window: Tensor, position: tuple[slice, ...]) -> Tensor:
        assert torch.equal(window[0], padded[(slice(None), *position)])
        return window.fill_(float("nan"))  # its own copy: neighbours must not see this

    assert sweep(check, signal, windows).isnan().all()


class Stream:
    """A source that is read row by row and remembers how."""

    def __init__(self, signal: Tensor) -> None:
        self.signal = signal
        self.reads: list[tuple[int, int]] = []

    def read(self, start: int, stop: int) -> Tensor:
        self.reads.append((start, stop))
        return self.signal[:, start:stop]

    def assert_read_once(self) -> None:
        assert all(stop > start for start, stop in self.reads)
        starts, stops = zip(*self.reads, strict=True)
        assert (0, *stops) == (*starts, self.signal.shape[1])


@pytest.mark.parametrize("shape", [(1,), (50,), (301,), (1, 30), (61, 30), (28, 11, 9)])
def test_rows_may_be_written_over_their_source(shape: tuple[int, ...]) -> None:
    network = Strided(len(shape))
    signal = torch.rand(1, *shape)
    for windows in (Windows(18, 6, 3, 2), Windows(26, 6, 0, 2), Windows(400, 6, 3, 2)):
        expected = whole(network, signal, windows)[:1]
        stream = Stream(signal.clone())
        done = 0
        for start, stop, rows in sweep_rows(network, stream.read, shape, windows):
            assert start == done < stop <= stream.reads[-1][1]
            assert rows.shape == (2, stop - start, *shape[1:])
            stream.signal[:, start:stop] = rows[:1]
            rows.fill_(float("nan"))  # yielded rows are the caller's
            done = stop
        assert done == shape[0]
        stream.assert_read_once()
        torch.testing.assert_close(stream.signal, expected, atol=TOLERANCE, rtol=0)


class LargestTensor(TorchDispatchMode):
    """Watches how many numbers the largest tensor has that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numel = max(self.numel, result.numel())
        return result


def test_memory_is_bounded_by_a_band_of_windows() -> None:
    windows = Windows(40, 3, 2, 4)
    with LargestTensor() as largest:
        for _ in sweep_rows(identity, lambda start, stop: torch.ones(2, stop - start, 30), (5000, 30), windows):
            pass
    # One unit of rows more than a band is held for the reflection at the far end; 30 columns are padded to 32.
    assert largest.numel <= 2 * (windows.size + windows.multiple_of) * 32


class Cramped:
    """A network that runs out of memory for large windows, and for its n-th call whatever the size."""

    def __init__(self, network: nn.Module, largest: int, fails_at: int = -1) -> None:
        self.network, self.largest, self.fails_at = network, largest, fails_at
        self.calls: list[tuple[slice, ...]] = []
        self.failures = 0
        self.lost = weakref.WeakSet[Tensor]()

    def __call__(self, window: Tensor, position: tuple[slice, ...]) -> Tensor:
        assert not self.lost, "nothing of a failed band is kept while it is done again"
        self.calls.append(position)
        if max(window.shape[2:]) > self.largest or len(self.calls) == self.fails_at:
            self.failures += 1
            self.lost.add(window)
            raise torch.OutOfMemoryError("no memory left")
        return self.network(window, position)


@pytest.mark.parametrize("shape", [(200,), (90, 75), (41, 20, 37), (20, 190)])
def test_windows_halve_when_memory_runs_out(shape: tuple[int, ...]) -> None:
    signal = torch.rand(1, *shape)
    inner = Strided(len(shape))
    windows = Windows(1000, 6, 3, 2)
    network, stream = Cramped(inner, largest=30), Stream(signal)
    parts = [rows for _, _, rows in sweep_rows(network, stream.read, shape, windows)]
    stream.assert_read_once()
    torch.testing.assert_close(torch.cat(parts, 1), whole(inner, signal, windows), atol=TOLERANCE, rtol=0)
    # The whole signal is tried first, then windows of half the longest side.
    side = max(network.calls[0][axis].stop for axis in range(len(shape)))
    assert network.failures == next(n for n in range(9) if side // 2**n <= network.largest)


def test_finished_rows_are_kept_when_memory_runs_out_late() -> None:
    signal = torch.rand(1, 300)
    windows = Windows(60, 6, 3, 2)
    bands = spans(300, windows)
    network, stream = Cramped(Strided(1), largest=60, fails_at=4), Stream(signal)
    parts = [rows for _, _, rows in sweep_rows(network, stream.read, (300,), windows)]
    stream.assert_read_once()
    assert network.failures == 1
    assert [position[0].start for position in network.calls[:5]] == [band.start for band in (*bands[:4], bands[3])]
    assert all(position[0].stop - position[0].start <= 30 for position in network.calls[4:])
    torch.testing.assert_close(torch.cat(parts, 1), whole(network.network, signal, windows), atol=TOLERANCE, rtol=0)


def test_no_memory_for_the_smallest_window_is_an_error() -> None:
    network = Cramped(Strided(1), largest=0)
    with pytest.raises(DenoiseError, match="no memory for a window of 18 samples a side") as caught:
        sweep(network, torch.rand(1, 200), Windows(60, 6, 3, 2))
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert network.failures == 3  # 60, 30, 18


@pytest.mark.parametrize("fields", [{"size": 23}, {"context": -1}, {"fade": -1}, {"multiple_of": 0}])
def test_windows_that_cannot_be_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Windows(**{"size": 64, "context": 4, "fade": 5, "multiple_of": 8, **fields})


def test_an_empty_signal_is_refused() -> None:
    for shape in ((0,), (4, 0), ()):
        with pytest.raises(UsageError, match="empty"):
            sweep(identity, torch.zeros(1, *shape), Windows(8))


def test_a_network_that_changes_sides_is_refused() -> None:
    with pytest.raises(ModelError, match="must keep"):
        sweep(lambda window, _: window[..., 1:], torch.rand(1, 20), Windows(8))


def test_a_network_may_write_every_result_to_the_same_memory() -> None:
    windows, signal = Windows(20, 2, 8), torch.rand(1, 68)
    assert len({span.stop - span.start for span in spans(68, windows)}) == 1
    memory = torch.empty(1, 1, 20)
    assert torch.equal(sweep(lambda window, _: memory.copy_(window), signal, windows), signal)


def test_other_float_types_come_back_as_float32() -> None:
    signal = torch.rand(1, 50)
    result = sweep(lambda window, _: window.bfloat16(), signal, Windows(16, 2, 4))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, signal, atol=2**-9, rtol=0)
