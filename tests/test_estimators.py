"""Black boxes: scikit-learn's estimators over tables and images, and the names that are none."""

import numpy as np
import pytest
import torch

from limner.errors import LimnerError
from limner.estimators import BlackBox, Estimator, estimator_class, refit
from limner.spaces import space_of
from limner.spaces.estimators import CURATED
from limner.tasks import load
from limner.tasks.tables import Table, load_table, split_table
from limner.verbs.black_box import determined, scored

SMALL = {"n_estimators": 10, "max_iter": 60, "n_clusters": 3, "n_components": 3, "hidden_layer_sizes": (16,)}


def quick(name, **options):
    knobs = {knob.name for knob in space_of(f"estimator:{name}").knobs}
    return Estimator(name, **{knob: value for knob, value in SMALL.items() if knob in knobs} | options)


@pytest.mark.parametrize("name", CURATED)
def test_each_curated_estimator_learns_and_is_made_again_from_its_recipe(name):
    goal = estimator_class(name).goal
    task = split_table(load_table("sklearn:diabetes" if goal == "regress" else "sklearn:wine"), goal, 100, seed=0)
    made = quick(name, scaling="standard")
    assert isinstance(made, BlackBox)
    assert made.goal == goal
    fitted = made.fit(task.support, seed=3)
    answers = fitted.predict(task.query)
    assert answers.shape == (len(task.query),)
    assert np.array_equal(refit(fitted.recipe, task.support).predict(task.query), answers)
    value = next(iter(scored(fitted, goal, task.query, 100, 0).values.values()))
    assert value.low <= value.value <= value.high
    least = {"classify": 0.8, "cluster": 0.3, "regress": -0.5}  # a perceptron of few steps is poor at diabetes
    if "MLPRegressor" not in name:
        assert value.value > least[goal]


def test_the_same_answers_as_scikit_learn_itself():
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    wine = load_wine()
    scale = StandardScaler().fit(wine.data[::2])
    wanted = LogisticRegression(C=0.3).fit(scale.transform(wine.data[::2]), wine.target[::2])
    table = load_table("sklearn:wine")
    learned, held = table.select(torch.arange(0, 178, 2)), table.select(torch.arange(1, 178, 2))
    fitted = Estimator("sklearn.linear_model.LogisticRegression", C=0.3, scaling="standard").fit(learned, seed=0)
    assert np.array_equal(fitted.predict(held), wanted.predict(scale.transform(wine.data[1::2])))


def test_images_are_seen_by_their_features():
    digits = load("digits,size=16,classes=0-2,limit=30")
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    learned, held = digits.select(order[:60]), digits.select(order[60:])
    for features in ("pixels", "glyph-net"):
        fitted = Estimator("sklearn.neighbors.KNeighborsClassifier", features=features).fit(learned, seed=0)
        assert scored(fitted, "classify", held, 60, 0).values["accuracy"].value > 0.8


def test_a_missing_value_is_filled_from_the_rows_learned_from():
    inputs = torch.tensor([[1.0], [2.0], [9.0], [float("nan")]]).double()
    table = Table(inputs, "holes", values=torch.tensor([1.0, 2.0, 9.0, 2.0]).double())
    fitted = Estimator("sklearn.linear_model.LinearRegression").fit(table.select(torch.arange(3)), seed=0)
    assert fitted.predict(table.select(torch.tensor([0])))[0] == pytest.approx(1.0)
    whole = Estimator("sklearn.neighbors.KNeighborsRegressor", n_neighbors=1).fit(table, seed=0)
    assert whole.predict(table.select(torch.tensor([3])))[0] == 2.0  # the median of 1, 2 and 9


def test_a_clusterer_that_cannot_place_new_rows_puts_each_where_its_neighbour_is():
    inputs = torch.tensor([[0.0], [0.1], [5.0], [5.1], [0.05], [5.05]]).double()
    table = Table(inputs, "two heaps", labels=torch.tensor([0, 0, 1, 1, 0, 1]))
    made = Estimator("sklearn.cluster.AgglomerativeClustering", n_clusters=2)
    fitted = made.fit(table.select(torch.arange(4)), seed=0)
    assert scored(fitted, "cluster", table.select(torch.tensor([0, 2, 4, 5])), 4, 0).values["adjusted_rand"].value == 1


def test_r2_of_the_mean_is_nothing_and_of_the_truth_all():
    wanted = np.array([1.0, 2.0, 6.0])
    assert determined(wanted, wanted) == 1
    assert determined(wanted, np.full(3, 3.0)) == 0
    assert np.isnan(determined(np.ones(3), np.ones(3)))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("sklearn.tree.DecisionTreeClasifier", "near it are: sklearn.tree.DecisionTreeClassifier"),
        ("sklearn.tre.DecisionTreeClassifier", "near it are: sklearn.tree.DecisionTreeClassifier"),
        ("DecisionTreeClassifier", "no public class of scikit-learn; near it are: sklearn.tree.DecisionTreeClassifier"),
        ("os.system", "'os.system' is no public class of scikit-learn"),
        ("sklearn.base.os.system", "scikit-learn has no sklearn.base.os.system"),
        ("sklearn.tree._classes.DecisionTreeClassifier", "no public class"),
        ("sklearn.tests.test_base.MyEstimator", "no public class"),
        ("sklearn.preprocessing.StandardScaler", "is no classifier, regressor or clusterer"),
        ("sklearn.model_selection.GridSearchCV", "is made of other estimators"),
        ("sklearn.metrics.accuracy_score", "is no estimator of scikit-learn"),
        ("sklearn.linear_model.np", "is no estimator of scikit-learn|scikit-learn has no"),
    ],
)
def test_what_is_no_estimator_is_told_with_near_names(name, told):
    with pytest.raises(LimnerError, match=told) as refusal:
        estimator_class(name)
    assert "\n" not in str(refusal.value)


def test_mistakes_about_options_and_data():
    with pytest.raises(LimnerError, match=r"no option 'max_dept' \(did you mean max_depth\?\)"):
        Estimator("sklearn.tree.DecisionTreeClassifier", max_dept=3)
    with pytest.raises(LimnerError, match="cannot learn from sklearn:wine with these options"):
        Estimator("sklearn.tree.DecisionTreeClassifier", max_depth=-1).fit(load_table("sklearn:wine"), 0)
    with pytest.raises(LimnerError, match="has no numbers to learn"):
        Estimator("sklearn.linear_model.Ridge").fit(load_table("sklearn:wine"), 0)
    with pytest.raises(LimnerError, match="has no classes"):
        Estimator("sklearn.svm.SVC").fit(load_table("sklearn:diabetes"), 0)
    table = load_table("sklearn:wine")
    recipe = Estimator("sklearn.svm.SVC").fit(table, 0).recipe
    with pytest.raises(LimnerError, match=r"is not what this sklearn\.svm\.SVC learned from"):
        refit(recipe, table.select(torch.arange(100)))
