from __future__ import annotations

from pathlib import Path

import pytest
import torch

from denoise.corruptions.base import Compose, Identity, OneOf
from denoise.corruptions.image import Drawing, Gaussian, Gray
from denoise.errors import UsageError


def photos(batch: int = 24, bands: int = 3) -> torch.Tensor:
    return torch.rand(batch, bands, 64, 80, generator=seeded())


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_what_is_drawn_is_the_target() -> None:
    clean = photos()
    result = Drawing(Gaussian(20.0))(clean, seeded())
    assert (result.target != clean).flatten(1).any(1).all()
    assert (255 * (result.observed - result.target)).std().item() == pytest.approx(20, rel=0.02)
    torch.testing.assert_close(result.condition, torch.full_like(clean[:, :1], 20 / 255))
    assert torch.equal(255 * result.target, (255 * result.target).round().clamp(0, 255))


def test_drawings_are_flat_in_places_and_sharp_in_others() -> None:
    """As photos are not: in most of them half of the neighbours are equal, and some are far apart."""
    steps = Drawing(Identity())(photos(48), seeded()).target.diff(dim=3).abs().amax(1).flatten(1)
    assert ((steps == 0).float().mean(1) > 0.5).float().mean() > 0.6
    assert (steps.amax(1) > 0.3).float().mean() > 0.7


def test_no_two_drawings_are_alike() -> None:
    drawn = Drawing(Identity())(photos(8), seeded()).target
    other = Drawing(Identity())(photos(8), seeded(2)).target
    every = torch.cat([drawn, other]).flatten(1)
    assert len(every.unique(dim=0)) == 16


def test_in_place_of_some_of_the_pictures() -> None:
    clean = photos(40)
    result = OneOf([Identity(), Drawing(Identity())], [3, 1])(clean, seeded())
    assert 3 <= (result.target != clean).flatten(1).any(1).sum() <= 20


def test_gray_drawings() -> None:
    assert Drawing(Identity())(photos(2, bands=1), seeded()).target.shape == (2, 1, 64, 80)
    gray = Gray(Drawing(Identity()), probability=1.0)(photos(4), seeded()).target
    assert torch.equal(gray[:, 0], gray[:, 2])


def test_typefaces_of_a_folder(tmp_path: Path) -> None:
    import matplotlib as mpl

    fonts = Path(mpl.get_data_path(), "fonts", "ttf")
    own, more = (Drawing(Identity(), fonts=folder)(photos(), seeded()).target for folder in (None, str(fonts)))
    assert not torch.equal(own, more)
    with pytest.raises(UsageError, match=r"no \.ttf or \.otf file"):
        Drawing(Identity(), fonts=str(tmp_path))


def test_a_drawing_forgets_no_damage() -> None:
    with pytest.raises(UsageError, match="Drawing would throw away the damage before it"):
        Compose([Gaussian(50.0), Drawing(Identity())])(photos(), seeded())
    with pytest.raises(UsageError, match="2 bands"):
        Drawing(Identity())(photos(2, bands=2), seeded())
