"""The guard of a game: what it measures, what it does in trouble, that it leaves the healthy alone, exact resume."""

import pytest
import torch

from limner.config import Strategy
from limner.engine import Listener, fit
from limner.engine import guard as guards
from limner.engine.checkpoint import Training
from limner.engine.optimisers import create as optimiser_of
from limner.engine.run import Run
from limner.engine.step import init_states, step
from limner.errors import LimnerError
from limner.learners import GAN, create
from limner.learners.base import Constrained
from limner.seeds import generator
from limner.tasks import Task, load
from limner.testing import StopAt

SHAPE = (1, 16, 16)
DIGITS = load("digits,size=16")


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    """A look every 10 steps in place of 50, so that short trainings show what long ones do."""
    monkeypatch.setattr(guards, "EVERY", 10)
    monkeypatch.setattr(guards, "EARLIEST", 40)


def task(count=48, held_back=16):
    support = DIGITS.select(torch.arange(count))
    return Task("generate", "digits", support, DIGITS.select(torch.arange(count, count + held_back)))


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


class Constant(GAN):
    """Makes one grey image whatever its latents are."""

    def decode(self, params, latents, labels=None):
        return super().decode(params, 0 * latents, labels)


def test_spread_is_one_and_nothing_for_the_images_themselves_and_none_for_one_image():
    random = generator(0, "test")
    real, again = torch.rand(400, 1, 2, 2, generator=random), torch.rand(300, 1, 2, 2, generator=random)
    alike = guards.spread(again, real)
    assert alike.diversity == pytest.approx(1, abs=0.05)
    assert alike.spacing == pytest.approx(1, abs=0.1)
    assert alike.distance == pytest.approx(0, abs=0.02)
    one = guards.spread(real[:1].expand(50, 1, 2, 2), real)
    assert (one.diversity, one.spacing) == (0, 0)
    few = guards.spread(real[:4].repeat(16, 1, 1, 1), real)
    assert few.diversity > 0.5
    assert few.spacing < 0.05
    assert guards.spread(again + 3, real).distance > 5
    assert guards.spread(real, real[:1].expand(50, 1, 2, 2)) is None


def test_energy_distance_is_that_of_its_definition():
    x, y = torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([[1.0], [4.0]])
    between = sum(abs(a - b) for a in (0, 2, 5) for b in (1, 4)) / 6
    expected = (2 * between - (2 + 5 + 3) / 3 - 3) / 3
    assert guards.spread(x[..., None, None], y[..., None, None]).distance == pytest.approx(expected)


def test_strength_settles_where_the_critic_overfits_as_much_as_aimed_at():
    strength = 0.0
    for _ in range(2000):
        strength = guards.adjusted(strength, 1 - strength, 64)  # a critic that overfits less, the more is augmented
    assert strength == pytest.approx(1 - guards.TARGET, abs=0.01)
    assert guards.adjusted(0.8, 1.0, 64) == 0.8


def test_a_healthy_game_is_left_alone_bit_by_bit():
    learner = create("gan", SHAPE, latents=4, width=4)
    strategy = Strategy(steps=55, batch=8, betas=(0.0, 0.99), ema=0.9)
    guarded = fit(learner, task(), strategy, seed=2)
    alone = fit(learner, task(), strategy.replace(guard=("none",)), seed=2)
    assert same(guarded.params, alone.params)
    assert (guarded.state, guarded.notes) == ("finished", [])
    looks = [point for point in guarded.curve if "sample diversity" in point.values]
    assert [point.step for point in looks] == [10, 20, 30, 40, 50]
    assert "critic overfitting" in looks[0].values
    assert not any("sample diversity" in point.values for point in alone.curve)


def test_a_constant_generator_is_told_as_collapse_and_never_before_it_could_learn(tmp_path):
    learner = Constant(SHAPE, latents=2, width=4)
    told = []

    class Hearing(Listener):
        def on_note(self, sentence):
            told.append(sentence)

        def on_end(self, state):
            told.append(state)

    run = fit(learner, task(), Strategy(steps=40, batch=4), listeners=[Hearing()])
    assert run.state == "collapsed"
    assert "nearly all the same" in run.notes[-1]
    assert told == [*run.notes, "collapsed"]
    assert Run.load(run.save(tmp_path / "run")).state == "collapsed"
    assert not list((tmp_path / "run").glob("samples/*"))
    assert fit(learner, task(), Strategy(steps=30, batch=4)).state == "finished"


def unstable(**changes):
    """A game without a penalty at a rate far too high: its generator bursts."""
    strategy = Strategy(steps=80, batch=8, learning_rate=0.1, **changes)
    return create("gan", SHAPE, latents=4, width=4, gamma=0.0), strategy


def test_an_unstable_game_is_caught_restored_and_told():
    learner, strategy = unstable()
    run = fit(learner, task(), strategy, seed=1)
    acted = [note for note in run.notes if "went back to the model of step" in note]
    assert acted
    assert "halved the learning rate" in acted[0]
    rates = [point.values["learning rate"] for point in run.curve if "learning rate" in point.values]
    assert rates[-1] <= rates[0] / 2
    alone = fit(learner, task(), strategy.replace(guard=("none",)), seed=1)
    real = task().support.floats()

    def distance(run):
        return guards.spread(run.sample(64).float() / 255, real).distance

    assert distance(run) < distance(alone)
    watched = fit(learner, task(), strategy.replace(guard=("watch",)), seed=1)
    assert same(watched.params, alone.params)
    assert "nothing was done" in watched.notes[0]


