"""To restore without pairs: damaged images alone, or beside clean ones that they do not match."""

import json

import pytest
import torch

from limner.cli.main import main
from limner.config import Strategy
from limner.degradations import parse
from limner.engine import Run, fit
from limner.errors import LimnerError
from limner.learners import batch_of, create
from limner.meta import MetaPlan
from limner.meta.algorithms import meta_gradient
from limner.meta.episodes import episode_of
from limner.meta.inner import adapt
from limner.objectives.alone import draw_hidden, hidden_pixels
from limner.restoration.several import estimated
from limner.tasks import Alone, DegradationFamily, ImageSet, Pairs, Task, family_from_json
from limner.tasks.restoration import Materials, materials, restoration_task
from limner.types import Request
from limner.verbs.meta_train import configure
from limner.verbs.restoration import foreseen_error, given, hidden_error, keep_the_best
from limner.verbs.warnings import of_one_intensity


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=6, side=16, channels=1, seed=3):
    """Blocks of even intensity, which noise stands out from."""
    coarse = torch.randint(60, 196, (count, channels, 4, 4), generator=random(seed), dtype=torch.uint8)
    return ImageSet(coarse.repeat_interleave(side // 4, 2).repeat_interleave(side // 4, 3), "blocks")


def noisy(images, text="gaussian(25)+quantise(8)", seed=1):
    damaged = parse(text)(images.floats(), random(seed))
    return ImageSet((damaged.clamp(0, 1) * 255).round().to(torch.uint8), "noisy")


def ramps(count=3, side=64):
    """Smooth images, in which nothing looks like noise."""
    down = torch.linspace(40, 200, side)[:, None]
    return [(down + place * torch.linspace(-10, 10, side)).round().to(torch.uint8)[None] for place in range(count)]


def files(folder, images):
    from PIL import Image

    folder.mkdir()
    for place, image in enumerate(images):
        Image.fromarray(image.numpy().transpose(1, 2, 0).squeeze()).save(folder / f"{place}.png")
    return f"folder:{folder}"


def small():
    return create("restorer", (1, 16, 16), width=4, depth=3)


# ── What hidden pixels teach ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_hidden_pixel_is_not_seen_and_only_hidden_ones_count():
    images = torch.rand(2, 1, 9, 12, generator=random())
    draws = draw_hidden(images, random(1))
    hidden = draws["hidden"] > 0
    seen = []
    wrong = hidden_pixels(lambda covered: seen.append(covered) or covered * 0 + 0.5, images, draws)
    assert torch.equal(seen[0][~hidden], images[~hidden])
    assert torch.allclose(wrong[hidden], 0.5 - images[hidden])
    assert not wrong[~hidden].any()
    other = torch.where(hidden, torch.rand(images.shape, generator=random(2)), images)
    hidden_pixels(lambda covered: seen.append(covered) or covered, other, draws)
    assert torch.equal(seen[0], seen[1])


def test_the_hidden_square_is_that_to_the_clean_image_and_the_noise_more():
    clean = pictures(200, 12).floats()
    sigma = 0.1
    damaged = clean + sigma * torch.randn(clean.shape, generator=random())
    draws = draw_hidden(damaged, random(1))
    found = hidden_pixels(lambda covered: clean + 0.05, damaged, draws).square().sum() / draws["hidden"].sum()
    assert float(found) == pytest.approx(0.05**2 + sigma**2, rel=0.05)


def test_a_restorer_learns_from_damaged_images_alone():
    clean = pictures(24)
    damaged = clean.floats() + 0.15 * torch.randn(clean.floats().shape, generator=random())
    alone = Alone(ImageSet((damaged.clamp(0, 1) * 255).round().to(torch.uint8), "noisy"))
    net = create("restorer", (1, 16, 16), width=8, depth=4)
    run = fit(net, Task("restore", "noisy", alone, None), Strategy(steps=150, batch=8, learning_rate=5e-3))
    truth = pictures(16, seed=9).floats()
    held = truth + 0.15 * torch.randn(truth.shape, generator=random(5))
    made = net.predict(run.params, Request("restore", images=held), random())
    assert (made - truth).square().mean() < 0.6 * (held - truth).square().mean()


def test_damaged_images_alone_are_no_truth():
    alone = Alone(pictures(3))
    assert set(batch_of(alone)) == {"inputs"}
    assert not isinstance(alone.select(torch.tensor([0, 2])), Pairs)
    assert len(alone.select(torch.tensor([0, 2]))) == 2
    assert small().draw(batch_of(Pairs(pictures(), pictures())), random()) == {}


# ── Starts that adapt to damaged images alone ─────────────────────────────────────────────────────────────────────────


def family(**changes):
    return DegradationFamily(pictures(12, 32), "gaussian(5..50)", patch=16, shots=3, queries=2, **changes)


def test_a_family_shows_damaged_patches_alone_and_is_judged_on_pairs():
    made = family(alone=True)
    task = made.task("train", 2, seed=4)
    pairs = family().task("train", 2, seed=4)
    assert isinstance(task.support, Alone)
    assert torch.equal(task.support.inputs.floats(), pairs.support.inputs.floats())
    assert isinstance(task.query, Pairs)
    again = family_from_json(made.to_json(), made.images).task("train", 2, seed=4)
    assert again.sha256 == task.sha256 != pairs.sha256
    assert "alone" not in family().to_json()


@pytest.mark.parametrize("algorithm", ["maml", "anil", "reptile"])
def test_the_meta_gradient_goes_through_steps_that_see_no_clean_image(algorithm):
    net = small()
    plan = MetaPlan(algorithm=algorithm, inner_steps=2, inner_rate=0.5, inner_optimiser="sgd")
    episode = episode_of(net, plan, family(alone=True).task("train", 0, seed=1), random())
    assert set(episode.inner) == {"inputs"}
    assert set(episode.query) == {"inputs", "images"}
    episode = type(episode)(*({name: value.double() for name, value in part.items()} for part in episode))
    start = {name: value.double() for name, value in net.init(0).items()}
    found = meta_gradient(net, plan, start, episode).gradient
    if algorithm == "reptile":
        adapted = adapt(net, plan, start, episode)
        assert all(torch.allclose(found[name], start[name] - adapted[name]) for name in start)
        return
    direction = {name: torch.randn(value.shape, generator=random(7)).double() for name, value in start.items()}

    def outer(step):
        moved = {name: value + step * direction[name] for name, value in start.items()}
        return float(net.loss("net", adapt(net, plan, moved, episode), episode.query, {}).value)

    measured = (outer(1e-5) - outer(-1e-5)) / 2e-5
    predicted = sum(float((found[name] * direction[name]).sum()) for name in start)
    assert predicted == pytest.approx(measured, rel=1e-4, abs=1e-8)


def test_meta_training_is_told_that_there_are_damaged_images_alone():
    asked = {"algorithm": "maml", "learner": "restorer", "family": "digits", "degradation": "gaussian(5..50)"}
    settled = configure(**asked, alone=True)
    assert settled["alone"] is True
    assert configure(config=settled) == settled
    assert "alone" not in configure(**asked)
    with pytest.raises(LimnerError, match="leave --alone out"):
        configure(algorithm="maml", learner="vae", family="digits", alone=True)


# ── What there is to learn from ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "spec",
    [
        "folder:a under gaussian(5..50)",
        "folder:a => folder:b",
        "folder:a ~> folder:b under gaussian(25)",
        "folder:a alone under gaussian(25)",
        "folder:a alone",
    ],
)
def test_a_spec_says_the_same_taken_apart_and_joined(spec):
    assert Materials.of(spec).spec == spec


def test_images_side_by_side_are_pairs():
    found = materials("folder:both,pairs=right-left")
    assert found.paired
    assert found.spec == "folder:both,part=right => folder:both,part=left"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("folder:a => folder:b", None, "folder:c"), "leave the other damaged ones out"),
        (("folder:a => folder:b", "gaussian(5)", None), "show the damage by themselves"),
        (("folder:a ~> folder:b under gaussian(5)", "gaussian(6)", None), "both say"),
        ((None, "blur(gaussian,width=2)+gaussian(5)", "folder:a"), "another in each pixel, not blur"),
        (("folder:a", None, None), "--damaged folder:a"),
        ((None, None, "folder:a => folder:b"), "leave the other damaged ones out"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, match):
    with pytest.raises(LimnerError, match=match):
        materials(*arguments)


