"""The page of the whole memory: what it shows of any memory, and that its numbers are what they are called."""

import math
import random
import re

import numpy as np
import pytest
from made_up import VAE, a_run, a_task, some_scores

from limner.cli.main import main
from limner.config import Strategy
from limner.memory import Fingerprint, Memory
from limner.reports import memory_facts
from limner.reports.memory_facts import Followed, Tried, in_words
from limner.reports.memory_figures import gains
from limner.reports.memory_knobs import LEAST_RUNS, importance
from limner.reports.memory_map import HIGH, WIDE, fitted, projected, vectors
from limner.reports.memory_page import write
from limner.tasks.tables import load_table, split_table

TREE = "estimator:sklearn.tree.DecisionTreeClassifier"


def like(mean, spread=0.1):
    return Fingerprint({"intensity": {"mean": mean, "deviation": spread}, "shape": {"height": 4.0}})


def filled(memory, count, scores=(0.4, 0.1), name="dots", first=0):
    """Tasks of images, the first run on each advised as the default."""
    for seed in range(first, first + count):
        task = memory.add_task(a_task(seed, name), like(0.1 + 0.8 * seed / max(count, 1), 0.05 * (seed % 3)))
        for place, score in enumerate(scores):
            strategy = Strategy(steps=40, learning_rate=4e-3 * (place + 1))
            said = memory.advise(task, VAE, strategy, source="nearest" if place else "default", reason="So.")
            run = memory.begin_run(task, VAE, strategy, 0, f"search-{seed}-{place}")
            memory.observe(said, run)
            memory.finish_run(run, a_run(), some_scores(score + 0.01 * seed))


def page_of(memory, tmp_path):
    text = write(memory, tmp_path / "page.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", text)  # asks for nothing from elsewhere
    return text


def test_an_empty_memory_says_how_to_begin(tmp_path):
    with Memory.open(tmp_path / "memory") as memory:
        text = page_of(memory, tmp_path)
    assert "Nothing has been learned yet" in text
    assert "<h2>" in text
    assert "<svg" not in text


def test_one_task_and_many_are_shown_with_pictures_best_runs_and_advice(tmp_path):
    with Memory.open(tmp_path / "memory") as memory:
        filled(memory, 1)
        text = page_of(memory, tmp_path)
        assert "2 runs on 1 task since" in text
        assert text.count("<image ") == 1
        filled(memory, 4, name="<b>rings</b>", first=1)
        text = page_of(memory, tmp_path)
    assert "10 runs on 5 tasks since" in text
    assert "<b>rings" not in text
    assert "rings&lt;/b&gt; 1 (generate)\nKernel distance 0.110, the best of 2 runs: vae" in text
    assert "learning rate 0.008" in text
    assert "on one scale. The two axes show 100% of how they differ. Rest on a task" in text
    assert text.count("<title>") == 6  # one for each task, and the page's own
    assert "nearest (5 tasks)" in text
    assert re.search(r'<th scope="row">nearest</th><td>Kernel distance</td><td class="number">5</td>', text)


def test_of_many_tasks_some_are_shown_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(memory_facts, "MOST_MAPPED", 6)
    with Memory.open(tmp_path / "memory") as memory:
        filled(memory, 9, scores=(0.3,))
        text = page_of(memory, tmp_path)
    assert "Shown are 6 of 9, drawn by chance" in text
    assert text.count("<title>") == 7


def test_tables_have_a_map_of_their_own_and_no_pictures(tmp_path):
    from limner.memory.tables import table_fingerprint

    with Memory.open(tmp_path / "memory") as memory:
        filled(memory, 2)
        for seed in range(2):
            table = load_table("sklearn:iris")
            task = split_table(table, "classify", 40, seed, "sklearn:iris")
            memory.add_task(task, table_fingerprint(task.support))
        text = page_of(memory, tmp_path)
    assert "2 tasks over tables" in text
    assert "2 tasks over images" in text
    assert text.count("<image ") == 2
    assert "no scored run yet" in text


def test_the_map_keeps_the_distances_by_which_tasks_are_compared():
    prints = [like(0.1), like(0.5, 0.3), like(0.9, 0.2)]
    rows = vectors([one.to_json() for one in prints])
    apart = [[np.linalg.norm(one - other) / math.sqrt(2) for other in rows] for one in rows]  # of two groups
    assert np.allclose(apart, [[one.distance(other) for other in prints] for one in prints])
    flat, told = projected(rows)
    assert "show 100%" in told  # three points always lie in a plane
    across = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    places = np.array(fitted(flat))
    shown = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert np.allclose(across / across.max(), shown / shown.max())
    assert np.allclose(across / math.sqrt(2), apart)
    assert ((places >= 0) & (places <= [WIDE, HIGH])).all()


