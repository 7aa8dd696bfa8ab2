"""Limner's meta-gradients beside those of other libraries, and the benchmark that times them side by side."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from limner.errors import LimnerError
from limner.meta import Episode, MetaPlan, mean_gradient
from limner.networks import Template
from limner.types import Loss

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def module(name):
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


cells, peers, speed = module("meta_cells"), module("peers_meta"), module("meta_speed")


def classification(order, steps, count=2):
    """Small tasks of telling three classes apart, in float64, and the problem that they make."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(3)
    tasks = [
        peers.Task(
            torch.rand(3, 1, 16, 16, generator=random, dtype=torch.float64),
            labels,
            torch.rand(6, 1, 16, 16, generator=random, dtype=torch.float64),
            labels.repeat(2),
        )
        for _ in range(count)
    ]
    return peers.Problem(lambda: cells.conv4(3, 4), functional.cross_entropy, tasks, order, steps, 0.1)


def game(order, steps):
    random = torch.Generator().manual_seed(0)

    def draw(*shape):
        return {
            name: torch.randn(*shape, 32, generator=random, dtype=torch.float64) for name in ("critic", "generator")
        }

    def images(count):
        return torch.rand(count, 1, 28, 28, generator=random, dtype=torch.float64)

    tasks = [peers.GameTask(images(2), draw(steps, 2), images(2), draw(2)) for _ in range(2)]
    return peers.Problem(cells.players, cells.no_loss, tasks, order, steps, 1e-3)


def gradient_of(kind, problem):
    try:
        contender = kind(problem, speed.start_of(problem, torch.float64))
    except ImportError as reason:
        pytest.skip(str(reason))
    contender.step()
    return contender.gradient()


def assert_equal(one, other):
    assert one.keys() == other.keys()
    scale = torch.cat([value.flatten() for value in other.values()]).norm()
    assert scale > 1e-6, "there is nothing to compare"
    for name, value in other.items():
        assert (one[name] - value).norm() <= 1e-10 * scale, name


@pytest.mark.parametrize("execution", ["threads", "loop"])
@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", peers.CONTENDERS, ids=lambda kind: kind.called)
def test_every_peer_finds_our_meta_gradient(kind, steps, order, execution):
    if order not in kind.orders:
        pytest.skip(f"{kind.called} has no {order}-order form")
    ours = speed.Ours if execution == "threads" else speed.OneByOne
    problem = classification(order, steps)
    assert_equal(gradient_of(kind, problem), gradient_of(ours, problem))


def test_second_order_is_not_first_order():
    first, second = (gradient_of(peers.ByHand, classification(order, 3)) for order in ("first", "second"))
    with pytest.raises(AssertionError):
        assert_equal(first, second)


def test_reptile_by_hand_finds_our_displacement():
    problem = classification("reptile", 3)._replace(inner_rate=1e-3)
    # A bias before normalisation has no gradient but rounding, which Adam's division makes larger.
    one, other = gradient_of(peers.ByHand, problem), gradient_of(speed.Ours, problem)
    assert max(float(value.abs().max()) for value in other.values()) > 1e-3
    for name, value in other.items():
        assert torch.allclose(one[name], value, rtol=1e-6, atol=1e-8), name


@pytest.mark.parametrize(("order", "steps"), [("second", 1), ("second", 2), ("reptile", 2)])
def test_a_game_by_hand_finds_our_meta_gradient_of_both_players(order, steps):
    problem = game(order, steps)
    assert_equal(gradient_of(peers.GameByHand, problem), gradient_of(speed.Ours, problem))


