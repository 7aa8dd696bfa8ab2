"""Restorers that are networks: what they look at, what they are told, and the goal to restore from end to end."""

import json

import pytest
import torch

from limner.cli.main import main
from limner.config import Strategy
from limner.degradations import parse
from limner.engine import Run, fit
from limner.errors import LimnerError
from limner.learners import batch_of, create, describe, rebuild
from limner.learners.restorer import noise_of
from limner.meta import MetaPlan
from limner.meta.episodes import episode_of
from limner.metrics.fidelity import structural_similarities
from limner.networks.restorers import NETWORKS, TOLD, ChannelNorm, build, padded
from limner.restoration import Knowledge
from limner.restoration.trained import Trained
from limner.tasks import Damaged, DegradationFamily, ImageSet, Pairs, Task, family_from_json, family_of
from limner.tasks.pictures import Pictures, patches
from limner.tasks.restoration import materials, restoration_task
from limner.types import Request
from limner.verbs.meta_train import configure
from limner.verbs.restoration import beside_the_start, fitted, scored

DEPTHS = {"dncnn": 4, "ffdnet": 3, "unet": 5, "drunet": 5, "nafnet": 5}


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=6, side=16, channels=1):
    """Blocks of even intensity, which noise stands out from."""
    coarse = torch.randint(40, 216, (count, channels, 4, 4), generator=random(3), dtype=torch.uint8)
    return ImageSet(coarse.repeat_interleave(side // 4, 2).repeat_interleave(side // 4, 3), "blocks")


def learner(network="dncnn", side=16, channels=1, **options):
    return create("restorer", (channels, side, side), network=network, width=3, depth=DEPTHS[network], **options)


def files(folder, images, names=None):
    from PIL import Image

    folder.mkdir()
    for place, image in enumerate(images):
        name = names[place] if names else f"{place}.png"
        Image.fromarray(image.numpy().transpose(1, 2, 0).squeeze()).save(folder / name)
    return f"folder:{folder}"


# ── Networks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("network", NETWORKS)
def test_an_output_depends_on_nothing_beyond_the_reach(network):
    net = learner(network, channels=1)
    side = 2 * net.reach + 9
    images = torch.rand(1, 1, side, side, generator=random()).double().requires_grad_()
    params = {name: value.double() for name, value in net.init(0).items()}
    made = net.restored(params, images, torch.full((1,), 0.1, dtype=torch.float64))
    far = 0
    for shift in range(net.multiple):
        place = side // 2 + shift
        (gradient,) = torch.autograd.grad(made[0, 0, place, place], images, retain_graph=True)
        rows = gradient[0, 0].abs().sum(1).nonzero().flatten()
        far = max(far, place - int(rows.min()), int(rows.max()) - place)
    assert far <= net.reach
    assert far >= net.reach - 2 * net.multiple  # nor is far more promised than is true


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (12, 8)])
def test_images_of_any_size_keep_it(network, size):
    net = learner(network)
    images = torch.rand(2, 1, *size, generator=random())
    made = net.predict(net.init(0), Request("restore", images=images), random())
    assert made.shape == images.shape
    assert torch.equal(made, made.clamp(0, 1))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_fresh_network_begins_near_the_image_as_it_is(network):
    net = learner(network)
    images = torch.rand(2, 1, 16, 16, generator=random())
    assert (net.restored(net.init(0), images) - images).square().mean() < 0.05


def test_only_the_conditioned_network_minds_what_it_is_told_of_the_noise():
    images = torch.rand(2, 1, 8, 8, generator=random())
    for network in NETWORKS:
        net = learner(network)
        params = net.init(0)
        weak, strong = (
            net.predict(params, Request("restore", images=images, noise=torch.full((2,), level)), random())
            for level in (0.05, 0.5)
        )
        assert torch.equal(weak, strong) == (network not in TOLD)