@pytest.mark.parametrize("count", [1, 3])
def test_tasks_that_are_all_alike_lie_in_the_middle(count):
    flat, _ = projected(vectors([like(0.5).to_json()] * count))
    assert fitted(flat) == [(WIDE / 2, HIGH / 2)] * count


def test_the_gain_of_advice_is_counted_in_deviations_of_the_tasks_scores():
    here, there, alone = ("a", "vae"), ("b", "vae"), ("c", "vae")
    rows = [
        Followed("default", here, "pixels", 5.0),
        Followed("x", here, "pixels", 7.0),
        Followed("x", here, None, None),
    ]
    rows += [Followed("x", here, "pixels", 3.0), Followed("x", alone, "pixels", 0.0)]
    rows += [
        Followed("default", there, "pixels", 2.0),
        Followed("x", there, None, None),
        Followed("y", there, "pixels", 4.0),
    ]
    x, y = gains(rows)
    deviation = np.std([5.0, 7.0, 3.0])
    assert (x.source, x.tasks, y.source, y.tasks) == ("x", 2, "y", 1)
    assert x.mean == pytest.approx([-2 / deviation / 2, -2 / deviation / 2, 2 / deviation / 2])
    assert y.mean == pytest.approx([-2.0])
    assert (y.low, y.high) == (None, None)
    assert x.low[0] <= x.mean[0] <= x.high[0]
    assert gains([Followed("x", alone, "pixels", 0.0)]) == []


def trials(count, worth, tasks=4):
    chance = random.Random(0)
    made = []
    for place in range(count):
        options = {
            "max_depth": chance.choice([2, 8, None]),
            "min_samples_leaf": chance.randint(1, 50),
            "scaling": "none",
        }
        score = worth(options) + 0.05 * chance.random() + place % tasks
        made.append(Tried(str(place % tasks), "its own", -score, [1, 1, 4], options, Strategy(steps=0)))
    return made


def test_the_knob_that_decides_is_the_important_one():
    found = importance(TREE, trials(120, lambda options: -options["min_samples_leaf"] / 50))
    assert found.kind == "DecisionTreeClassifier"
    assert (found.runs, found.tasks) == (120, 4)
    (first, weight, _), (second, other, _) = found.knobs
    assert (first, second) == ("min samples leaf", "max depth")
    assert weight > 0.5 > 0.1 > abs(other)
    assert "scaling" not in [name for name, *_ in found.knobs]  # never varied


def test_where_nothing_tells_or_too_little_is_known_the_page_says_so():
    chance = random.Random(1)
    blind = importance(TREE, trials(60, lambda options: chance.random()))
    assert blind.knobs == []
    assert "does not foretell" in blind.told
    few = importance(TREE, trials(LEAST_RUNS - 2, lambda options: 0.0))
    assert few.knobs == []
    assert "too few, 30 or more would tell" in few.told
    assert (
        "all under the same strategy"
        in importance(TREE, [trials(1, lambda options: 0.0)[0]._replace(worse=float(each)) for each in range(40)]).told
    )
    assert importance("gone", []).told.startswith("0 runs")


def test_a_strategy_in_words_is_what_is_other_than_the_default():
    assert in_words(TREE, [1, 1, 4], {"max_depth": 4, "min_samples_leaf": 1}, Strategy(steps=0)) == "max depth 4"
    assert in_words("a learner of old", [1, 8, 8], {"x": 1}, Strategy(steps=7)) == "the default; 7 steps"


def test_the_command_writes_a_page_and_replaces_only_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LIMNER_MEMORY", str(tmp_path / "memory"))
    assert main(["memory", "report", "--out", str(tmp_path / "folder")]) == 0
    page = tmp_path / "folder" / "index.html"
    assert str(page) in capsys.readouterr().out
    assert main(["memory", "report", "--out", str(page)]) == 2
    assert "add --force" in capsys.readouterr().err
    assert main(["memory", "report", "--out", str(page), "--force"]) == 0
    page.write_text("my own")
    assert main(["memory", "report", "--out", str(page), "--force"]) == 2
    assert page.read_text() == "my own"
    (tmp_path / "plain").write_text("")
    assert main(["memory", "report", "--out", str(tmp_path / "plain")]) == 2
