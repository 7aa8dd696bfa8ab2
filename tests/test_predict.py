"""What is said of new images and rows: by runs, by winners of searches, and of what does not suit them."""

import csv
import json

import pytest
from PIL import Image

import limner
from limner.cli.main import main
from limner.errors import LimnerError
from limner.tasks.tables import load_rows, load_table
from limner.verbs.predict import predict

TREE = "estimator:sklearn.tree.DecisionTreeClassifier"
FRUIT = ["weight,colour,kind"] + [
    f"{60 + 10 * (place % 3) + (90 if place % 2 else 0)},{('blue', 'red')[place % 2]},{('plum', 'apple')[place % 2]}"
    for place in range(40)
]


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr("limner.memory.fingerprints._installed_extractor", lambda: None)
    monkeypatch.chdir(tmp_path)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_a_classifier_sorts_a_folder_of_any_images(tmp_path, capsys):
    images = limner.data("digits,classes=0-1,limit=30,size=16")
    limner.adapt("digits,classes=0-1,limit=30,size=16", goal="classify", shots=30, budget="60steps", out="told")
    folder = tmp_path / "new"
    folder.mkdir()
    for place, truth in ((0, "zero"), (40, "one")):
        picture = Image.fromarray(images.images[place, 0].numpy()).resize((40, 30)).convert("RGB")
        picture.save(folder / f"{truth}.jpg")
    (folder / "broken.png").write_text("no image")
    assert main(["predict", "told", str(folder), "--out", "said"]) == 0
    told = capsys.readouterr().out
    assert "1 (1), 0 (1)" in told
    assert "broken.png: it is not an image" in told
    table = rows(tmp_path / "said" / "predictions.csv")
    assert table[0] == ["image", "class", "sureness"]
    assert {name: answer for name, answer, _ in table[1:]} == {"one.jpg": "1", "zero.jpg": "0"}
    assert all(0.5 < float(sureness) <= 1 for *_, sureness in table[1:])
    assert Image.open(tmp_path / "said" / "predictions.png").width > 300
    assert main(["predict", "told", str(folder), "--out", "said"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["predict", "told", str(folder), "--out", "said", "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answers"] == ["1", "0"]


def test_the_winner_of_a_search_of_a_network_answers_by_names(tmp_path):
    made = limner.tune(
        "digits,classes=3+8,limit=40,size=16", "classifier", shots=40, budget="2runs", each="40steps",
        options={"width": 8}, memory="kept", out="search",
    )  # fmt: skip
    assert made.use == "limner predict search folder:new-images --memory kept"
    said = predict("search", "digits,classes=3+8,limit=10", memory="kept", out="said")
    assert set(said.answers) == {"3", "8"}
    assert sum(said.counts.values()) == 20
    asked = limner.data("digits,classes=3+8,limit=10,size=16")
    truth = [asked.class_names[label] for label in asked.labels.tolist()]
    assert sum(answer == right for answer, right in zip(said.answers, truth, strict=True)) > 15
    assert limner.load("search", memory="kept").lineage["run"] == made.best.run


@pytest.mark.parametrize(
    ("learner", "table", "what"),
    [
        (TREE, "sklearn:wine", "class"),
        ("estimator:sklearn.linear_model.Ridge", "sklearn:diabetes", "value"),
        ("estimator:sklearn.cluster.KMeans", "sklearn:iris", "cluster"),
    ],
)
def test_estimators_answer_as_their_goal_is(learner, table, what):
    made = limner.tune(table, learner, budget="2runs", out="search")
    assert made.use == "limner predict search csv:new.csv"
    said = predict("search", table, out="said")
    assert (said.of, said.what, said.picture, len(said.answers)) == ("row", what, None, len(load_table(table)))
    assert rows(said.file)[0] == ["row", what]
    if what == "class":
        assert set(said.answers) <= {"class_0", "class_1", "class_2"}
    with pytest.raises(LimnerError, match="so digits does not suit it; give a table"):
        predict("search", "digits", out="other")
    with pytest.raises(LimnerError, match="is an estimator; limner predict search DATA uses it"):
        limner.load("search")


def test_a_table_of_new_rows_needs_no_target_and_may_have_other_columns(tmp_path):
    (tmp_path / "fruit.csv").write_text("\n".join(FRUIT) + "\n")
    limner.tune("csv:fruit.csv,target=kind", TREE, budget="2runs", out="search")
    (tmp_path / "new.csv").write_text("id,colour,weight\n7,red,150\n8,blue,70\n9,teal,?\n")
    said = predict("search", "csv:new.csv", out="said")
    assert said.answers[:2] == ("apple", "plum")
    assert said.notes == ("colour: teal was not learned from, and counts as no word",)
    for text, mistake in (
        ("colour\nred\n", "has no column 'weight'"),
        ("colour,weight\nred,heavy\n", "the column weight was learned from as numbers, but holds 'heavy'"),
        ("colour,weight\n", "has too few lines"),
    ):
        (tmp_path / "new.csv").write_text(text)
        with pytest.raises(LimnerError, match=mistake):
            predict("search", "csv:new.csv", out="other")
    assert not (tmp_path / "other").exists()


def test_classes_keep_their_names_whatever_becomes_of_the_images(tmp_path):
    images = limner.data("digits,classes=0-1,limit=30,size=16")
    for place, label in enumerate(images.labels.tolist()):
        folder = tmp_path / "own" / ("zero", "one [/2]")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.images[place, 0].numpy()).save(folder / f"{place}.png")
    limner.tune("folder:own,size=16", "classifier", shots=30, budget="1runs", each="40steps", out="search")
    (tmp_path / "own" / "zero").rename(tmp_path / "own" / "zzz")
    assert set(predict("search", "folder:own", out="said").answers) == {"zero", "one [/2]"}


def test_the_model_that_answers_is_never_replaced(tmp_path):
    (tmp_path / "fruit.csv").write_text("\n".join(FRUIT) + "\n")
    limner.tune("csv:fruit.csv,target=kind", TREE, budget="1runs", out="search")
    with pytest.raises(LimnerError, match="search holds search, which is read, so it is not replaced"):
        predict("search", "csv:fruit.csv", out="search", force=True)
    assert predict("search", "csv:fruit.csv", out="said").counts == {"plum": 20, "apple": 20}
    (tmp_path / "fruit.csv").write_text("\n".join(FRUIT[:-1]) + "\n")
    with pytest.raises(LimnerError, match="has changed since; search again"):
        predict("search", "csv:fruit.csv", out="other")
    (tmp_path / "fruit.csv").unlink()
    with pytest.raises(LimnerError, match="is fitted again to what it learned from"):
        predict("search", "sklearn:wine", out="other")
    assert main(["evaluate", "search", "digits"]) == 2


def test_new_rows_may_miss_values_and_words_may_hold_signs(tmp_path):
    rows = [f"{row},{'green=ish' if row % 2 else 'red'},{'yes' if row % 2 else 'no'}" for row in range(40)]
    (tmp_path / "signs.csv").write_text("\n".join(["size,colour,ripe", *rows]) + "\n")
    limner.tune("csv:signs.csv,target=ripe", "estimator:sklearn.linear_model.LogisticRegression", budget="1runs",
                out="search")  # fmt: skip
    (tmp_path / "new.csv").write_text("size,colour\n,green=ish\n3,red\n")
    assert predict("search", "csv:new.csv", out="said").answers == ("yes", "no")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a,v,v,t\n1,2,3,x\n1,2,4,y\n", "has two columns called 'v'"),
        ("a,a=b,t\nb,1,x\nc,2,y\n", "the column 'a=b' could be taken for a word of another column"),
        ("a;t\n1;x\n2;y\n", "parts its cells by semicolons; save it with commas"),
        ("a,t\n" + "1,x\n" * 20, "are of one class, so there is nothing to tell apart"),
    ],
)
def test_tables_that_could_be_misread_are_refused(tmp_path, text, mistake):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(LimnerError, match=mistake):
        limner.tune("csv:table.csv,target=t", TREE, budget="1runs")


def test_rows_are_matched_by_the_names_of_columns():
    wine = load_table("sklearn:wine")
    assert load_rows("sklearn:wine", wine).inputs.equal(wine.inputs)
    with pytest.raises(LimnerError, match="does not have the columns"):
        load_rows("sklearn:iris", wine)


def test_what_tells_no_classes_apart_is_refused(tmp_path):
    limner.train("vae", "digits,limit=2,size=16", budget="2steps", out="vae")
    with pytest.raises(LimnerError, match="vae is a vae, which tells no classes apart"):
        predict("vae", "digits", out="other")
    limner.adapt("digits,classes=0-1,limit=10,size=16", goal="classify", shots=10, budget="2steps", out="told")
    with pytest.raises(LimnerError, match="told is a classifier, which makes no images to look at side by side"):
        limner.compare(["told", "vae"], out="other")
    with pytest.raises(LimnerError, match="learned from images, so the table sklearn:wine does not suit it"):
        predict("told", "sklearn:wine", out="other")