def test_the_conditioned_network_is_trained_with_the_noise_of_each_pair():
    net = learner("ffdnet")
    params, clean = net.init(0), torch.rand(2, 1, 8, 8, generator=random()).double()
    params = {name: value.double() for name, value in params.items()}
    sign = torch.where(torch.arange(64).view(8, 8) % 2 == 0, 1.0, -1.0).double()
    levels = torch.tensor([0.1, 0.3], dtype=torch.float64)
    damaged = clean + levels.view(2, 1, 1, 1) * sign
    expected = (net.restored(params, damaged, levels) - clean).square().mean()
    found = net.loss("net", params, {"inputs": damaged, "images": clean}, {})
    assert torch.allclose(found.value, expected, atol=1e-12)
    assert torch.allclose(found.terms["psnr"], -10 * expected.log10())


def test_losses_are_what_they_are_called():
    batch = {"inputs": torch.zeros(1, 1, 4, 4), "images": torch.full((1, 1, 4, 4), 0.5)}
    for loss, wanted in (("l2", 0.25), ("l1", 0.5), ("charbonnier", 0.500001)):
        net = learner(loss=loss)
        still = {name: torch.zeros_like(value) for name, value in net.init(0).items()}
        assert float(net.loss("net", still, batch, {}).value) == pytest.approx(wanted, abs=1e-6)