@pytest.mark.parametrize("kind", [*peers.CONTENDERS, speed.Ours], ids=lambda kind: kind.called)
def test_the_outer_step_is_adam_along_the_mean_meta_gradient(kind):
    problem = classification("second", 1)
    start = speed.start_of(problem, torch.float64)
    try:
        contender = kind(problem, start)
    except ImportError as reason:
        pytest.skip(str(reason))
    contender.step()
    after = contender.params if kind is speed.Ours else dict(contender.module.named_parameters())
    for name, gradient in contender.gradient().items():
        moved = after["net." + name if kind is speed.Ours else name] - start[name]
        # Adam's first step is the rate times the gradient over its own size.
        expected = -peers.OUTER_RATE * gradient / (gradient.abs() + 1e-8)
        assert torch.allclose(moved, expected, rtol=1e-6, atol=1e-9), name


class Theirs:
    """learn2learn's own network as a learner; the running statistics that it keeps play no part in training."""

    kind, players, image_shape, options = "theirs", ("net",), (1, 28, 28), {}

    def __init__(self, build):
        self.net = Template("net", build)

    def loss(self, player, params, batch, draws):
        return Loss(functional.cross_entropy(self.net(params, batch["images"]), batch["labels"]), {})


@pytest.mark.parametrize("order", ["first", "second"])
def test_learn2learns_own_example_gives_our_gradients(order):
    """Its Omniglot example (examples/vision/maml_omniglot.py) with its network of four convolutions, the same seed and
    the same order of tasks: a task's images come with support and query in turn."""
    try:
        maml = peers.learn2learn_part("learn2learn.algorithms.maml")
        networks = peers.learn2learn_part("learn2learn.vision.models.cnn4")
    except ImportError as reason:
        pytest.skip(str(reason))
    ways, steps, rate, tasks = 5, 2, 0.4, 3
    torch.manual_seed(42)
    network = networks.OmniglotCNN(output_size=ways, hidden_size=8).double()
    drawn = [torch.rand(2 * ways, 1, 28, 28, dtype=torch.float64) for _ in range(tasks)]
    labels = torch.arange(ways)

    theirs = maml.MAML(network, lr=rate, first_order=order == "first")
    for images in drawn:
        learner = theirs.clone()
        for _ in range(steps):
            learner.adapt(functional.cross_entropy(learner(images[0::2]), labels))
        functional.cross_entropy(learner(images[1::2]), labels).backward()

    def build():
        found = networks.OmniglotCNN(output_size=ways, hidden_size=8)
        for layer in found.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.track_running_stats = False
                layer.running_mean = layer.running_var = layer.num_batches_tracked = None
        return found

    plan = MetaPlan(
        algorithm="fomaml" if order == "first" else "maml",
        inner_steps=steps,
        inner_rate=rate,
        inner_optimiser="sgd",
        tasks=tasks,
    )
    episodes = [
        Episode(
            {"images": images[0::2].expand(steps, ways, 1, 28, 28), "labels": labels.expand(steps, ways)},
            {},
            {"images": images[1::2], "labels": labels},
            {},
        )
        for images in drawn
    ]
    start = {f"net.{name}": value.detach() for name, value in network.named_parameters()}
    ours = mean_gradient(Theirs(build), plan, start, episodes, "loop").gradient
    assert_equal({f"net.{name}": value.grad / tasks for name, value in network.named_parameters()}, ours)


# ── What the benchmark itself does ────────────────────────────────────────────────────────────────────────────────────


def test_a_contender_that_disagrees_stops_the_benchmark(monkeypatch):
    class Wrong(peers.ByHand):
        called = "wrong"

        def gradient(self):
            return {name: 1.001 * value for name, value in super().gradient().items()}

    cell = cells.Cell("a cell", None, lambda: cells.conv4(3, 4), functional.cross_entropy, "second", 1, 0.1)
    problem = classification("second", 1)
    monkeypatch.setattr(speed, "CONTENDERS", (peers.ByHand,))
    apart = speed.disagreement(cell, problem, ["Limner", "by hand"])
    assert apart["Limner"] == 0
    assert apart["by hand"] < 1e-12
    monkeypatch.setattr(speed, "CONTENDERS", (Wrong,))
    with pytest.raises(LimnerError, match=r"wrong is 1\.0e-03 of its length away"):
        speed.disagreement(cell, problem, ["Limner", "wrong"])


