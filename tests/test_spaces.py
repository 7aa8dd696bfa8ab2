"""The strategy space: what it says of itself, of what learners take, and of mistakes."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as drawn

from limner.config import Strategy
from limner.errors import LimnerError
from limner.learners import CATALOGUE, create
from limner.memory.portfolio import options_of
from limner.restoration.catalogue import CATALOGUE as RESTORERS
from limner.restoration.catalogue import restorer
from limner.spaces import Knob, Space, space_of
from limner.spaces.estimators import CURATED, estimator_space
from limner.spaces.learners import learner_values, usual

NET = Space(
    "a net",
    (
        Knob("loss", "choice", "l2", words=("l2", "l1", "huber")),
        Knob("rate", "float", 1e-3, 1e-5, 0.1, log=True),
        Knob("depth", "int", 3, 1, 20),
        Knob("delta", "float", 1.0, 0.1, 10.0, log=True, when=("loss", ("huber",))),
    ),
)
KINDS = [*CATALOGUE, *RESTORERS, *(f"estimator:{name}" for name in CURATED)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_space_holds_its_default_and_what_it_draws_and_tells_it_in_numbers(kind):
    space = space_of(kind)
    assert space.validate(space.default) == space.default
    for seed in range(5):
        values = space.sample(seed)
        vector = space.encode(values)
        assert space.validate(values) == values
        assert len(vector) == space.width
        assert all(0 <= number <= 1 for number in vector)
        again = space.decode(vector)
        assert again.keys() == values.keys()
        for name, value in values.items():
            exact = space[name].kind != "float"
            assert again[name] == (value if exact else pytest.approx(value, rel=1e-4, abs=1e-6))


@pytest.mark.parametrize("kind", CATALOGUE)
def test_learners_and_strategies_take_whatever_their_space_draws(kind):
    space = space_of(kind)
    needed = {"classes": 3} if kind in ("classifier", "prototypical") else {}
    for seed in range(12):
        values = space.sample(seed)
        options = {name: value for name, value in values.items() if space[name].of == "option"}
        fields = {name: value for name, value in values.items() if space[name].of == "strategy"}
        learner = create(kind, (1, 16, 16), **options, **needed)
        strategy = Strategy().replace(**fields)
        assert learner_values(space, learner.options, strategy) == values


@pytest.mark.parametrize("kind", CATALOGUE)
def test_the_default_is_what_the_learner_and_the_portfolio_say(kind):
    space = space_of(kind)
    needed = {"classes": 3} if kind in ("classifier", "prototypical") else {}
    assert space.default == learner_values(
        space, create(kind, (1, 16, 16), **options_of(kind, needed)).options, usual(kind)
    )


def test_a_restorer_is_trained_as_a_user_without_options_wants_it():
    assert create("restorer", (1, 16, 16), **options_of("restorer")).options["network"] == "unet"
    assert usual("restorer").precision == usual("restorer", adapted=True).precision == "auto"
    assert {"network": "unet", "width": 24, "depth": 8}.items() <= space_of("restorer").default.items()


@pytest.mark.parametrize("name", [name for name in RESTORERS if name not in ("bm3d", "generative-prior")])
def test_restorers_take_whatever_their_space_draws(name):
    for seed in range(5):
        assert restorer(name, **space_of(name).sample(seed)).name == name


@given(drawn.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_neighbours_are_in_the_space_and_differ_in_one_knob(seed):
    values = NET.sample(seed)
    found = NET.neighbours(values)
    assert found
    assert all(NET.holds(one) for one in found)
    for one in found:
        shared = one.keys() & values.keys()
        changed = [name for name in shared if one[name] != values[name]]
        assert len(changed) == 1
        assert one.keys() == values.keys() or changed == ["loss"]


def test_draws_fill_the_range_evenly_on_its_own_scale():
    rates = [NET.sample(seed)["rate"] for seed in range(400)]
    below = sum(rate < 1e-3 for rate in rates) / len(rates)
    assert abs(below - 0.5) < 4 * math.sqrt(0.25 / 400)  # half of the factors from 1e-5 to 0.1 lie below 1e-3
    depths = [NET.sample(seed)["depth"] for seed in range(400)]
    assert set(depths) == set(range(1, 21))
    assert NET.sample(7) == NET.sample(7)


def test_a_condition_takes_a_knob_in_and_out():
    assert "delta" not in NET.default
    assert NET.validate({"loss": "huber"})["delta"] == 1.0
    assert NET.encode({"loss": "l2", "rate": 1e-3, "depth": 3})[-2:] == [0.0, 0.0]
    assert NET.encode(NET.validate({"loss": "huber", "delta": 10.0}))[-2:] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rate": 3}, "rate cannot be 3; right would be a number from 1e-05 to 0.1"),
        ({"depth": 2.5}, "depth cannot be 2.5; right would be a whole number from 1 to 20"),
        ({"depth": True}, "depth cannot be true"),
        ({"loss": "l3"}, "loss cannot be l3; right would be l2, l1 or huber"),
        ({"rat": 0.1}, r"no knob 'rat' \(did you mean rate\?\)"),
        ({"delta": 2.0}, "delta plays a part only where loss is huber"),
        ({"rate": float("nan")}, "rate cannot be nan"),
    ],
)
def test_a_mistake_names_the_knob_and_its_range(values, told):
    with pytest.raises(LimnerError, match=told):
        NET.validate(values)


def test_what_is_fixed_leaves_the_space_with_what_waits_for_it():
    left = NET.without({"loss": "l1", "depth": 5})
    assert [knob.name for knob in left.knobs] == ["rate"]
    left = NET.without({"loss": "huber"})
    assert [knob.name for knob in left.knobs] == ["rate", "depth", "delta"]
    assert "delta" in left.default
    with pytest.raises(LimnerError, match="depth cannot be 99"):
        NET.without({"depth": 99})


def test_a_start_leaves_only_the_strategy_to_choose():
    space = space_of("gan", adapted=True)
    assert {knob.of for knob in space.knobs} == {"strategy"}
    assert "rank" in space.validate({"update": "low-rank"})


@pytest.mark.parametrize("name", CURATED)
def test_the_curated_defaults_are_those_of_scikit_learn(name):
    from limner.estimators import estimator_class

    usually = estimator_class(name).make().get_params()
    for knob in estimator_space(name).knobs:
        if knob.name not in ("scaling", "features"):
            assert knob.default == usually[knob.name], knob.name


def test_an_unknown_learner_is_told_in_one_sentence():
    with pytest.raises(LimnerError, match="there is no learner 'forest'; there are: vae"):
        space_of("forest")
