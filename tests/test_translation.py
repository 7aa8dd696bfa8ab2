"""Translators: their formulas, the image pool, resuming, and the commands."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from limner.cli.main import main
from limner.config import Strategy
from limner.engine import fit
from limner.engine.augment import augmented
from limner.engine.checkpoint import load as load_checkpoint
from limner.engine.events import Listener
from limner.engine.session import Session
from limner.errors import LimnerError
from limner.learners import create
from limner.learners.base import Remembering
from limner.metrics import fidelity
from limner.networks.translators import PatchCritic, Residual, UNet
from limner.seeds import generator
from limner.tasks import Domains, ImageSet, Pairs, Task
from limner.testing import tiny_batch
from limner.types import Request


def noise(count: int, channels: int = 1, seed: int = 0, name: str = "noise") -> ImageSet:
    random = torch.Generator().manual_seed(seed)
    return ImageSet(torch.randint(256, (count, channels, 16, 16), generator=random, dtype=torch.uint8), name)


def task_of(images) -> Task:
    return Task("translate", "tiny", images, images)


CYCLE = {"input_channels": 1, "width": 2, "network": "unet"}


@pytest.mark.parametrize("side", [16, 20, 28, 36, 64, 128])
@pytest.mark.parametrize("network", [UNet, Residual])
def test_networks_keep_the_side(network, side):
    assert network(3, 1, side, 2)(torch.zeros(1, 3, side, side)).shape == (1, 1, side, side)


@pytest.mark.parametrize(("side", "patch"), [(28, 16), (64, 34), (128, 70)])
def test_a_score_depends_on_a_patch_of_the_size_told(side, patch):
    critic = PatchCritic(1, side, 2)
    for layer in critic.modules():  # normalisation spreads over the image; convolutions alone make the patch
        if isinstance(layer, torch.nn.GroupNorm):
            layer.forward = lambda maps: maps
    images = torch.rand(1, 1, side, side, requires_grad=True)
    scores = critic(images)
    middle = scores.shape[1] // 2
    (slope,) = torch.autograd.grad(scores[0, middle, middle], images)
    rows = slope[0, 0].abs().sum(1).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == patch


def test_pix2pix_loss_is_its_formula():
    learner = create("pix2pix", (1, 16, 16), input_channels=3, width=2, objective="least-squares", fidelity=7.0)
    params, batch = learner.init(1), tiny_batch((1, 16, 16), input_channels=3)
    fake = learner.predict(params, Request("translate", images=batch["inputs"]), generator(0))
    critic = learner._critic

    def scores(images):
        return critic(params, torch.cat([2 * batch["inputs"] - 1, 2 * images - 1], 1))

    expected = 0.5 * ((scores(fake) - 1) ** 2).mean() + 7 * 2 * (fake - batch["images"]).abs().mean()
    assert torch.allclose(learner.loss("generator", params, batch, {}).value, expected, atol=1e-5)
    expected = 0.25 * ((scores(batch["images"]) - 1) ** 2).mean() + 0.25 * (scores(fake) ** 2).mean()
    assert torch.allclose(learner.loss("critic", params, batch, {}).value, expected, atol=1e-5)


def test_cycle_loss_is_its_formula():
    learner = create("cycle", (1, 16, 16), fidelity=3.0, identity=0.5, **CYCLE)
    params, batch = learner.init(1), tiny_batch((1, 16, 16), input_channels=1)
    x, y = batch["inputs"], batch["images"]

    def to(what, images):
        return learner.predict(params, Request(what, images=images), generator(0))

    there, back = to("translate", x), to("translate back", y)
    cycle = (to("translate back", there) - x).abs().mean() + (to("translate", back) - y).abs().mean()
    identity = (to("translate", y) - y).abs().mean() + (to("translate back", x) - x).abs().mean()
    fooled = sum(
        0.5 * ((learner._critics[side](params, 2 * fake - 1) - 1) ** 2).mean()
        for side, fake in (("targets", there), ("inputs", back))
    )
    expected = fooled + 2 * 3.0 * (cycle + 0.5 * identity)
    assert torch.allclose(learner.loss("generator", params, batch, {}).value, expected, atol=1e-5)


def test_identity_loss_is_left_out_between_grey_and_colour():
    learner = create("cycle", (3, 16, 16), **CYCLE)
    terms = learner.loss("generator", learner.init(0), tiny_batch((3, 16, 16), input_channels=1), {}).terms
    assert set(terms) == {"adversarial", "cycle"}


def test_the_pool_fills_up_and_then_swaps_as_drawn():
    learner = create("cycle", (1, 16, 16), pool=6, **CYCLE)
    assert isinstance(learner, Remembering)
    params, batch = learner.init(0), tiny_batch((1, 16, 16), input_channels=1)
    random = generator(0)
    assert learner.draw(batch, random) == {}
    first = learner.remember(params, batch, {})
    fakes = 2 * learner.predict(params, Request("translate", images=batch["inputs"]), random) - 1
    assert torch.allclose(first["past targets"], fakes, atol=1e-6)
    full = learner.remember(params, batch | first, {})
    assert {len(past) for past in full.values()} == {6}
    draws = {
        f"{what} {side}": value
        for side in ("targets", "inputs")
        for what, value in (("swap", torch.tensor([True, False, True, False])), ("place", torch.tensor([4, 1, 0, 2])))
    }
    marked = {name: torch.full_like(past, 0.25) for name, past in full.items()}
    after = learner.remember(params, batch | marked, draws)["past targets"]
    assert torch.allclose(after[4], fakes[0], atol=1e-6)
    assert torch.allclose(after[0], fakes[2], atol=1e-6)
    assert (after[[1, 2, 3, 5]] == 0.25).all()
    drawn = learner.draw(batch | marked, random)
    assert set(drawn) == set(draws)
    seen = learner.loss("critic", params, batch | marked, draws)
    unlike = learner.loss("critic", params, batch | {name: -past for name, past in marked.items()}, draws)
    none = learner.loss("critic", params, batch, {})
    assert len({float(loss.value) for loss in (seen, unlike, none)}) == 3
    never = {name: value & False if value.dtype == torch.bool else value for name, value in draws.items()}
    assert torch.allclose(learner.loss("critic", params, batch | marked, never).value, none.value)


class Stopper(Listener):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_step(self, step, values):
        if step == self.at:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)


def test_a_resumed_cycle_is_the_same_as_one_never_stopped(tmp_path):
    learner = create("cycle", (1, 16, 16), pool=3, **CYCLE)
    task = task_of(Domains(noise(5), noise(7, seed=1)))
    strategy = Strategy(steps=6, batch=2)
    whole = fit(learner, task, strategy, seed=2)
    stopped = fit(learner, task, strategy, seed=2, directory=tmp_path / "run", listeners=[Stopper(4)])
    assert stopped.state == "stopped"
    session = Session(learner, task, strategy, 2, learner.init(2), None, (), None)
    assert len(load_checkpoint(tmp_path / "run", session.identity).memory["past inputs"]) == 3
    resumed = fit(learner, task, strategy, seed=2, directory=tmp_path / "run", resume=True)
    assert all(torch.equal(whole.params[name], resumed.params[name]) for name in whole.params)
    assert list((tmp_path / "run" / "samples").glob("step-*.png"))


def test_pix2pix_learns_to_invert():
    inputs = noise(16)
    pairs = Pairs(inputs, ImageSet(255 - inputs.images, "inverted"))
    learner = create("pix2pix", (1, 16, 16), input_channels=1, width=4)
    strategy = Strategy(steps=60, batch=8, learning_rate=5e-3, betas=(0.5, 0.999))
    run = fit(learner, task_of(pairs), strategy, seed=0)
    request = Request("translate", images=inputs.floats())
    error = float((run.learner.predict(run.params, request, generator(0)) - pairs.targets.floats()).abs().mean())
    assert error < 0.15  # a grey image, the best without looking, has 0.25


def test_inputs_and_targets_move_alike():
    images = torch.rand(6, 1, 16, 16)
    moved = augmented({"images": images, "inputs": images.expand(-1, 3, -1, -1)}, ("flip", "shift"), generator(1))
    assert torch.equal(moved["inputs"], moved["images"].expand(-1, 3, -1, -1))
    assert not torch.equal(moved["images"], images)


def test_fidelity_against_known_answers():
    truth = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    images = truth.clone()
    images[1] = 51
    images[2, :, :4] = 255
    assert torch.allclose(fidelity.absolute_errors(images, truth), torch.tensor([0.0, 0.2, 0.5]))
    assert torch.allclose(fidelity.signal_to_noise(images, truth), torch.tensor([100.0, 13.9794, 3.0103]), atol=1e-3)
    scores = fidelity.scores(images, truth)
    assert scores["absolute_error"].low <= scores["absolute_error"].value <= scores["absolute_error"].high
    with pytest.raises(LimnerError, match="cannot be held against"):
        fidelity.absolute_errors(images, truth[:2])


def test_intervals_of_patches_are_over_the_pictures_that_they_are_of():
    random = generator(0)
    truth = torch.zeros(60, 1, 8, 8, dtype=torch.uint8)
    levels = torch.randint(10, 200, (6,), generator=random)  # patches of a picture are all alike
    images = (truth + levels.repeat_interleave(10)[:, None, None, None]).to(torch.uint8)
    of = [f"{place}.png" for place in range(6) for _ in range(10)]
    apart, wide = (fidelity.scores(images, truth, 0, names)["absolute_error"] for names in ((), of))
    few = fidelity.scores(images[::10], truth[::10], 0)["absolute_error"]
    assert wide.value == pytest.approx(apart.value)
    assert (wide.low, wide.high) == (pytest.approx(few.low), pytest.approx(few.high))
    assert (wide.high - wide.low) / (apart.high - apart.low) == pytest.approx(10**0.5, rel=0.15)
    uneven = ["a"] * 50 + ["b"] * 10  # all of a picture's patches come with it
    drawn = fidelity.scores(images, truth, 0, uneven)["absolute_error"]
    means = fidelity.absolute_errors(images, truth)
    ends = sorted([float(means[:50].mean()), float(means[50:].mean())])
    assert [drawn.low, drawn.high] == pytest.approx(ends, abs=1e-5)
    one = fidelity.scores(images, truth, 0, ["a"] * 60)["psnr"]
    assert one.low is one.high is None


@pytest.mark.parametrize(
    ("kind", "images", "changes", "told"),
    [
        ("pix2pix", Domains(noise(3), noise(4)), {}, "learns from pairs, but the 3 images .* 4 .* cycle"),
        ("pix2pix", noise(3), {}, "inputs and targets"),
        ("pix2pix", Pairs(noise(3, 3), noise(3)), {}, "inputs of shape"),
        ("pix2pix", Pairs(noise(3), noise(3)), {"augmentation": ("colour",)}, "cannot be done alike"),
        ("gan", Pairs(noise(3), noise(3)), {}, "images of one set"),
    ],
)
def test_what_does_not_fit_is_refused(kind, images, changes, told):
    options = {} if kind == "gan" else {"input_channels": 1}
    with pytest.raises(LimnerError, match=told):
        fit(create(kind, (1, 16, 16), width=2, **options), task_of(images), Strategy(steps=1, **changes))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"network": "mlp"}, "unet, residual"),
        ({"objective": "relativistic"}, "non-saturating, least-squares, hinge"),
        ({"input_channels": 2}, "1 channel"),
    ],
)
def test_a_wrong_word_is_refused_with_the_right_ones(options, told):
    with pytest.raises(LimnerError, match=told):
        create("pix2pix", (1, 16, 16), **options)
    with pytest.raises(LimnerError, match="16 to 256"):
        create("cycle", (1, 12, 12))


# ── Commands ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SMALL = ["--option", "width=2", "--set", "batch=2"]


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A place with folders of images and two runs in it."""
    place = tmp_path_factory.mktemp("translation")
    for folder, seed in (("photos", 0), ("drawings", 1), ("others", 2)):
        for index, image in enumerate(noise(11 if folder == "others" else 10, seed=seed).images):
            path = place / folder / f"{'other-' if folder == 'others' else ''}{index}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(image[0].numpy()).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("LIMNER_MEMORY", str(place / "memory"))
        adapt = ["adapt", "translate", "folder:drawings", "--budget", "2steps", *SMALL, "--out"]
        assert main([*adapt, "paired", "folder:photos"]) == 0
        assert main([*adapt, "unpaired", "folder:others", "--option", "network=unet"]) == 0
    return place