def test_channel_norm_is_layer_norm_over_channels():
    norm, maps = ChannelNorm(5), torch.randn(2, 5, 3, 4, generator=random())
    expected = torch.nn.functional.layer_norm(maps.movedim(1, 3), (5,), eps=1e-6).movedim(3, 1)
    assert torch.allclose(norm(maps), expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_noise_is_estimated_in_spite_of_edges(sigma):
    clean = pictures(1, side=128).floats()
    noisy = clean + sigma * torch.randn(1, 1, 128, 128, generator=random())
    assert noise_of(noisy).item() == pytest.approx(sigma, rel=0.1)
    assert noise_of(torch.zeros(2, 3, 1, 5)).tolist() == [0, 0]


def test_padding_repeats_the_last_rows():
    assert padded(torch.tensor([[[[1.0, 2.0]]]]), 2)[0, 0].tolist() == [[1, 2], [1, 2]]


# ── Tasks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_look_damages_anew_and_the_same_state_the_same():
    damaged = Damaged(pictures(), parse("gaussian(25)"))
    one, two, again = damaged.again(random(1)), damaged.again(random(2)), damaged.again(random(1))
    assert torch.equal(one.inputs.floats(), again.inputs.floats())
    assert not torch.equal(one.inputs.floats(), two.inputs.floats())
    assert (one.inputs.floats() - one.targets.floats()).std() == pytest.approx(25 / 255, rel=0.1)
    assert damaged.select(torch.tensor([2, 1])).targets.images.equal(damaged.images[[2, 1]])
    assert damaged.sha256 != Damaged(pictures(), parse("gaussian(26)")).sha256


def test_training_sees_new_damage_at_every_step(monkeypatch):
    seen = []
    net = learner()
    loss = type(net).loss

    def watched(self, player, params, batch, draws):
        seen.append(batch["inputs"].clone())
        return loss(self, player, params, batch, draws)

    monkeypatch.setattr(type(net), "loss", watched)
    task = Task("restore", "blocks", Damaged(pictures(2), parse("gaussian(25)")), None)
    runs = [fit(net, task, Strategy(steps=3, batch=0), seed=5) for _ in range(2)]
    assert not torch.equal(seen[0], seen[1])
    assert all(torch.equal(runs[0].params[name], runs[1].params[name]) for name in runs[0].params)


def test_a_restorer_learns_to_take_noise_away():
    damage = parse("gaussian(40)")
    task = Task("restore", "blocks", Damaged(pictures(16), damage), None)
    net = create("restorer", (1, 16, 16), width=8, depth=4)
    run = fit(net, task, Strategy(steps=150, batch=8, learning_rate=3e-3), seed=0)
    clean = pictures(40).floats()[16:]
    noisy = damage(clean, random(7))
    made = net.predict(run.params, Request("restore", images=noisy), random())
    assert (made - clean).square().mean() < 0.5 * (noisy.clamp(0, 1) - clean).square().mean()
    restorer = Trained.of(run)
    assert torch.allclose(restorer.restore(noisy, Knowledge(), random()).clamp(0, 1), made, atol=1e-6)


def test_patches_cover_images_and_small_ones_are_left_out():
    large = torch.arange(20 * 34, dtype=torch.int64).remainder(251).to(torch.uint8).view(1, 20, 34)
    found = Pictures("two", [large, large[:, :9, :9]], ["a.png", "b.png"], None, "", ())
    cut, places = patches(found, 12)
    assert places.tolist() == [0] * 6
    covered = torch.zeros(20, 34)
    for top in (0, 8):
        for left in (0, 11, 22):
            assert any(torch.equal(image, large[:, top : top + 12, left : left + 12]) for image in cut.images)
            covered[top : top + 12, left : left + 12] = 1
    assert covered.all()
    assert "b.png (9×9)" in cut.notes[-1]
    with pytest.raises(LimnerError, match="smaller size="):
        patches(found, 64)


def test_held_back_patches_come_from_other_images_at_their_own_scale(tmp_path):
    images = [torch.full((1, 30, 40), 20 * place, dtype=torch.uint8) for place in range(1, 6)]
    spec = materials(files(tmp_path / "clean", images) + ",size=16", "gaussian(10)").spec
    task, whole = restoration_task(spec, 3, seed=1, most=100)
    levels = [set(side.images.flatten().tolist()) for side in (task.support, task.query)]
    assert len(levels[0]) == 3
    assert not levels[0] & levels[1]
    assert len(task.support) == 3 * 6
    assert len(whole) == 5 * 6
    again, _ = restoration_task(spec, 3, seed=1, most=100)
    assert torch.equal(task.query.inputs.floats(), again.query.inputs.floats())
    assert task.sha256 == again.sha256
    with pytest.raises(LimnerError, match="has 5 images to learn from, so 6 shots"):
        restoration_task(spec, 6, seed=1, most=100)


def test_pairs_are_matched_by_name_and_what_does_not_fit_is_named(tmp_path):
    images = list(torch.randint(0, 256, (3, 1, 20, 24), generator=random(), dtype=torch.uint8))
    clean = files(tmp_path / "clean", images, ["a.png", "b.png", "c.png"])
    noisy = files(tmp_path / "noisy", [images[2], images[0], images[1]], ["c.bmp", "a.bmp", "b.bmp"])
    task, whole = restoration_task(f"{noisy} => {clean}", None, seed=0, most=10)
    assert isinstance(whole, Pairs)
    assert torch.equal(whole.inputs.images, whole.targets.images)
    assert task.query is None
    odd = files(tmp_path / "odd", [images[0], images[1][:, :18], images[2]], ["a.png", "b.png", "c.png"])
    with pytest.raises(LimnerError, match=r"b.png of .*odd has 24×18 pixels, but b.png of .* 24×20"):
        restoration_task(f"{odd} => {clean}", None, seed=0, most=10)
    fewer = files(tmp_path / "fewer", images[:2], ["a.png", "b.png"])
    with pytest.raises(LimnerError, match=r"c.png of .*clean has no partner"):
        restoration_task(f"{fewer} => {clean}", None, seed=0, most=10)


@pytest.mark.parametrize(
    ("data", "degradation", "match"),
    [
        ("digits", None, "--degradation"),
        ("digits", "gausian(25)", "gaussian"),
        ("digits => digits", "gaussian(25)", "leave the degradation out"),
        ("digits", "blur(gaussian,width=2) + gausian(5)", "gaussian"),
        ("digits under gaussian(5)", "gaussian(6)", "give one of them"),
    ],
)
def test_what_does_not_say_the_damage_is_refused(data, degradation, match):
    with pytest.raises(LimnerError, match=match):
        materials(data, degradation)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"network": "resnet"}, "dncnn, ffdnet, unet, drunet, nafnet"),
        ({"loss": "l3"}, "l2, l1, charbonnier"),
        ({"network": "unet", "depth": 4}, "depth of at least 5"),
    ],
)
def test_options_that_there_are_not(options, match):
    with pytest.raises(LimnerError, match=match):
        create("restorer", (1, 16, 16), **options)


