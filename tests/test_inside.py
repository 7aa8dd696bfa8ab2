"""Looking inside: great circles, moved dimensions, inversion, attribution; and the page, by the command line."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch
from PIL import Image

import limner
from limner.cli.main import main
from limner.errors import LimnerError
from limner.inside import decoded, drawn, slerp
from limner.learners import create
from limner.metrics import extractor
from limner.types import Request


def run_of(kind: str = "vae", **options) -> limner.Run:
    learner = create(kind, (1, 16, 16), **({"latents": 4, "width": 4} | options))
    return limner.Run(learner, "dots", "", limner.Strategy(), 0, learner.init(seed=0))


class Linear:
    """A learner whose images are known: pixel (i, j) is 0.5 + 0.1·weight[i]·z[i] in the first rows, else 0.5."""

    kind, players, answers = "linear", ("net",), ("sample",)
    image_shape = (1, 4, 4)

    def __init__(self, weights):
        self.weights = torch.tensor(weights)
        self.options = {"latents": len(weights)}

    def decode(self, params, latents, labels=None):
        rows = 0.5 + 0.1 * self.weights * latents
        return torch.cat([rows, rows.new_full((len(rows), 4 - rows.shape[1]), 0.5)], 1)[:, None, :, None].expand(
            -1, 1, -1, 4
        )

    def init(self, *given):
        raise NotImplementedError

    draw = loss = predict = finish = init


def linear(*weights: float) -> limner.Run:
    return limner.Run(Linear(list(weights)), "lines", "", limner.Strategy(), 0, {})


def test_slerp_keeps_the_length_and_goes_evenly_by_angle():
    first, second = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 1.2, 1.6])
    way = slerp(first, second, torch.linspace(0, 1, 5)[:, None])
    assert torch.allclose(way.norm(dim=1), torch.full((5,), 2.0), atol=1e-6)
    assert torch.allclose(way[[0, -1]], torch.stack([first, second]), atol=1e-6)
    angles = torch.acos(torch.nn.functional.cosine_similarity(way[1:], way[:-1]))
    assert torch.allclose(angles, torch.full((4,), math.pi / 8), atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0])
def test_slerp_along_one_line_through_the_origin_is_straight(factor):
    first = torch.tensor([1.0, 2.0])
    way = slerp(first, factor * first, torch.tensor(0.25))
    assert torch.allclose(way, (0.75 + 0.25 * factor) * first, atol=1e-5)


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_an_interpolation_begins_and_ends_with_the_images_of_its_ends(kind):
    run = run_of(kind)
    first, second = drawn(run, 4, seed=3).chunk(2)
    images = limner.interpolate(run, steps=3, ends=(first, second)).images
    ends = torch.stack([decoded(run, first), decoded(run, second)], 1).mul(255).round()
    assert images.shape == (2, 3, 1, 16, 16)
    assert (images[:, [0, -1]].float() - ends).abs().max() <= 1


def test_a_traversal_moves_one_dimension_and_holds_the_others():
    run = linear(1.0, 2.0)
    moved = limner.traverse(run, [1], steps=5, reach=2.0, latent=torch.zeros(2))
    assert moved.offsets.tolist() == [-2, -1, 0, 1, 2]
    assert (moved.images[0, :, 0, 0] == 128).all()
    column = moved.images[0, :, 0, 1, 0].float() / 255 - 0.5
    assert torch.allclose(column, 0.2 * moved.offsets, atol=0.05)  # the spread is measured on 1000 latents


def test_attribution_knows_the_slopes_of_a_linear_decoder():
    found = limner.attribution(linear(1.0, 0.0, 3.0))
    expected = torch.tensor([1.0, 0.0, 3.0]) * 0.1 * 4 / 16
    assert torch.allclose(found.pixels, expected, atol=0.01)
    assert found.order.tolist() == [2, 0, 1]
    assert torch.allclose(found.maps.mean((1, 2)), found.pixels)
    assert (found.maps[2, [0, 1, 3]] == 0).all()


def test_features_of_a_dead_dimension_do_not_change():
    found = limner.attribution(linear(1.0, 0.0), extractor="glyph-net", count=2)
    assert found.features[0] > 0
    assert found.features[1] == 0


def test_inversion_finds_the_latents_that_made_the_images():
    run = linear(1.0, 2.0, 1.5)
    latents = torch.tensor([[0.5, -0.3, 1.0], [-1.0, 0.2, 0.1]])
    found = limner.invert(run, decoded(run, latents), steps=300)
    assert torch.allclose(found.latents, latents, atol=0.02)
    assert (found.error < 1e-3).all()
    assert (found.error < found.first_error).all()


@pytest.mark.parametrize("kind", ["vae", "gan", "vae-gan"])
def test_inversion_never_ends_worse_than_it_began(kind):
    run = run_of(kind)
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = limner.invert(run, images, steps=5, rate=5.0)  # so bold a rate makes matters worse
    assert (found.error <= found.first_error + 1e-6).all()


def test_an_encoder_tells_where_inversion_begins():
    run, images = run_of("vae"), torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        mean, _ = run.learner.encode(run.params, images)
    assert torch.equal(limner.invert(run, images, steps=0).latents, mean)


def test_inversion_moves_nothing_but_its_latents():
    run = run_of("gan")
    before = {name: value.clone() for name, value in run.params.items()}
    limner.invert(run, run.sample(1), steps=2, extractor="glyph-net")
    assert all(torch.equal(run.params[name], value) for name, value in before.items())


@pytest.mark.parametrize("name", ["glyph-net", "efficientnet-lite0"])
def test_features_can_be_differentiated(name):
    images = torch.rand(1, 1, 16, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(extractor(name).features(images).sum(), [images])
    assert slope.abs().sum() > 0


def test_a_run_with_classes_is_looked_into_class_by_class():
    run = run_of("vae", classes=3)
    images, labels = torch.rand(2, 1, 16, 16), torch.tensor([2, 0])
    assert limner.invert(run, images, labels=labels, steps=1).latents.shape == (2, 4)
    assert limner.interpolate(run, pairs=3, steps=2).images.shape[0] == 3
    with pytest.raises(LimnerError, match=r"3 classes, so each image needs the label"):
        limner.invert(run, images)
    with pytest.raises(LimnerError, match="from 0 to 2"):
        limner.traverse(run, [0], label=5)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (lambda run: limner.interpolate(run, ends=(torch.zeros(1, 5), torch.zeros(1, 5))), r"\(n, 4\).*\(1, 5\)"),
        (lambda run: limner.interpolate(run, ends=(torch.zeros(1, 4), torch.zeros(2, 4))), "as many of each"),
        (lambda run: limner.interpolate(run, steps=1), "2 or more"),
        (lambda run: limner.interpolate(run, pairs=0), "at least 1"),
        (lambda run: limner.traverse(run, [4]), "no latent dimension 4; its are 0 to 3"),
        (lambda run: limner.invert(run, torch.zeros(1, 3, 16, 16)), "size=16,colour=grey"),
        (lambda run: limner.invert(run, torch.zeros(1, 1, 16, 16), labels=torch.zeros(1)), "leave labels out"),
        (lambda run: limner.invert(run, torch.zeros(1, 1, 16, 16), steps=-1), "0 or more"),
        (lambda run: limner.nearest(run, torch.zeros(0, 1, 16, 16)), "at least one"),
        (lambda run: limner.attribution(run, count=0), "at least 1"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(what, told):
    with pytest.raises(LimnerError, match=told):
        what(run_of())


def test_a_learner_without_latents_says_so():
    learner = create("classifier", (1, 16, 16), width=4)
    run = limner.Run(learner, "dots", "", limner.Strategy(), 0, learner.init(seed=0))
    with pytest.raises(LimnerError, match="classifier, which has no latents"):
        limner.interpolate(run)


@pytest.mark.parametrize(("kind", "classes"), [("flow", 1), ("flow", 2), ("vq-vae", 2)])
def test_latents_that_are_maps_lead_from_image_to_image_but_mean_nothing_singly(kind, classes):
    run = a_map_run(kind, classes)
    found = limner.interpolate(run, pairs=2, steps=3, seed=1)
    assert found.images.shape == (2, 3, 1, 16, 16)
    ends = decoded(run, found.latents[:, -1], torch.arange(2) if classes > 1 else None).mul(255).round()
    assert (found.images[:, -1].float() - ends).abs().max() <= 1
    for what in (limner.traverse, limner.attribution):
        with pytest.raises(LimnerError, match=r"are maps of the shape .* next to nothing"):
            what(run)


def a_map_run(kind: str, classes: int = 1) -> limner.Run:
    small = {"integration_steps": 3} if kind == "flow" else {"codes": 8, "code_size": 4, "prior_width": 4}
    learner = create(kind, (1, 16, 16), width=4, classes=classes, **small)
    return limner.Run(learner, "dots", "", limner.Strategy(), 0, learner.init(seed=0))


def test_what_a_flow_carries_back_to_noise_it_carries_forth_again():
    learner = create("flow", (1, 16, 16), width=4, integration_steps=40)
    random = torch.Generator().manual_seed(0)
    params = {n: v + 0.1 * torch.randn(v.shape, generator=random) for n, v in learner.init(seed=0).items()}
    run = limner.Run(learner, "dots", "", limner.Strategy(), 0, params)
    images = torch.rand(2, 1, 16, 16, generator=random)
    found = limner.invert(run, images, steps=0)
    assert (found.latents - (2 * images - 1).flatten(1)).abs().max() > 0.1  # it did move
    assert found.error.max() < 2e-3
    mean, log_variance = learner.encode(params, images)
    assert torch.equal(mean, found.latents)
    assert (log_variance == -math.inf).all()


def test_what_a_vq_vae_encodes_decodes_to_its_reconstruction():
    run = a_map_run("vq-vae")
    images = torch.rand(2, 1, 16, 16)
    again = run.learner.predict(run.params, Request("reconstruct", images=images), torch.Generator())
    assert torch.allclose(decoded(run, limner.invert(run, images, steps=0).latents), again, atol=1e-6)
    sampled = run.learner.predict(run.params, Request("sample", count=3), torch.Generator().manual_seed(5))
    codes = run.learner.draw_latents(run.params, 3, None, torch.Generator().manual_seed(5))
    assert torch.allclose(decoded(run, codes), sampled, atol=1e-6)


def test_nearest_finds_the_samples_themselves():
    run = run_of("gan")
    samples = run.sample(3, seed=1)
    found = limner.nearest(run, samples.flip(0), count=3, seed=1)
    assert torch.equal(found.nearest, samples)
    assert (found.distance == 0).all()


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    place = tmp_path_factory.mktemp("inside")
    small = ["--option", "width=4", "--option", "latents=3", "--set", "batch=5", "--memory", str(place / "memory")]
    words = ["train", "vae", "digits,size=16,classes=3", "--shots", "10", "--budget", "2steps", *small]
    assert main([*words, "--out", str(place / "run")]) == 0
    return place


def test_the_page_of_a_run_looks_inside(there):
    page = (there / "run" / "report.html").read_text()
    for title in ("Looking inside", "From one image to another", "Along single dimensions", "What changes where"):
        assert title in page


def test_inspect_writes_a_page_with_every_grid(there, capsys):
    out = there / "inside"
    words = ["inspect", str(there / "run"), "--out", str(out), "--steps", "3", "--memory", str(there / "memory")]
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["dimension"] for row in told["dimensions"]] != []
    assert abs(sum(row["share"] for row in told["dimensions"]) - 1) < 1e-5
    names = {"interpolation", "traversal", "attribution", "inversion", "nearest"}
    assert {path.stem for path in out.glob("*.png")} == names
    assert all(Image.open(path).size[0] > 100 for path in out.glob("*.png"))
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(names)
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert main(words) == 2  # it is there already
    assert "exists already" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0


def test_inspect_takes_images_of_ones_own(there, capsys):
    words = ["inspect", str(there / "run"), "digits,classes=4", "--steps", "0", "--out", str(there / "own")]
    assert main([*words, "--memory", str(there / "memory")]) == 0
    assert (there / "own" / "inversion.png").exists()


def test_inspect_of_a_run_without_latents_writes_nothing(there, capsys):
    words = ["train", "classifier", "digits,size=16", "--shots", "20", "--budget", "1steps", "--option", "width=4"]
    memory = ["--memory", str(there / "memory")]
    assert main([*words, "--out", str(there / "sorts"), *memory]) == 0
    capsys.readouterr()
    assert main(["inspect", str(there / "sorts"), "--out", str(there / "nothing"), *memory]) == 2
    assert "no latents" in capsys.readouterr().err
    assert not (there / "nothing").exists()


def test_inspect_of_a_flow_shows_ways_and_real_images_but_no_dimensions(there, capsys):
    small = ["--option", "width=4", "--option", "integration_steps=2", "--memory", str(there / "memory")]
    words = ["train", "flow", "digits,size=16,classes=3", "--shots", "10", "--budget", "2steps", *small]
    assert main([*words, "--out", str(there / "flow")]) == 0
    assert "From one image to another" in (there / "flow" / "report.html").read_text()
    capsys.readouterr()
    words = ["inspect", str(there / "flow"), "--out", str(there / "flow-inside"), "--memory", str(there / "memory")]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dimensions"] == []
    assert {path.stem for path in (there / "flow-inside").glob("*.png")} == {"interpolation", "inversion", "nearest"}
    page = (there / "flow-inside" / "report.html").read_text()
    assert "a map of 1 × 16 × 16 numbers" in page
    assert "gives them itself" in page
    assert "What each dimension changes" not in page