def test_noise_of_several_images_is_one_range():
    clean = pictures(4, 64)
    damaged = [
        parse(f"gaussian({sigma})")(image[None].float() / 255, random(sigma))[0]
        for sigma, image in zip((10, 15, 20, 25), clean.images, strict=True)
    ]
    found = estimated([(image.clamp(0, 1) * 255).round().to(torch.uint8) for image in damaged])
    stage = parse(found.degradation).parts[0]
    assert stage.word == "gaussian"
    assert 9 < stage.values["sigma"].low < 14
    assert 21 < stage.values["sigma"].high < 26
    assert found.degradation.endswith("+quantise(8)")
    assert estimated(ramps()).degradation == ""


def test_damaged_patches_are_held_back_where_images_are_few(tmp_path):
    spec = files(tmp_path / "noisy", noisy(pictures(3, 32)).images)
    task, whole = restoration_task(f"{spec},size=16 alone under gaussian(25)", None, seed=0, most=100)
    assert isinstance(task.support, Alone)
    assert (len(whole), len(task.support), len(task.query)) == (12, 10, 2)
    with pytest.raises(LimnerError, match="has 3 images to learn from, so 4 shots"):
        restoration_task(f"{spec} alone", 4, seed=0, most=100)


def test_clean_images_are_not_taken_for_damaged_ones(tmp_path):
    clean = files(tmp_path / "clean", ramps())
    with pytest.raises(LimnerError, match="nothing is wrong with"):
        given("restore", None, None, clean)
    assert given("restore", None, "gaussian(3)", clean).spec == f"{clean} alone under gaussian(3)"
    with pytest.raises(LimnerError, match="leave the damaged images"):
        given("generate", "digits", None, clean)
    with pytest.raises(LimnerError, match="nothing to learn"):
        given("restore", None, None)