def test_requests_that_cannot_be_answered():
    net = learner()
    params = net.init(0)
    for request, match in (
        (Request("sample", count=2), "ask it to restore"),
        (Request("restore", images=torch.zeros(1, 3, 8, 8)), "1 channel"),
        (Request("restore", images=torch.zeros(2, 1, 8, 8), noise=torch.zeros(3)), "one number for each"),
    ):
        with pytest.raises(LimnerError, match=match):
            net.predict(params, request, random())
    with pytest.raises(LimnerError, match="damaged and clean"):
        fit(net, Task("restore", "one side", pictures(), None), Strategy(steps=1))


# ── Meta-learning ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("change", [{"turns": True}, {"augmentation": ("flip", "shift")}])
def test_damaged_images_move_with_the_clean_ones(change):
    images = pictures(4)
    same = Task("restore", "same", Pairs(images, images), Pairs(images, images))
    plan = MetaPlan(inner_steps=4, **change)
    episode = episode_of(learner(), plan, same, random(2))
    assert torch.equal(episode.inner["inputs"], episode.inner["images"])
    assert torch.equal(episode.query["inputs"], episode.query["images"])
    assert not torch.equal(episode.inner["images"][0], images.floats())


def test_a_family_of_degradations_is_rebuilt_from_its_record(tmp_path):
    spec = files(tmp_path / "clean", list(pictures(12, side=32).images))
    family = family_of(spec, "restore", shots=2, queries=3, seed=4, degradation="gaussian(5..50)", patch=16)
    assert isinstance(family, DegradationFamily)
    again = family_from_json(family.to_json())
    one, two = (found.task("train", 3, seed=2) for found in (family, again))
    assert one.sha256 == two.sha256
    assert batch_of(one.support)["inputs"].shape == (2, 1, 16, 16)
    with pytest.raises(LimnerError, match="--degradation"):
        family_of(spec, "restore", shots=2, queries=3)


# ── Scores ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_structural_similarity_is_that_of_scikit_image():
    measure = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed").structural_similarity
    first = torch.randint(0, 256, (2, 3, 20, 23), generator=random(), dtype=torch.uint8)
    second = (first.float() * 0.8 + 20 * torch.rand(first.shape, generator=random(1))).to(torch.uint8)
    for one, other, found in zip(first, second, structural_similarities(first, second), strict=True):
        _, whole = measure(
            one.numpy(), other.numpy(), channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            data_range=255, full=True,
        )  # fmt: skip
        assert found.item() == pytest.approx(whole[:, 5:-5, 5:-5].mean(), abs=1e-4)