@pytest.mark.parametrize("at", [25, 61])
def test_a_guarded_game_resumes_exactly(at, tmp_path):
    learner, strategy = unstable(ema=0.9)
    whole = fit(learner, task(), strategy, seed=1)
    assert len(whole.notes) > 1
    fit(learner, task(), strategy, seed=1, directory=tmp_path, listeners=[StopAt(at)])
    resumed = fit(learner, task(), strategy, seed=1, directory=tmp_path, resume=True)
    assert same(whole.params, resumed.params)
    assert (whole.state, whole.notes) == (resumed.state, resumed.notes)
    assert [point.values for point in whole.curve] == [point.values for point in resumed.curve]


def test_gradients_that_vanish_or_burst_are_told_beside_their_usual_norm():
    learner = create("gan", SHAPE, latents=2, width=4)
    guard = guards.Guard(learner, task(), Strategy(), 0, print)
    start = learner.init(0)
    training = Training(start, {}, {}, generator(0), torch.empty(0))
    names = [f"{player} {what}" for player in learner.players for what in ("gradient norm", "loss")]
    now = dict.fromkeys(names, 1.0)
    assert guard._vanished(training, now) == {}
    assert guard._burst(training, now | {"critic loss": 1e9}) == []  # nothing to hold it against yet
    training.watched.usual = {name: [1.0, 2.0, 3.0] for name in names}
    assert guard._vanished(training, now) == {}
    assert guard._burst(training, now) == []
    assert list(guard._vanished(training, now | {"generator gradient norm": 1e-4})) == ["generator"]
    assert guard._burst(training, now | {"generator loss": 1e4}) == ["the generator loss had burst"]


def test_a_guard_cannot_strengthen_what_is_not_there():
    plain = create("gan", SHAPE, latents=2, width=4, gamma=0.0)
    with pytest.raises(LimnerError, match="strengthen-r1: the gan has no gradient penalty"):
        fit(plain, task(), Strategy(guard=("strengthen-r1",)))
    clipped = create("gan", SHAPE, latents=2, width=4, objective="wasserstein-clipping")
    with pytest.raises(LimnerError, match="strengthen-r1: the gan has no gradient penalty"):
        fit(clipped, task(), Strategy(guard=("strengthen-r1",)))
    with pytest.raises(LimnerError, match="raise-augmentation: the gan has no augmentation"):
        fit(plain, task(), Strategy(guard=("raise-augmentation",)))


@pytest.mark.parametrize("kind", ["gan", "vae-gan"])
def test_a_strengthened_penalty_weighs_as_much_more(kind):
    learner = create(kind, SHAPE, latents=2, width=4, gamma=0.5)
    params, batch = learner.init(0), {"images": task().support.floats()[:4]}
    draws = learner.draw(batch, generator(0))
    plain = learner.loss("critic", params, batch, draws)
    strong = learner.loss("critic", params, batch | {"penalty": torch.tensor(3.0)}, draws)
    added = 2 * 0.5 * 0.5 * (plain.terms["r1"] + plain.terms["r2"])
    assert added > 0
    assert torch.allclose(strong.value - plain.value, added, rtol=1e-4)


def test_what_a_player_moved_is_held_to_its_set_and_nothing_else_is():
    class Held(GAN):
        def constrain(self, params):
            return {name: value.clamp(-0.01, 0.01) for name, value in params.items()}

    learner = Held(SHAPE, latents=2, width=4)
    assert isinstance(learner, Constrained)
    params, optimiser = learner.init(0), optimiser_of(Strategy())
    params = {name: value + 0.05 for name, value in params.items()}
    batch = {"images": task().support.floats()[:4]}
    frozen = ("generator",)
    result = step(
        learner, optimiser, params, init_states(learner, optimiser, params, frozen), batch,
        learner.draw(batch, generator(0)), 1e-3, frozen=frozen,
    )  # fmt: skip
    for name, value in result.params.items():
        if name.startswith("critic"):
            assert value.abs().max() <= 0.01
        else:
            assert torch.equal(value, params[name])


def test_penalty_and_augmentation_travel_in_the_batch():
    learner = create("gan", SHAPE, latents=2, width=4, augment="translation")
    seen = []

    class Watching(type(learner)):
        def loss(self, player, params, batch, draws):
            found = super().loss(player, params, batch, draws)
            if player == "critic" and "strength" in batch:  # not where the engine only looks at parameters
                seen.append((float(batch["strength"]), float(batch.get("penalty", 1)), found))
            return found

    strategy = Strategy(steps=3, batch=4, guard=("raise-augmentation", "strengthen-r1"))
    watching = Watching(SHAPE, latents=2, width=4, augment="translation")
    run = fit(watching, Task("generate", "digits", task().support, None), strategy)
    assert [penalty for _, penalty, _ in seen] == [1, 1, 1]
    moved = [float(found.terms["real sign"] > guards.TARGET) for _, _, found in seen]
    strength = 0.0
    for (given, _, _), over in zip(seen, moved, strict=True):
        assert given == pytest.approx(strength)
        strength = max(0.0, strength + (4 if over else -4) / guards.IMAGES_TO_FULL)
    assert run.state == "finished"
    params, batch = learner.init(0), {"images": task().support.floats()[:4], "strength": torch.tensor(0.0)}
    draws = learner.draw(batch, generator(0))
    plain = learner.loss("critic", params, batch, draws)
    doubled = learner.loss("critic", params, batch | {"penalty": torch.tensor(2.0)}, draws)
    slope = (plain.terms["r1"] + plain.terms["r2"]) / 2
    assert float(doubled.value - plain.value) == pytest.approx(float(slope), rel=1e-4)
