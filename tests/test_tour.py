import json
import re
import signal
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

from denoise.corruptions.image import Gaussian
from denoise.errors import UsageError
from denoise.networks.autoencoder import Autoencoder
from denoise.networks.penalties import KLCode
from denoise.tour import Tour, digits, figures, plane, write_tour
from denoise.tour.training import TRAININGS, Trainings
from denoise.training.arrays import load_digits
from denoise.training.autoencoders import DenoisingAutoencoder, UndercompleteAutoencoder


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.captions: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "figcaption":
            self.captions.append("")
            self.inside = True

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.captions[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "figcaption"

    def all(self, tag: str, key: str) -> list[str]:
        return [attrs[key] or "" for name, attrs in self.tags if name == tag and key in attrs]


@pytest.fixture(scope="module")
def told() -> list[tuple[int, int, str]]:
    return []


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory, told: list[tuple[int, int, str]]) -> Tour:
    return write_tour(tmp_path_factory.mktemp("tour") / "new", 0.004, progress=lambda *state: told.append(state))


def test_the_page_has_all_its_pictures_and_needs_nothing_else(tour: Tour) -> None:
    path = Path(tour.page)
    text = path.read_text("utf-8")
    page = _Page(text)
    pictures = page.all("img", "src")
    assert sorted(pictures) == sorted(file.name for file in path.parent.glob("*.png"))
    assert len(pictures) == len(set(pictures)) == len(page.captions) == len(tour.measured) >= 8
    assert all(len(alt) > 20 for alt in page.all("img", "alt"))
    for name in pictures:
        with Image.open(path.parent / name) as picture:
            assert picture.width > 1000
            assert len(set(picture.convert("L").resize((200, 80)).tobytes())) > 10
    assert not page.all("script", "src") and "<script" not in text and "<link" not in text
    assert not re.search(r"(src|href)=\"(https?:|//)|@import|url\(", text)
    ids = set(page.all("section", "id"))
    assert {link.removeprefix("#") for link in page.all("a", "href")} == ids


def test_the_sentences_hold_numbers_of_this_very_run(tour: Tour) -> None:
    page = _Page(Path(tour.page).read_text("utf-8"))
    captions = dict(zip(page.all("img", "src"), page.captions, strict=True))
    measured = json.loads((Path(tour.page).parent / "measured.json").read_text())
    assert measured == tour.measured
    for chapter, key, digits_shown in [
        ("undercomplete", "pca", 3),
        ("undercomplete", "curved", 3),
        ("code-size", "pca_4", 4),
        ("code-size", "deep_4", 4),
        ("kl-penalty", "held_rate", 3),
        ("activations", "dense_error", 4),
        ("vector-field", "near_after", 3),
        ("denoising", "autoencoder_db", 1),
        ("contraction", "held_norm", 2),
        ("overfitting", "tested_64", 4),
    ]:
        assert f"{measured[chapter][key]:.{digits_shown}f}" in captions[f"{chapter}.png"]
    assert all(caption.startswith("Measured.") and caption.endswith(".") for caption in page.captions)


def test_the_progress_counts_every_training(tour: Tour, told: list[tuple[int, int, str]]) -> None:
    assert tour.trainings == TRAININGS == len(told)
    assert [done for done, _, _ in told] == list(range(TRAININGS))
    assert {total for _, total, _ in told} == {TRAININGS}


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        write_tour(tmp_path / "file", 0.01)
    with pytest.raises(UsageError, match="is a file"):
        write_tour(tmp_path / "file" / "below", 0.01)
    for effort in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="effort"):
            write_tour(tmp_path, effort)


@pytest.mark.parametrize("name", ["index.html", "measured.json", "denoising.png"])
def test_nothing_but_a_tour_is_replaced(tour: Tour, tmp_path: Path, name: str) -> None:
    def stop(*_: object) -> None:
        raise InterruptedError

    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=f"{name} exists and is not of a tour"):
        write_tour(tmp_path, 0.01, progress=stop)
    assert (tmp_path / name).read_text() == "mine"
    (tmp_path / "index.html").write_text(Path(tour.page).read_text("utf-8"), "utf-8")
    with pytest.raises(InterruptedError):  # a tour of before: the trainings begin
        write_tour(tmp_path, 0.01, progress=stop)


def test_components_are_those_of_scikit_learn() -> None:
    split = load_digits()
    components = digits.Components(split.train)
    errors = [digits.error(components(split.test, count), split.test) for count in (1, 16, 64)]
    assert errors[0] > errors[1] > errors[2] == pytest.approx(0, abs=1e-9)
    from sklearn.decomposition import PCA

    theirs = PCA(16).fit(split.train.flatten(1).numpy())
    flat = split.test.flatten(1).numpy()
    assert errors[1] == pytest.approx(((theirs.inverse_transform(theirs.transform(flat)) - flat) ** 2).mean(), rel=1e-4)


def test_the_nearest_point_of_the_curve() -> None:
    on_curve = plane.curve(torch.linspace(0, 1, 50))
    assert torch.allclose(plane.nearest(on_curve), on_curve, atol=1e-3)
    assert bool(((on_curve > 0) & (on_curve < 1)).all())
    assert plane.points(5, 1).equal(plane.points(5, 1))


def test_the_drawn_penalty_is_the_trained_one() -> None:
    rate, rho = torch.tensor([0.05, 0.2, 0.9]), 0.2
    closed = rho * (rho / rate).log() + (1 - rho) * ((1 - rho) / (1 - rate)).log()
    assert torch.allclose(figures.kl(rate, rho), closed, atol=1e-6)
    assert KLCode(rho).name == "kl"


def test_overlap_is_the_jaccard_index_over_unlike_pairs() -> None:
    active = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]]).bool()
    assert digits.overlap(active, torch.tensor([0, 1, 1])) == pytest.approx(1 / 3)


def test_the_same_seed_trains_the_same() -> None:
    first, second = (plane.memorise(Trainings(0.005, seed=3)) for _ in range(2))
    assert first.line.equal(second.line)


def test_ctrl_c_is_no_failed_work() -> None:
    def interrupt(_network: Autoencoder, _step: int) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    module = UndercompleteAutoencoder(Autoencoder(1, widths=(), code=3, side=8))
    with pytest.raises(KeyboardInterrupt):
        Trainings().fit(module, torch.rand(4, 1, 8, 8), 20, interrupt)
    assert signal.getsignal(signal.SIGINT) is before


def test_another_seed_draws_another_corruption() -> None:
    one = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))  # no choice of examples

    def trained(seed: int) -> torch.Tensor:
        torch.manual_seed(0)
        module = DenoisingAutoencoder(Autoencoder(1, widths=(), code=3, side=8), Gaussian(50))
        return Trainings(0.01, seed).fit(module, one, 200).encode(one)

    assert trained(1).equal(trained(1))
    assert not trained(1).equal(trained(2))


def test_seeds_that_cannot_be_mixed_are_refused(tmp_path: Path) -> None:
    for seed in (-1, 2**62):
        with pytest.raises(UsageError, match=r"(?i)seed"):
            write_tour(tmp_path / "tour", 0.01, seed)
