"""Restoring by a generator's latents: what a generator made is found again, and what it cannot know is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import limner
from limner.cli.main import main
from limner.degradations import parse
from limner.errors import LimnerError
from limner.inside.latents import decoded, drawn
from limner.learners import create
from limner.restoration import Knowledge, restorer
from limner.restoration.generative import GenerativePrior

SHAPE = (1, 16, 16)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run_of(kind: str = "vae", shape: tuple[int, int, int] = SHAPE, **options: object) -> limner.Run:
    """A run whose generator was never trained, but has weights large enough that its images differ."""
    learner = create(kind, shape, width=4, **options)
    params = {name: 2 * value if value.ndim > 1 else value for name, value in learner.init(seed=1).items()}
    return limner.Run(learner, "blobs", "", limner.Strategy(), 0, params)


def damaged(text: str, images: Tensor, noise: float) -> tuple[Tensor, Knowledge]:
    damage, shape = parse(text), tuple(images.shape)
    parameters = damage.sample(shape, random(1))
    return damage.apply(images, parameters, random(2)), Knowledge.of(damage, parameters, shape, noise)


def error(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).square().mean().sqrt())


@pytest.mark.parametrize("kind", ["vae", "gan"])
@pytest.mark.parametrize("text", ["missing(0.7)", "downsample(4)", "boxes(1,size=0.5)"])
def test_what_the_generator_made_is_found_again(kind, text):
    run = run_of(kind, latents=3)
    clean = decoded(run, drawn(run, 2, seed=5))
    seen, known = damaged(text, clean, noise=0.0)
    prior = GenerativePrior(run, starts=2, steps=60, adapting=3, looseness=0.01)
    found = prior.restore(seen, known, random())
    usual = restorer("plug-and-play", prior="wavelets").restore(seen, known, random())
    assert error(found, clean) < 0.02
    assert error(found, clean) < 0.5 * error(usual, clean)
    if known.mask is not None:
        assert torch.equal(found * known.mask, clean * known.mask)


def test_adapting_meets_data_that_the_latents_cannot_and_stops_at_the_noise():
    run = run_of(latents=2)
    target = torch.rand(1, 1, 4, 4, generator=random()).repeat_interleave(4, 2).repeat_interleave(4, 3)
    noise = 0.1
    noisy = target + noise * torch.randn(target.shape, generator=random(3))
    ways = {steps: GenerativePrior(run, starts=1, steps=20, adapting=steps) for steps in (1, 150)}
    found = {steps: prior.generated(noisy, Knowledge(noise=noise), random()) for steps, prior in ways.items()}
    apart = {steps: error(image, noisy) for steps, image in found.items()}
    assert apart[150] < 0.8 * apart[1]
    assert apart[150] > 0.9 * noise


def test_nothing_given_is_changed_and_the_same_seed_gives_the_same():
    run, images = run_of(), torch.rand(2, *SHAPE, generator=random(), dtype=torch.float64)
    before, params = images.clone(), {name: value.clone() for name, value in run.params.items()}
    prior = GenerativePrior(run, starts=2, steps=3, adapting=2)
    first, again = (prior.restore(images, Knowledge(noise=0.1), random()) for _ in range(2))
    assert first.dtype == torch.float64
    assert torch.equal(first, again)
    assert torch.equal(images, before)
    assert all(torch.equal(run.params[name], value) for name, value in params.items())


def test_images_of_a_batch_go_their_own_ways():
    run = run_of("gan", latents=3)
    clean = decoded(run, drawn(run, 3, seed=2))
    both = parse("blur(gaussian,width=1..2)")
    parameters = both.sample(tuple(clean.shape), random())
    known = Knowledge.of(both, parameters, tuple(clean.shape), 0.0)  # a blur of its own for each
    found = GenerativePrior(run, steps=60, adapting=2).restore(both.apply(clean, parameters, random()), known, random())
    assert (found - clean).square().mean((1, 2, 3)).sqrt().max() < 0.03


def test_of_classes_the_one_that_fits_is_taken():
    run = run_of("vae", classes=3, latents=2)
    params = {name: 4 * value if value.ndim > 1 else value for name, value in run.params.items()}
    run = limner.Run(run.learner, "blobs", "", limner.Strategy(), 0, params)
    for label in range(3):
        clean = decoded(run, torch.zeros(1, 2), torch.tensor([label]))
        seen, known = damaged("missing(0.5)", clean, 0.0)
        assert error(GenerativePrior(run, steps=30, adapting=1).restore(seen, known, random()), clean) < 0.02


@pytest.mark.parametrize("kind", ["vae-gan", "imle", "flow"])
def test_any_learner_with_latents(kind):
    prior = GenerativePrior(run_of(kind), starts=1, steps=1, adapting=1)
    assert prior.restore(torch.rand(1, *SHAPE), Knowledge(noise=0.1), random()).shape == (1, *SHAPE)


def test_grey_images_by_a_generator_of_colours():
    prior = GenerativePrior(run_of("gan", (3, 16, 16)), starts=1, steps=1, adapting=1)
    for channels in (1, 3):
        assert prior.restore(torch.rand(1, channels, 16, 16), Knowledge(noise=0.1), random()).shape[1] == channels


def test_what_is_refused():
    prior = GenerativePrior(run_of())
    with pytest.raises(LimnerError, match="16×16 pixels and knows nothing of images of 20×16"):
        prior.restore(torch.zeros(1, 1, 16, 20), Knowledge(noise=0.1), random())
    with pytest.raises(LimnerError, match="make them grey"):
        prior.restore(torch.zeros(1, 3, 16, 16), Knowledge(noise=0.1), random())
    with pytest.raises(LimnerError, match="needs to know how strong"):
        prior.restore(torch.zeros(1, *SHAPE), Knowledge(), random())
    with pytest.raises(LimnerError, match="codes"):
        GenerativePrior(run_of("vq-vae"))
    with pytest.raises(LimnerError, match="no latents"):
        GenerativePrior(run_of("classifier"))
    for options in ({}, {"run": "somewhere"}):
        with pytest.raises(LimnerError, match="needs the option run"):
            restorer("generative-prior", **options)


def test_on_the_command_line(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    run = run_of("vae", latents=3)
    run.save(tmp_path / "run")
    images = run.sample(2, seed=4)
    (tmp_path / "in").mkdir()
    for place in range(2):
        Image.fromarray(images[place, 0].numpy()).save(tmp_path / "in" / f"{place}.png")
    Image.fromarray(images[0, 0].repeat(1, 2).numpy()).save(tmp_path / "in" / "wide.png")
    settings = ["-o", "steps=2", "-o", "starts=1", "-o", "adapting=1", "--noise", "5", "--no-check"]
    assert main(["restore", "generative-prior", "in", "-o", "run=run", *settings, "--out", "made"]) == 0
    assert sorted(path.name for path in (tmp_path / "made").glob("*.png")) == ["0.png", "1.png"]
    assert "16×16 pixels" in capsys.readouterr().out
    assert main(["restore", "generative-prior", "in", "--out", "none"]) == 2
    assert "run" in capsys.readouterr().err