def test_the_error_is_foreseen_without_the_clean_images():
    clean = ImageSet(pictures(12, 64).images, "clean")
    alone = Alone(noisy(clean, "gaussian(20)+quantise(8)"))
    net = create("restorer", (1, 64, 64), width=4, depth=3)
    for scale in (0.0, 0.2):
        params = {name: scale * value for name, value in net.init(2).items()}
        made = net.restored(params, alone.inputs.floats())
        true = float((made - clean.floats()).square().mean().sqrt())
        assert foreseen_error(net, params, alone, 0) == pytest.approx(true, rel=0.1)
    assert foreseen_error(small(), small().init(0), Alone(noisy(pictures(2, 8))), 0) is None


def test_the_parameters_that_do_best_on_images_held_back_are_kept():
    alone = Alone(noisy(pictures(4)))
    net = small()
    run = fit(net, Task("restore", "noisy", alone, alone), Strategy(steps=1))
    still = {name: torch.zeros_like(value) for name, value in run.params.items()}
    spoilt = {name: value + 1 for name, value in run.params.items()}
    run.params, run.best = spoilt, None
    (warning,) = keep_the_best(run, Task("restore", "noisy", alone, alone), still)
    assert all(torch.equal(run.params[name], still[name]) for name in still)
    assert "this run restores as its start does" in warning
    run.params, run.best = spoilt, still
    assert keep_the_best(run, Task("restore", "noisy", alone, alone), None) == []
    assert "those of an earlier look" in run.notes[-1]
    assert hidden_error(net, still, alone, 0)[0] < hidden_error(net, spoilt, alone, 0)[0]


def test_images_of_one_intensity_are_named_and_nothing_is_learned_of_them_alone(tmp_path, capsys):
    images = [*pictures(3, 32).images, torch.zeros(1, 32, 32, dtype=torch.uint8)]
    spec = files(tmp_path / "clean", images)
    task = restoration_task(f"{spec} under gaussian(25)", None, seed=0, most=100)[0]
    (warning,) = of_one_intensity(task)
    assert warning.startswith("3.png is of one intensity all over")
    black = files(tmp_path / "black", images[3:])
    words = ["adapt", "restore", black, "--degradation", "gaussian(25)", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "are of one intensity all over" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# ── The line ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("beside_clean", [False, True])
def test_adapt_restore_from_the_command_line(tmp_path, capsys, beside_clean):
    damaged = files(tmp_path / "noisy", noisy(pictures(4, 48)).images)
    clean = [files(tmp_path / "clean", pictures(5, 48, seed=8).images)] if beside_clean else []
    out = tmp_path / "run"
    tiny = ["--option", "width=3", "--option", "depth=5", "--budget", "2steps", "--start", "scratch", "--out", str(out)]
    assert main(["adapt", "restore", *clean, "--damaged", damaged + ",size=24", *tiny]) == 0
    told = json.loads((out / "run.json").read_text())
    run = Run.load(out)
    assert "gaussian(" in run.source
    assert Materials.of(run.source).clean == (clean[0] if beside_clean else "")
    assert any("taken for" in sentence for sentence in told["lineage"]["advice"])
    assert any("what was removed" in note.lower() for note in told["notes"])
    if not beside_clean:
        assert set(told["scores"]["values"]) == {"hidden_error"}
    progress = capsys.readouterr().err
    assert "judging: what it makes of 0.png" in progress
    assert ("judging: scores on" in progress) == ("scores" in told and told["scores"] is not None)
    page = (out / "report.html").read_text()
    assert ("no one knows" in page) != beside_clean
    capsys.readouterr()