def refused(capsys, words: list[str]) -> str:
    capsys.readouterr()
    assert main(words) == 2
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return told.err.strip().splitlines()[-1]


def test_a_run_is_complete_and_remembered(place, capsys):
    for run, kind in (("paired", "pix2pix"), ("unpaired", "cycle")):
        record = json.loads((place / run / "run.json").read_text())
        assert record["learner"]["kind"] == kind
        assert ("psnr" in record["scores"]["values"]) is (kind == "pix2pix")
        assert "kernel_distance" in record["scores"]["values"]
        page = (place / run / "report.html").read_text()
        assert page.count('class="triple"') == 2
        assert ("what input 1 should become" in page) is (kind == "pix2pix")
        assert list((place / run / "samples").glob("step-*.png"))
    capsys.readouterr()
    assert main(["memory", "list", "tasks", "--json"]) == 0
    assert {row["goal"] for row in json.loads(capsys.readouterr().out)} == {"translate"}
    assert main(["memory", "list", "runs", "--json"]) == 0
    assert all(row["scores"]["kernel_distance"] for row in json.loads(capsys.readouterr().out))


def test_translate_keeps_names_and_leaves_the_originals(place, capsys):
    before = {path: path.read_bytes() for path in (place / "photos").iterdir()}
    assert main(["translate", "unpaired", "folder:photos", "--out", "made"]) == 0
    assert main(["translate", "unpaired", "folder:photos", "--back", "--out", "back"]) == 0
    assert {path: path.read_bytes() for path in (place / "photos").iterdir()} == before
    names = {path.name for path in (place / "made").glob("[0-9]*.png")}
    assert names == {path.name for path in before}
    assert Image.open(place / "made" / "0.png").size == (16, 16)
    assert (place / "made" / "0.png").read_bytes() != (place / "back" / "0.png").read_bytes()
    assert main(["translate", "unpaired", "folder:photos", "--out", "made", "--force"]) == 0


