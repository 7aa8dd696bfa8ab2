"""The adviser puts first what worked on similar tasks, the default where nothing similar is known, and says why."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from made_up import discs, snow

from limner.config import ENDLESS, Strategy
from limner.errors import LimnerError
from limner.learners import create, describe
from limner.memory import Adviser, Memory, Recommendation, adviser, fingerprint, shipped
from limner.meta import MetaPlan
from limner.model_file import encode
from limner.tasks.image_set import ImageSet
from limner.tasks.task import Task
from limner.types import Cost, Score, Scores

SHAPE = (1, 16, 16)
VAE = describe(create("vae", SHAPE))
GAN = describe(create("gan", SHAPE))
GOOD = Strategy(learning_rate=0.003, steps=300)
POOR = Strategy(learning_rate=0.0001, steps=300)


def a_task(images: ImageSet, name: str, query: int = 1000) -> Task:
    return Task("generate", name, images, discs(query), 0, images.name)


def tried(
    memory: Memory,
    task: Task,
    strategy: Strategy,
    score: float,
    learner: dict[str, Any] = VAE,
    seconds: float = 3.0,
    steps: int | None = None,
) -> str:
    """A run on the task with a score; ``steps``: how many it took, where it ended before its budget."""
    sha256 = memory.add_task(task, fingerprint(task, extractor=None))
    run = memory.begin_run(sha256, learner, strategy, 0)
    made = SimpleNamespace(
        params={"net.a": torch.full((2,), score)}, best=None, state="finished", notes=[], curve=[],
        cost=Cost(seconds, strategy.steps if steps is None else steps, 1), lineage={},
    )  # fmt: skip
    memory.finish_run(run, made, Scores({"kernel_distance": Score(score)}, "pixels", 64, 8, 8))
    return run


@pytest.fixture(autouse=True)
def nothing_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's starts set aside, so that a list is known in full."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(shipped.shipped_starts, "__defaults__", (folder,))
    monkeypatch.setattr(shipped.load_shipped, "__defaults__", (folder,))
    return folder


@pytest.fixture
def memory(tmp_path: Path) -> Any:
    with Memory.open(tmp_path / "memory") as opened:
        yield opened


def advice(memory: Memory, task: Task, **options: Any) -> list[Recommendation]:
    return Adviser(memory).recommend(task, extractor=None, **options)


def sources(given_advice: list[Recommendation]) -> list[str]:
    return [item.source for item in given_advice]


def test_an_empty_memory_gives_the_portfolio(memory: Memory) -> None:
    found = advice(memory, a_task(discs(0), "discs"))
    assert [(item.learner, item.strategy.start, item.source) for item in found] == [
        ("vae", "scratch", "default"),
        *((learner, "scratch", "portfolio") for learner in ("gan", "vae-gan", "vq-vae", "flow", "imle")),
    ]
    assert [item.rank for item in found] == [1, 2, 3, 4, 5, 6]
    assert all(item.expected is None for item in found)  # no number that is not from the memory
    assert all(item.reason.endswith(".") for item in found)
    assert found[0].options == VAE["options"]
    assert [item.learner for item in advice(memory, a_task(discs(0), "discs"), learner="gan")] == ["gan"]
    assert sources(advice(memory, a_task(discs(0), "discs"), learner="gan")) == ["default"]


def test_what_worked_best_on_a_similar_task_comes_first(memory: Memory) -> None:
    past = a_task(discs(1), "discs of Monday")
    run = tried(memory, past, GOOD, 0.02)
    tried(memory, past, POOR, 0.30)
    default = next(item for item in advice(memory, past) if item.source == "default")
    tried(memory, past, default.strategy, 0.25)
    found = advice(memory, a_task(discs(2), "discs of Tuesday"))
    assert found[0].strategy == GOOD
    assert found[0].source == "neighbour"
    assert found[0].reason == (
        "On discs of Monday, much like these images, it reached a kernel distance of 0.02 (lower is better), better "
        "than the 2 other ways tried there."
    )
    assert found[0].expected == pytest.approx(0.02)
    assert {run, past.sha256} <= set(found[0].evidence)
    assert sources(found).count("default") == 1
    poor = next(item for item in found if item.strategy == POOR)
    assert poor.rank > next(item.rank for item in found if item.source == "default")


def test_an_unrelated_past_does_not_displace_the_default(memory: Memory) -> None:
    fresh = [(item.learner, item.strategy, item.source, item.reason) for item in advice(memory, a_task(discs(0), "d"))]
    for seed in range(4):
        past = a_task(snow(seed), f"snow {seed}")
        tried(memory, past, GOOD, 0.001)
        tried(memory, past, POOR, 0.9)
    found = advice(memory, a_task(discs(0), "d"))
    assert [(item.learner, item.strategy, item.source, item.reason) for item in found] == fresh


def test_a_lone_trial_proves_nothing(memory: Memory) -> None:
    tried(memory, a_task(discs(1), "discs"), GOOD, 0.02)
    found = advice(memory, a_task(discs(2), "more discs"))
    assert found[0].source == "default"
    lone = next(item for item in found if item.strategy == GOOD)
    assert lone.reason.endswith(", but nothing else was tried there at its length to compare it with.")
    assert lone.expected == pytest.approx(0.02)


@pytest.mark.parametrize(("steps", "is_told"), [(149, False), (150, True), (300, True), (600, True), (601, False)])
def test_only_runs_about_as_long_tell_what_to_expect(memory: Memory, steps: int, is_told: bool) -> None:
    past = a_task(discs(1), "past discs")
    tried(memory, past, GOOD, 0.02, steps=steps)
    tried(memory, past, POOR, 0.3)
    found = next(item for item in advice(memory, a_task(discs(2), "now")) if item.strategy == GOOD)
    if is_told:
        assert found.expected == pytest.approx(0.02)
        assert "better than the one other way tried there" in found.reason
    else:
        assert found.expected is None
        assert found.reason == (
            "On past discs, much like these images, it reached a kernel distance of 0.02 in "
            f"{steps} steps, which does not tell what to expect of 300 here."
        )
        assert found.rank > 1  # nor does it count for or against


def test_a_budget_in_steps_or_seconds_decides_which_runs_tell(memory: Memory) -> None:
    past, now = a_task(discs(1), "past"), a_task(discs(2), "now")
    tried(memory, past, GOOD.replace(steps=40), 0.9, seconds=4.0)  # a tenth of a second each
    tried(memory, past, GOOD.replace(steps=4000), 0.1, seconds=400.0)

    def expected(**budget: Any) -> float | None:
        return next(item for item in advice(memory, now, **budget) if item.strategy.learning_rate == 0.003).expected

    assert expected(budget_steps=50) == pytest.approx(0.9)
    assert expected(budget_steps=3000) == pytest.approx(0.1)
    assert expected(budget_steps=400) is None
    assert expected(budget_seconds=5.0) == pytest.approx(0.9)
    assert expected(budget_seconds=300.0) == pytest.approx(0.1)
    assert expected(budget_seconds=40.0) is None
    assert expected(budget_steps=4000, budget_seconds=5.0) == pytest.approx(0.9)
    assert expected() == pytest.approx(0.1)  # a short trial is no reason for a short run


def test_what_did_well_at_another_length_is_proposed_as_it_was_tried(memory: Memory) -> None:
    past, now = a_task(discs(1), "past"), a_task(discs(2), "now")
    default = advice(memory, now)[0].strategy
    tried(memory, past, default, 0.3)
    tried(memory, past, GOOD, 0.02, steps=100)
    found = advice(memory, now)
    assert (found[0].source, found[0].strategy) == ("neighbour", GOOD.replace(steps=100))
    assert found[0].expected == pytest.approx(0.02)
    assert "better than the one other way tried there" in found[0].reason
    assert [item.strategy for item in found[1:]].count(GOOD) == 1  # as long as it was meant to be, it is not known
    tried(memory, past, POOR, 0.9, steps=20)
    again = advice(memory, now)
    assert again[0].strategy == found[0].strategy
    assert "better than the 2 other ways tried there" in again[0].reason
    assert "better than 1 of the 2 other ways tried there" in again[1].reason  # the default
    other = a_task(discs(3), "others")  # nearer tasks at another length hide nothing
    tried(memory, other, GOOD, 5.0, steps=10)
    assert advice(memory, other)[0].strategy == GOOD.replace(steps=100)
    assert POOR.replace(steps=20) not in [item.strategy for item in again]
    assert all(item.strategy.steps == 50 for item in advice(memory, now, budget_steps=50))


def test_a_short_try_of_the_default_does_not_shorten_it(memory: Memory) -> None:
    now = a_task(discs(2), "now")
    default = advice(memory, now)[0].strategy
    tried(memory, now, default, 0.3, steps=60)
    tried(memory, now, POOR, 0.9, steps=60)
    found = advice(memory, now)
    assert (found[0].source, found[0].strategy) == ("default", default)
    assert default.replace(steps=60) not in [item.strategy for item in found]


def test_a_short_try_does_not_lose_to_a_long_one(memory: Memory) -> None:
    past = a_task(discs(1), "past")
    tried(memory, past, GOOD.replace(steps=5), 2.0)
    tried(memory, past, POOR.replace(steps=5000), 0.1)
    found = advice(memory, a_task(discs(2), "now"), budget_steps=5000)
    long, short = (next(item for item in found if item.strategy.learning_rate == s.learning_rate) for s in (POOR, GOOD))
    assert (long.expected, short.expected) == (pytest.approx(0.1), None)
    assert "nothing else was tried there" in long.reason
    assert "in 5 steps, which does not tell what to expect of 5,000 here" in short.reason


def test_without_a_known_pace_a_time_limit_expects_nothing(memory: Memory, tmp_path: Path) -> None:
    tried(memory, a_task(discs(1), "past"), GOOD, 0.02)
    memory.export(tmp_path / "all.zip")
    with Memory.open(tmp_path / "other") as other:  # where nothing ran, nobody knows how many steps fit
        other.import_(tmp_path / "all.zip")
        found = next(item for item in advice(other, a_task(discs(2), "now"), budget_seconds=9.0) if item.evidence)
        assert found.expected is None
        assert found.reason.endswith("in 300 steps, which does not tell what to expect of a time limit here.")
        assert next(item for item in advice(other, a_task(discs(2), "now")) if item.evidence).expected == 0.02


def test_every_reason_is_one_plain_sentence(memory: Memory, nothing_shipped: Path) -> None:
    memory.put_model({"net.a": torch.ones(2)}, VAE, role="start", name="all discs", family={"spec": "discs"})
    for seed in range(3):
        for strategy, score in ((GOOD, 0.1), (POOR, 0.4), (Strategy(learning_rate=0.1, steps=300), 0.2)):
            tried(memory, a_task(discs(seed), f"discs {seed}"), strategy, score + 0.01 * seed)
    found = advice(memory, a_task(discs(9), "now"), budget_seconds=1.0) + advice(memory, a_task(discs(9), "now"))
    for item in found:
        assert re.fullmatch(r"[A-Z][^\n]*[^.]\.", item.reason)
        assert not re.search(r"\. [A-Z]|;.*;.*;|similarity|alone", item.reason)
    best = next(item for item in found if item.strategy == GOOD)
    assert best.reason.endswith("tried there; it was tried on 2 other sets of images like these as well.")


def test_the_nearer_task_weighs_more(memory: Memory) -> None:
    near, far = a_task(discs(1, 5.0), "near"), a_task(discs(1, 4.0), "far")
    for task, better, worse in ((near, GOOD, POOR), (far, POOR, GOOD)):
        tried(memory, task, better, 0.1)
        tried(memory, task, worse, 0.4)
    found = advice(memory, a_task(discs(2, 5.0), "now"))
    order = [item.strategy.learning_rate for item in found]
    assert order.index(GOOD.learning_rate) < order.index(POOR.learning_rate)
    good = next(item for item in found if item.strategy == GOOD)
    assert 0.1 < (good.expected or 0.0) < 0.25  # drawn to the nearer task's
    assert "on near" in good.reason.lower()


def test_the_same_memory_gives_the_same_advice(memory: Memory) -> None:
    for seed in range(3):
        for strategy, score in ((GOOD, 0.1), (POOR, 0.1 + 0.01 * seed)):
            tried(memory, a_task(discs(seed), f"discs {seed}"), strategy, score)
    task = a_task(discs(9), "now")
    first, second = ([{**vars(item), "id": ""} for item in advice(memory, task)] for _ in range(2))
    assert first == second


def test_scores_on_different_features_are_not_compared(memory: Memory) -> None:
    past = a_task(discs(1), "discs")
    tried(memory, past, POOR, 0.5)
    run = tried(memory, past, GOOD, 0.1)
    from sqlalchemy import text

    with memory.database.writing() as session:
        session.execute(text("UPDATE evaluations SET extractor = 'glyph-net' WHERE owner = :run"), {"run": run})
    tried_there = [item.reason for item in advice(memory, past) if item.source == "neighbour"]
    assert len(tried_there) == 2
    assert all("nothing else was tried there at its length to compare it with" in reason for reason in tried_there)


def test_a_start_that_fits_is_offered_and_others_are_not(memory: Memory, nothing_shipped: Path) -> None:
    params = {"net.a": torch.ones(2)}
    fitting = memory.put_model(params, VAE, role="start", name="all discs", family={"spec": "discs,size=16"})
    memory.put_model(params, describe(create("vae", (3, 16, 16))), role="start", name="colour")
    memory.put_model(params, VAE, role="model", name="no start")
    (nothing_shipped / "small.safetensors").write_bytes(encode(params, GAN, "start"))
    plan = MetaPlan(
        inner_optimiser="sgd", inner_rate=0.02, inner_betas=(0.9, 0.99), player_rates={"critic": 2.0}
    ).to_json()
    sgd = memory.put_model({"net.a": torch.zeros(2)}, GAN, role="start", name="by sgd", plan=plan)
    found = advice(memory, a_task(discs(0), "discs"))
    adapted = next(item for item in found if item.strategy.start == sgd)
    assert (adapted.strategy.optimiser, adapted.strategy.learning_rate) == ("sgd", 0.02)  # as it was trained to be
    assert memory.get_model(sgd).metadata["plan"] == plan
    found.remove(adapted)
    varied = [(item.learner, item.name, item.strategy.start) for item in found[-4:]]
    assert varied == [("gan", name, sgd) for name in ("freeze-critic", "modulation", "low-rank", "distance-preserving")]
    assert found[-4].strategy.frozen == ("critic.body.0.", "critic.body.2.")
    assert (found[-2].strategy.update, found[-1].strategy.preserve) == ("low-rank", 2.0)
    del found[-4:]
    assert [(item.learner, item.strategy.start) for item in found] == [
        ("vae", fitting), ("gan", "shipped:small"),
        *((learner, "scratch") for learner in ("vae", "gan", "vae-gan", "vq-vae", "flow", "imle")),
    ]  # fmt: skip
    assert sources(found) == ["default", *["portfolio"] * 7]
    assert found[0].reason.startswith(
        "The default: the start all discs was learned from many small tasks on 16×16 grey images from the same source"
    )
    assert found[0].evidence == (fitting,)
    assert memory.get_model("shipped:small").learner_description["kind"] == "gan"


def test_only_starts_among_the_shipped_files_are_advised(memory: Memory, nothing_shipped: Path) -> None:
    params = {"net.a": torch.ones(2)}
    for role in ("start", "model", "features"):
        (nothing_shipped / f"{role}.safetensors").write_bytes(encode(params, VAE, role))
    assert [model.metadata["reference"] for model in shipped.shipped_starts()] == ["shipped:start"]
    past = a_task(discs(1), "past")
    for role in ("start", "model", "features"):  # each was tried by hand, and did best of all
        tried(memory, past, GOOD.replace(start=f"shipped:{role}"), 0.01)
    tried(memory, past, POOR, 0.5)
    starts = {item.strategy.start for item in advice(memory, a_task(discs(2), "now"))}
    assert starts == {"shipped:start", "scratch"}


def test_a_start_named_otherwise_is_the_same_start(memory: Memory) -> None:
    start = memory.put_model({"net.a": torch.ones(2)}, VAE, role="start", name="all discs")
    task = a_task(discs(1), "discs")
    default = advice(memory, task)[0]
    assert default.strategy.start == start
    tried(memory, task, default.strategy.replace(start="all discs"), 0.5)
    tried(memory, task, GOOD, 0.1)
    found = advice(memory, task)
    assert [item.strategy.start for item in found if item.name == "adapted"].count(start) == 1
    assert found[0].strategy == GOOD
    assert next(item for item in found if item.source == "default").expected == pytest.approx(0.5)


def test_what_began_from_a_forgotten_start_is_not_recommended(memory: Memory) -> None:
    start = memory.put_model({"net.a": torch.ones(2)}, VAE, role="start", name="all discs")
    task = a_task(discs(1), "discs")
    tried(memory, task, GOOD.replace(start=start), 0.1)
    tried(memory, task, POOR, 0.2)
    memory.forget(start)
    assert all(item.strategy.start == "scratch" for item in advice(memory, task))


def test_a_budget_in_time_is_all_used_and_told_in_steps_by_the_pace_that_was_measured(memory: Memory) -> None:
    task = a_task(discs(0), "discs")
    unknown = advice(memory, task, budget_seconds=10.0)[0]
    assert (unknown.strategy.seconds, unknown.strategy.steps) == (10.0, ENDLESS)
    tried(memory, a_task(discs(1), "past"), GOOD, 0.1, seconds=30.0)  # 300 steps: a tenth of a second each
    known = advice(memory, task, budget_seconds=10.0)
    assert {(item.strategy.seconds, item.strategy.steps) for item in known} == {(10.0, ENDLESS)}
    assert "10 s are about 100 steps, as a step took 0.1 s here" in known[0].reason
    assert "steps, as" not in next(item for item in known if item.learner == "gan").reason  # nothing known of its pace
    both = advice(memory, task, budget_seconds=10.0, budget_steps=20)[0]
    assert (both.strategy.seconds, both.strategy.steps) == (10.0, 20)
    assert "steps, as" not in both.reason


def test_a_run_that_only_time_limited_recommends_the_steps_it_took(memory: Memory) -> None:
    tried(memory, a_task(discs(1), "past"), GOOD.within(None, 30.0), 0.02, steps=400)
    found = next(item for item in advice(memory, a_task(discs(2), "now")) if item.source == "neighbour")
    assert (found.strategy.steps, found.strategy.seconds, found.expected) == (400, 0.0, 0.02)


def test_every_recommendation_is_kept_with_what_came_of_it(memory: Memory) -> None:
    task = a_task(discs(0), "discs")
    found = advice(memory, task)
    assert {row["id"] for row in memory.list("recommendations")} == {item.id for item in found}
    run = tried(memory, task, found[0].strategy, 0.07)
    Adviser(memory).observe(found[0].id, run)
    shown = memory.show(found[0].id)
    assert shown["reason"] == found[0].reason
    assert shown["strategy"] == found[0].strategy.to_json()
    assert (shown["outcome_run"], shown["outcome"]["kernel_distance"]["value"]) == (run, 0.07)
    with pytest.raises(LimnerError, match="holds no recommendation called 'zz'"):
        Adviser(memory).observe("zz", run)
    memory.forget(task.sha256)
    assert memory.list("recommendations") == []


def test_a_goal_that_nothing_serves_is_told(memory: Memory) -> None:
    task = a_task(discs(0), "discs")
    with pytest.raises(LimnerError, match="no way yet to generate with the learner classifier; it serves: classify"):
        advice(memory, task, learner="classifier")
    with pytest.raises(LimnerError, match="no way yet to cluster"):
        advice(memory, Task("cluster", "r", discs(0), None))
    assert memory.list("tasks") == []


def test_configurations_differ_by_more_than_their_budget() -> None:
    assert adviser.configuration(VAE, GOOD) == adviser.configuration(VAE, GOOD.replace(steps=9, seconds=1.0))
    assert adviser.configuration(VAE, GOOD) != adviser.configuration(VAE, POOR)


@pytest.mark.parametrize(("shots", "steps"), [(1, 8), (3, 72), (12, 200)])
def test_fewer_images_bear_fewer_steps_from_a_start(memory: Memory, shots: int, steps: int) -> None:
    memory.put_model({"net.a": torch.ones(2)}, VAE, role="start", name="all discs")
    images = discs(0).select(torch.arange(shots) % len(discs(0)))
    found = advice(memory, Task("generate", "few", images, None))
    assert (found[0].name, found[0].strategy.steps) == ("adapted", steps)
    scratch = next(item for item in found if item.name == "scratch")
    assert scratch.strategy.steps == 2000
    memory.put_model({"net.a": torch.ones(2)}, GAN, role="start", name="by a game")
    varied = [item.strategy.steps for item in advice(memory, Task("generate", "few", images, None))[-4:]]
    assert varied == [min(most, 8 * shots**2) for most in (200, 50, 200, 200)]