def test_a_library_that_is_not_there_is_told_and_nothing_else(monkeypatch):
    class Absent(peers.Higher):
        called = "absent"

        def __init__(self, problem, start):
            peers.imported("a_library_that_nobody_has")

    monkeypatch.setattr(speed, "CONTENDERS", (peers.ByHand, Absent))
    cell = cells.Cell("a cell", None, lambda: cells.conv4(3, 4), functional.cross_entropy, "first", 1, 0.1)
    missing = {}
    made = speed.made(cell, classification("first", 1), missing)
    assert list(made) == ["Limner", "Limner, one by one", "by hand"]
    assert "a_library_that_nobody_has" in missing["absent"]


def test_a_ratio_of_medians_and_its_interval():
    constant = speed.ratio([2.0] * 7, [1.0] * 7)
    assert constant == (2.0, 2.0, 2.0, 7)
    shared = [1.0, 1.1, 5.0, 1.2, 0.9]  # a load that both feel leaves their ratio alone
    assert speed.ratio([3 * value for value in shared], shared)[:3] == pytest.approx((3, 3, 3))
    mean, low, high, _ = speed.ratio([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    assert low < mean < high


def test_every_contender_steps_once_a_round_in_turn():
    order = []

    class Clock:
        def __init__(self, name):
            self.name = name

        def step(self):
            order.append(self.name)

    seconds = speed.in_turn({name: Clock(name) for name in "abc"}, rounds=2)
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 2, "b": 2, "c": 2}
    rounds = [tuple(order[index : index + 3]) for index in range(0, len(order), 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) > 1


TWO_PEAKS = """
import torch
from limner.engine.allocator import keep_freed_memory
from meta_speed import added_at_peak

keep_freed_memory()
work = lambda: [torch.ones(20_000_000)] and None  # 80 MB
work()  # what a process keeps for later must not hide what the next work needs
print(added_at_peak(work), added_at_peak(lambda: None))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak can only be reset on Linux")
def test_memory_at_the_peak_is_what_was_added_even_if_it_is_freed_again():
    told = subprocess.run(
        [sys.executable, "-c", TWO_PEAKS], cwd=BENCHMARKS, capture_output=True, text=True, check=True, timeout=100
    )
    added, nothing = map(float, told.stdout.split())
    assert 70 < added < 110
    assert nothing < 20  # the peak before is forgotten


@pytest.mark.parametrize("quick", [True, False])
def test_every_cell_has_its_tasks_and_contenders(quick):
    found = cells.cells(quick)
    assert len({cell.name for cell in found}) == len(found) == (7 if quick else 13)
    for cell in found:
        kinds = speed.contenders_of(cell)
        assert kinds[:2] == [speed.Ours, speed.OneByOne]
        assert len(kinds) > 2


def test_tasks_of_classification_keep_classes_and_images_apart():
    from limner.tasks import ImageSet

    labels = torch.arange(6).repeat_interleave(20)
    pixels = torch.arange(120, dtype=torch.uint8)[:, None, None, None].expand(120, 1, 28, 28).contiguous()
    for task in cells.classification(ImageSet(pixels, "counted", labels, tuple("abcdef")), 3):
        support, query = (255 * images[:, 0, 0, 0] for images in (task.support, task.query))
        assert task.support.shape == (5, 1, 28, 28)
        assert task.query.shape == (75, 1, 28, 28)
        everything = torch.cat([support, query]).round().long()
        assert len(set(everything.tolist())) == 80
        classes = everything // 20
        assert len(set(classes[:5].tolist())) == 5
        assert (classes[5:] == classes[task.query_targets]).all()
    with pytest.raises(LimnerError, match="no classes"):
        cells.classification(ImageSet(pixels, "nameless"), 1)