def test_recommend_tells_pairs_from_none(place, capsys):
    for targets, learner in (("folder:photos", "pix2pix"), ("folder:others", "cycle")):
        assert main(["recommend", "folder:drawings", targets, "--goal", "translate", "--json"]) == 0
        assert {one["learner"] for one in json.loads(capsys.readouterr().out)} == {learner}


def test_mistakes_get_one_sentence(place, capsys):
    (place / "empty").mkdir(exist_ok=True)
    adapt = ["adapt", "translate", "folder:drawings"]
    assert "leave --back out" in refused(capsys, ["translate", "paired", "folder:photos", "--back", "--out", "x"])
    assert "no images" in refused(capsys, ["translate", "paired", "folder:empty", "--out", "x"])
    assert "no images" in refused(capsys, [*adapt, "folder:empty", "--out", "x"])
    assert "one side only" in refused(capsys, [*adapt, "--out", "x"])
    unpaired = refused(capsys, [*adapt, "folder:others", "--learner", "pix2pix", "--out", "x"])
    assert "10 images" in unpaired
    assert "cycle" in unpaired
    assert "two are to translate or restore" in refused(capsys, ["adapt", "generate", "digits", "digits", "--out", "x"])
    assert main(["train", "vae", "digits,size=16", "--budget", "1steps", "--option", "width=4", "--out", "vae"]) == 0
    assert "translates nothing" in refused(capsys, ["translate", "vae", "folder:photos", "--out", "x"])
    assert "then evaluate their folder" in refused(capsys, ["evaluate", "paired", "folder:photos"])
    assert "makes no images" in refused(capsys, ["sample", "paired", "--out", "x"])
    assert not (place / "x").exists()


def test_translators_are_compared_side_by_side(place):
    assert main(["compare", "paired", "unpaired", "--out", "compared"]) == 0
    assert (place / "compared").is_dir()