# ── The line ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_train_restorer_from_the_command_line(tmp_path, capsys):
    clean = files(tmp_path / "clean", list(pictures(5, side=32).images))
    out = tmp_path / "run"
    asked = ["train", "restorer", clean + ",size=16", "--degradation", "gaussian(25)", "--shots", "3"]
    small = ["--option", "width=3", "--option", "depth=5", "--budget", "2steps"]
    assert main([*asked, *small, "--out", str(out)]) == 0
    told = json.loads((out / "run.json").read_text())
    assert told["learner"]["options"] == {"network": "unet", "width": 3, "depth": 5, "loss": "l2"}
    assert any(note.startswith("networks computed in") for note in told["notes"])
    assert "the scores' intervals are over the 2 images that 8 patches were cut from" in told["scores"]["notes"]
    assert {"psnr", "ssim", "absolute_error"} <= set(told["scores"]["values"])
    assert "damaged, restored, and as it truly is" in (out / "report.html").read_text()
    assert Trained.of(Run.load(out)).learned.endswith("under gaussian(25)")
    assert main(["train", "restorer", clean, "--degradation", "gaussian(25", "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()
    capsys.readouterr()


def test_meta_training_is_told_the_degradations_and_goes_on_at_any_size(tmp_path):
    clean = files(tmp_path / "clean", list(pictures(30, side=32).images))
    asked = {"algorithm": "fomaml", "learner": "restorer", "family": clean, "options": {"width": 3, "depth": 3}}
    settled = configure(**asked, degradation="gaussian(5..50)")
    assert (settled["goal"], settled["degradation"]) == ("restore", "gaussian(5..50)")
    assert configure(config=settled) == settled
    with pytest.raises(LimnerError, match="--degradation"):
        configure(**asked)
    with pytest.raises(LimnerError, match="leave the degradation out"):
        configure(algorithm="fomaml", learner="vae", family="digits", degradation="gaussian(5)")
    again = rebuild(fitted(describe(learner(side=16)), (1, 40, 40)))
    assert again.image_shape == (1, 40, 40)
    assert {name: value.shape for name, value in again.init(0).items()} == {
        name: value.shape for name, value in learner(side=16).init(0).items()
    }


def test_a_run_that_does_not_restore_is_no_restorer():
    vae = create("vae", (1, 16, 16), latents=2, width=2)
    run = fit(vae, Task("generate", "blocks", pictures(), None), Strategy(steps=1, batch=2))
    with pytest.raises(LimnerError, match="does not restore"):
        Trained.of(run)


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_through_grey_networks_and_grey_through_colour_ones(channels):
    net = learner(channels=channels)
    restorer = Trained(net, net.init(0), "some")
    images = torch.rand(2, 4 - channels, 8, 8, generator=random())
    made = restorer.restore(images, Knowledge(noise=0.1), random())
    assert made.shape == images.shape
    if channels == 1:
        assert torch.allclose(made[:, 1:2], restorer.restore(images[:, 1:2], Knowledge(), random()), atol=1e-6)


def test_depths_and_parameters_of_the_papers():
    assert sum(value.numel() for value in build("ffdnet", 1, 64, 15).parameters()) == 485_316


@pytest.mark.parametrize("network", NETWORKS)
def test_a_restorer_for_colour_becomes_one_for_grey_that_does_the_same(network):
    colour = create("restorer", (3, 16, 16), network=network, width=3, depth=DEPTHS[network])
    params = colour.init(1)
    grey, fewer = colour.in_grey(params)
    images, noise = torch.rand(2, 1, 20, 24), torch.tensor([0.1, 0.2])
    alike = colour.restored(params, images.expand(-1, 3, -1, -1), noise).mean(1, keepdim=True)
    assert torch.allclose(grey.restored(fewer, images, noise), alike, atol=1e-6)


def test_grey_images_among_colours_are_damaged_alike_in_all_channels():
    random = torch.Generator().manual_seed(0)
    clean = ImageSet(torch.randint(0, 256, (200, 3, 16, 16), dtype=torch.uint8, generator=random), "colours")
    shown = Damaged(clean, parse("gaussian(25)")).again(random)
    noise = shown.inputs.floats() - shown.targets.floats()
    grey = (shown.targets.images == shown.targets.images[:, :1]).flatten(1).all(1)
    assert 0.15 < grey.float().mean() < 0.35
    assert torch.equal(noise[grey, 0], noise[grey, 2])
    assert (noise[~grey, 0] - noise[~grey, 2]).std() * 255 == pytest.approx(25 * 2**0.5, rel=0.05)
    Damaged(clean, parse("mosaic")).again(random)  # which no grey image can have


def test_pairs_by_order_are_told_of(tmp_path):
    images = list(torch.randint(0, 256, (2, 1, 20, 24), generator=random(), dtype=torch.uint8))
    clean = files(tmp_path / "clean", images, ["a.png", "b.png"])
    for names, told in ((["1.png", "2.png"], True), (["a.bmp", "b.bmp"], False)):
        noisy = files(tmp_path / names[0], images, names)
        whole = restoration_task(f"{noisy} => {clean}", None, seed=0, most=10)[1]
        assert any("the order makes the pairs: 1.png with a.png" in note for note in whole.notes) == told


# ── The head, fitted in closed form ───────────────────────────────────────────────────────────────────────────────────


def sharp_and_blurred(count=12, side=24):
    """Noise, and the same under a small blur that a window of 5 pixels can undo well."""
    clean = torch.rand(count, 1, side, side, generator=random(5))
    damaged = parse("blur(gaussian,width=0.5)")(clean, random())
    return {"inputs": damaged, "images": clean}


def error(net, params, batch):
    return float((net.restored(params, batch["inputs"]) - batch["images"]).square().mean())


def test_a_head_learns_from_pairs_at_once_what_the_network_does_not_know():
    net, batch = learner(side=24, head=5, maps=2), sharp_and_blurred()
    support, query = ({name: value[part] for name, value in batch.items()} for part in (slice(4), slice(4, None)))
    params = net.init(0)
    fitted_to_support = net.finish(params, support, random())
    assert error(net, fitted_to_support, query) < 0.2 * error(net, params, query)


def test_a_head_has_the_smallest_penalised_error_of_all():
    from limner.learners.restorer import HEAD
    from limner.objectives.ridge import RIDGE

    net = learner(side=24, head=3, maps=1)
    batch = {name: value.double() for name, value in sharp_and_blurred(3).items()}
    params = {name: value.double() for name, value in net.init(0).items()}
    found = net.finish(params, batch, random())

    def penalised(params):
        weights = sum(params[HEAD + name].square().sum() for name in ("weight", "bias"))
        return float((net.restored(params, batch["inputs"]) - batch["images"]).square().sum() + RIDGE * weights)

    least = penalised(found)
    for seed in range(3):
        for name in ("weight", "bias"):
            value = found[HEAD + name]
            moved = value + 1e-3 * torch.randn(value.shape, generator=random(seed), dtype=torch.float64)
            assert penalised(found | {HEAD + name: moved}) > least


def test_very_many_pairs_are_fitted_to_by_some_of_them(monkeypatch):
    from limner.learners import restorer

    net, batch = learner(side=24, head=3), sharp_and_blurred()
    whole = net.finish(net.init(0), batch, random())
    monkeypatch.setattr(restorer, "_MOST_PIXELS", 4 * 24 * 24)
    part = net.finish(net.init(0), batch, random())
    assert not torch.equal(whole["fitted.head.weight"], part["fitted.head.weight"])
    assert torch.equal(part["fitted.head.weight"], net.finish(net.init(0), batch, random())["fitted.head.weight"])


def test_without_pairs_nothing_is_fitted():
    net = learner(head=3)
    assert "fitted.head.weight" not in net.finish(net.init(0), {"inputs": torch.rand(2, 1, 16, 16)}, random())


def test_a_run_with_a_head_is_read_back_with_it(tmp_path):
    net = learner(head=3)
    task = Task("restore", "blocks", Damaged(pictures(), parse("gaussian(25)"), 0), None)
    run = fit(net, task, Strategy(steps=2, batch=2))
    run.save(tmp_path / "run")
    again = Run.load(tmp_path / "run")
    assert torch.equal(again.params["fitted.head.weight"], run.params["fitted.head.weight"])
    image = torch.rand(1, 1, 20, 22, generator=random())
    made = [Trained.of(one).restore(image, Knowledge(), random()) for one in (run, again)]
    assert torch.equal(*made)


@pytest.mark.parametrize(
    ("options", "told"), [({"head": 4}, "odd side"), ({"head": 99}, "up to 15"), ({"maps": 2}, "there is none")]
)
def test_a_head_that_cannot_be_is_told(options, told):
    with pytest.raises(LimnerError, match=told):
        learner(**options)


def test_ridge_is_learned_with_a_head_alone(capsys, tmp_path):
    shared = ["--family", files(tmp_path / "clean", pictures(24, 80).images), "--degradation", "gaussian(25)"]
    tiny = ["-o", "width=3", "-o", "depth=3", "--budget", "1steps", "--set", "validate_tasks=1"]
    assert main(["meta-train", "ridge", "restorer", *shared, *tiny, "--out", str(tmp_path / "start")]) == 0
    assert '"DAMAGED => CLEAN" --shots' in (tmp_path / "start" / "README.md").read_text()
    options = json.loads((tmp_path / "start" / "config.json").read_text())["options"]
    assert (options["head"], options["maps"]) == (5, 8)
    assert main(["meta-train", "ridge", "restorer", *shared, *tiny, "-o", "head=0", "-o", "maps=0"]) == 2
    assert "head=5" in capsys.readouterr().err


def test_a_start_is_given_a_head_by_the_strategy_closed_form(capsys, tmp_path):
    clean = pictures(12, 64).images
    damaged = parse("blur(gaussian,width=1)")(clean.float() / 255, random())
    given = [files(tmp_path / "damaged", (damaged * 255).round().byte()), files(tmp_path / "clean", clean)]
    asked = ["adapt", "restore", *given, "--strategy", "closed-form", "--shots", "8", "--json"]
    assert main([*asked, "--out", str(tmp_path / "run")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["learner"]["options"]["head"] == 5
    assert any("start alone, not adapted, has PSNR" in note and "gains" in note for note in told["scores"]["notes"])
    assert not told["warnings"]
    assert "start alone, not adapted, has PSNR" in (tmp_path / "run" / "report.html").read_text()
    run = Run.load(tmp_path / "run")
    assert run.cost.steps == 0
    plain = create("restorer", run.learner.image_shape, **{**run.learner.options, "head": 0})
    params = {name: value for name, value in run.params.items() if not name.startswith("fitted.")}
    images = {"inputs": damaged[8:], "images": clean[8:].float() / 255}
    assert error(run.learner, run.params, images) < error(plain, params, images)


@pytest.mark.parametrize("same", [True, False])
def test_a_head_is_told_to_be_worse_than_its_start_alone_where_it_is(same):
    """Learned from pairs that are held back as well, or from those whose clean images are negatives."""
    net, batch = learner(side=24, head=5), sharp_and_blurred()
    damaged, clean = (ImageSet((batch[side] * 255).round().byte(), side) for side in ("inputs", "images"))
    held = Pairs(damaged, clean)
    learned = held if same else Pairs(damaged, ImageSet(255 - clean.images, "negatives"))
    task, start = Task("restore", "pairs", learned, held), net.init(0)
    run = fit(net, task, Strategy(start="shipped:restorer", steps=0), start=start)
    run.scores = scored(net, run.params, held, len(learned), 0)
    warnings = beside_the_start(run, task, start)
    before, after = (scored(net, params, held, 1, 0).plain()["psnr"] for params in (start, run.params))
    assert (after > before) == same
    told = f"the start alone, not adapted, has PSNR {before:.2f} dB"
    assert run.scores.notes[-1].startswith(told)
    assert run.scores.notes[-1].endswith(f"learned {'gains' if same else 'loses'} {abs(after - before):.2f} dB")
    assert ["worse than its start alone" in warning for warning in warnings] == ([] if same else [True])
    assert same or f"PSNR {after:.2f} dB, the start {before:.2f} dB; restore with" in warnings[0]


@pytest.mark.parametrize(("strategy", "told"), [("closed-form", True), ("adapted", False)])
def test_a_time_for_no_steps_is_told_to_end_nothing(strategy, told, capsys, tmp_path):
    clean = pictures(4, 64).images
    damaged = parse("gaussian(25)")(clean.float() / 255, random()).clamp(0, 1)
    given = [files(tmp_path / "damaged", (damaged * 255).round().byte()), files(tmp_path / "clean", clean)]
    asked = ["adapt", "restore", *given, "--strategy", strategy, "--budget", "0.1s", "--out", str(tmp_path / "run")]
    assert main(asked) == 0
    assert ("no steps are taken, so the budget of 0.1 s ends nothing" in capsys.readouterr().out) == told


def test_recommend_lists_the_ways_to_restore(capsys, tmp_path):
    clean = pictures(4, 64).images
    damaged = parse("gaussian(25)")(clean.float() / 255, random()).clamp(0, 1)
    noisy, sharp = files(tmp_path / "damaged", (damaged * 255).round().byte()), files(tmp_path / "clean", clean)

    def told(*words):
        assert main(["recommend", *words, "--goal", "restore", "--json"]) == 0
        return {one["name"]: one for one in json.loads(capsys.readouterr().out)}

    by_pairs = told(noisy, sharp)
    assert list(by_pairs) == ["adapted", "closed-form", "scratch"]
    assert by_pairs["adapted"]["strategy"]["rehearsal"] == 0.75  # as adapt would do it
    assert by_pairs["closed-form"]["options"]["head"] == 5
    by_damage = told(sharp, "--degradation", "gaussian(25)")
    assert by_damage["adapted"]["strategy"]["rehearsal"] == 0
    alone = told("--damaged", noisy)
    assert list(alone) == ["adapted", "scratch"]
    assert "taken for gaussian" in alone["adapted"]["reason"]


def test_damaged_images_alone_fit_no_head(capsys, tmp_path):
    noisy = parse("gaussian(25)")(pictures(12, 64).images.float() / 255, random())
    given = files(tmp_path / "damaged", (noisy.clamp(0, 1) * 255).round().byte())
    asked = ["adapt", "restore", "--damaged", given, "--strategy", "closed-form", "--out", str(tmp_path / "run")]
    assert main(asked) == 2
    assert "the strategy closed-form cannot be used here" in capsys.readouterr().err


@pytest.mark.parametrize("network", NETWORKS)
def test_a_start_for_colour_keeps_its_further_maps_in_grey(network):
    colour = learner(network, channels=3, head=3, maps=2)
    params, image = colour.init(0), torch.rand(1, 1, 16, 16, generator=random())
    grey, fewer = colour.in_grey(params)
    _, made, maps = colour._seen(params, image.expand(-1, 3, -1, -1), torch.full((1,), 0.1))
    _, mended, alike = grey._seen(fewer, image, torch.full((1,), 0.1))
    assert torch.allclose(mended, made.mean(1, keepdim=True), atol=1e-6)
    assert maps.shape[1] == 2
    assert torch.allclose(alike, maps, atol=1e-6)


def test_what_a_run_with_a_head_shows_of_itself_has_the_head():
    from limner.engine.pictures import pictured, translated_bytes

    net, batch = learner(side=24, head=5), sharp_and_blurred()
    pairs = Pairs(*(ImageSet((batch[side] * 255).round().byte(), side) for side in ("inputs", "images")))
    task, params = Task("restore", "pairs", pairs, None), net.init(0)
    few = batch_of(pairs)
    assert pictured(net, params, task, few, 0) == pictured(net, net.finish(params, few, random()), task, few, 0)
    bare = learner(side=24)
    assert pictured(net, params, task, few, 0) != pictured(bare, params, task, few, 0)
    assert not torch.equal(
        *(translated_bytes(net, one, few["inputs"]) for one in (params, net.finish(params, few, random())))
    )


def test_a_start_learned_by_ridge_is_adapted_in_closed_form():
    from limner.memory.adviser import _as_in_training

    strategy = Strategy(steps=200, evaluate_every=50)
    assert _as_in_training(strategy, MetaPlan("ridge").to_json()).steps == 0
    assert _as_in_training(strategy, MetaPlan("maml").to_json()).steps == 200


def test_no_head_is_what_a_start_without_one_has(capsys, tmp_path):
    clean = pictures(12, 64).images
    damaged = parse("blur(gaussian,width=1)")(clean.float() / 255, random())
    given = [files(tmp_path / "damaged", (damaged * 255).round().byte()), files(tmp_path / "clean", clean)]
    asked = ["adapt", "restore", *given, "--budget", "1steps", "--strategy", "adapted", "-o"]
    assert main([*asked, "head=0", "--out", str(tmp_path / "run")]) == 0
    assert main([*asked, "width=7", "--out", str(tmp_path / "other")]) == 2
    assert "fixes the learner's options" in capsys.readouterr().err
