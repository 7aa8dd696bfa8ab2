"""Pages and cards: what they hold, what they leave out, and what they say of scores."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from limner.config import Strategy
from limner.reports import card, page
from limner.reports.compared import compared, verdict
from limner.reports.words import reading
from limner.tasks import ImageSet
from limner.types import Cost, CurvePoint, Mistake, Score, Scores

HOSTILE = "<script>alert('x')</script> & \"quoted\" $x_1$"
VOID = {"meta", "img", "br", "link", "input", "hr", "path", "use"}


def noise(count: int, channels: int = 1, side: int = 16, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, side, side), dtype=torch.uint8, generator=random)


def scores_of(ratio: Score, **others: Score) -> Scores:
    values = {"kernel_distance": Score(0.123, 0.1, 0.146, 0.02), "nearest_training_ratio": ratio, **others}
    return Scores(values, "pixels", 64, 15, 5, notes=("too few images for one thing",))


GOOD = scores_of(Score(1.02, 0.9, 1.1, 1.0))
COPIED = scores_of(Score(0.1, 0.05, 0.2, 1.0))


def run_of(name: str = "tiny, 5 shots", kind: str = "vae", state: str = "finished") -> SimpleNamespace:
    curve = [CurvePoint(step, step / 10, {"net loss": 5.0 / step, "kernel_distance": 1 / step}) for step in (1, 2, 4)]
    return SimpleNamespace(
        id="0123456789ab",
        learner=SimpleNamespace(
            kind=kind,
            options={"latents": 4},
            image_shape=(1, 16, 16),
            players=("net",),
            answers=("logits", "features") if kind == "classifier" else ("sample",),
        ),
        task_name=name,
        source="folder:/somewhere/private/tiny",
        strategy=Strategy(steps=4),
        seed=7,
        state=state,
        warnings=[],
        curve=curve,
        cost=Cost(83.0, 4, 2),
        scores=None,
        notes=["went back once"],
        lineage={"advice": ["It did well on a similar task."]},
        task={"support": {"name": "tiny", "count": 5, "sha256": "ab" * 32, "licence": "CC0"}},
    )


class Parsed(HTMLParser):
    """Elements with their attributes, the text, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def check_page(text: str) -> Parsed:
    """What holds for every page: whole, self-contained, and readable without seeing."""
    parsed = Parsed(text)
    assert parsed.open == []
    assert not parsed.all("script")
    assert not parsed.all("link")
    for _, attributes in parsed.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)'\"]+)", text))
    assert parsed.all("img")
    assert all("alt" in image for image in parsed.all("img"))
    galleries = [one for one in parsed.all("div") if one.get("class") == "gallery"]
    assert galleries
    assert all(one["role"] == "img" and one["aria-label"] for one in galleries)
    assert all(one["role"] == "img" and one["aria-label"] for one in parsed.all("svg"))
    assert all(one.get("scope") in ("col", "row") for one in parsed.all("th"))
    assert parsed.all("html")[0]["lang"] == "en"
    assert any(one.get("name") == "viewport" for one in parsed.all("meta"))
    assert len(parsed.all("h1")) == 1
    return parsed


# ── Pages ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_run(tmp_path: Path, run: SimpleNamespace, scores: Scores | None = GOOD, **changes) -> tuple[str, Parsed]:
    support, query = ImageSet(noise(5, seed=1), "tiny"), ImageSet(noise(6, seed=2), "tiny")
    given = {"support": support, "query": query, "samples": noise(9, seed=3)} | changes
    path = page.write_run(tmp_path, run, scores, **given)
    assert path == tmp_path / "report.html"
    text = path.read_text(encoding="utf-8")
    return text, check_page(text)


def test_a_report_is_whole_and_asks_for_nothing_from_elsewhere(tmp_path):
    text, parsed = write_run(tmp_path, run_of())
    for words in ("0.123", "0.100 to 0.146", "1 min 23 s", "It did well on a similar task.", "went back once",
                  "too few images for one thing", "variational autoencoder", "from scratch", "pixels", "↓ lower",
                  "limner sample", "limner.load("):  # fmt: skip
        assert words in parsed.text
    assert len(parsed.all("svg")) == 2
    assert "near-copies" not in parsed.text
    assert len(text) < 300_000


def test_the_images_in_a_report_are_the_images(tmp_path):
    support = ImageSet(noise(3, channels=3, side=20), "colour")
    _, parsed = write_run(tmp_path, run_of(), support=support, query=None, samples=support.images.flip(0))
    sources = [image["src"] for image in parsed.all("img")]
    opened = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one.split(",")[1])))) for one in sources]
    for index in range(3):
        assert np.array_equal(opened[index], support.images[index].permute(1, 2, 0).numpy())
        assert np.array_equal(opened[3 + index], support.images[2 - index].permute(1, 2, 0).numpy())
    pairs = opened[6:]
    assert len(pairs) == 6
    for sample, beside in zip(pairs[::2], pairs[1::2], strict=True):
        assert np.array_equal(sample, beside)


def test_given_pairs_are_shown(tmp_path):
    support = ImageSet(noise(2), "two")
    _, parsed = write_run(tmp_path, run_of(), support=support, samples=support.images, pairs=torch.tensor([1, 0]))
    told = [image["alt"] for image in parsed.all("img") if image["alt"]]
    assert {(told[0], told[1][:29]), (told[2], told[3][:29])} == {
        ("sample 1", "image learned from, number 2,"), ("sample 2", "image learned from, number 1,")
    }  # fmt: skip


def test_copies_and_unfinished_runs_are_warned_of(tmp_path):
    _, parsed = write_run(tmp_path, run_of(state="failed"), COPIED)
    assert "near-copies" in parsed.text
    assert "This run is failed" in parsed.text


def test_warnings_stand_at_the_top_and_copies_are_told_once(tmp_path):
    run = run_of()
    run.warnings = ["near-copies: 30 of 64 <b>new</b> images lie close; fewer steps help", "little variety: give more"]
    _, parsed = write_run(tmp_path, run, COPIED)
    told = parsed.text[: parsed.text.index("It learned from these")]
    assert "Near-copies: 30 of 64 <b>new</b> images lie close; fewer steps help." in told
    assert "Little variety: give more." in told
    assert "many of them may be near-copies" not in told


def test_what_early_stopping_and_copying_were_told_by_is_drawn(tmp_path):
    run = run_of()
    run.curve = [CurvePoint(step, 0.0, {"held-out shots": 9.0 - step}) for step in (0, 5)] + [
        CurvePoint(step, step / 10, {"nearest_shot_ratio": 2.0 / step}) for step in (1, 2, 4)
    ]
    text, _ = write_run(tmp_path, run, None, query=None)
    assert "Early stopping: shots held out by step: " in text
    assert "over theirs by step: " in text
    assert "ends at 0.500. Real images score 1.00." in text


def test_a_report_without_query_scores_or_samples(tmp_path):
    _, parsed = write_run(tmp_path, run_of(), None, query=None)
    assert "there is none to judge by" in parsed.text
    assert "no image left to judge it on" in parsed.text
    assert "did not see" not in parsed.text  # nothing was measured, so nothing of the kind is promised
    assert "It was not scored" in parsed.text
    _, parsed = write_run(tmp_path, run_of(kind="classifier"), None, samples=None)
    assert "It made these" not in parsed.text
    assert "limner sample" not in parsed.text


def test_a_classifier_shows_where_it_errs(tmp_path):
    accuracy = Scores({"accuracy": Score(0.5, 0.1, 0.9)}, "its own logits", 0, 2, 5)
    wrong = [Mistake(noise(1, seed=index)[0], f"<{index}>", "cat") for index in range(30)]
    for mistakes, told in (
        (wrong, "24 of 30 images held back"),
        (wrong[:1], "The one image"),
        ([], "every image held"),
    ):
        _, parsed = write_run(tmp_path, run_of(kind="classifier"), accuracy, samples=None, mistakes=mistakes)
        assert told in parsed.text
        assert parsed.text.count("taken for cat") == min(len(mistakes), 24)
    assert "It puts 50.0% of 2 images" in parsed.text
    assert "Real images" not in parsed.text  # a share has no floor to be held against


def test_one_point_is_no_curve(tmp_path):
    run = run_of()
    _, parsed = write_run(tmp_path, run)
    assert len(parsed.all("svg")) == 2
    run.curve = run.curve[:1]
    _, parsed = write_run(tmp_path, run)
    assert not parsed.all("svg")
    assert "How it learned" not in parsed.text


def test_names_are_escaped(tmp_path):
    run = run_of(name=HOSTILE)
    run.source = run.notes[0] = HOSTILE
    _, parsed = write_run(tmp_path / HOSTILE.replace("/", "|"), run)
    assert parsed.text.count("alert('x')") >= 4
    arms = [arm_of(HOSTILE, GOOD), arm_of("plain", GOOD)]
    path = page.write_comparison(tmp_path / "index.html", arms, HOSTILE, HOSTILE)
    parsed = check_page(path.read_text())
    assert HOSTILE in parsed.text


def arm_of(name: str, scores: Scores | None) -> page.Arm:
    run = run_of()
    return page.Arm(name, f"What {name} does.", noise(30), scores, run.curve, run.cost, run.strategy, run.notes)


def test_a_comparison_holds_every_arm_and_the_real_images(tmp_path):
    arms = [arm_of("one", GOOD), arm_of("two", COPIED), arm_of("three", None)]
    support, query = ImageSet(noise(5), "tiny"), ImageSet(noise(40), "tiny")
    path = page.write_comparison(tmp_path / "deep" / "index.html", arms, "A title", "A story.", support, query)
    parsed = check_page(path.read_text())
    for words in (
        "A title",
        "A story.",
        "What one does.",
        "What two does.",
        "What three does.",
        "real images, held back",
    ):
        assert words in parsed.text
    assert parsed.text.count("may be near-copies") == 1
    assert [one.get("style") for one in parsed.all("article")][:2] == [
        "--series: var(--series-1)",
        "--series: var(--series-2)",
    ]


def test_scores_in_different_features_are_not_compared(tmp_path):
    other = Scores(COPIED.values, "glyph-net", 64, 15, 5)
    path = page.write_comparison(tmp_path / "x.html", [arm_of("one", GOOD), arm_of("two", other)], "t", "s")
    parsed = check_page(path.read_text())
    assert "their values cannot be compared" in parsed.text
    assert not any((one.get("class") or "") in ("number best", "number level") for one in parsed.all("td"))


def test_best_is_marked_only_where_intervals_do_not_touch():
    def marks(metric: str, *scores: Score) -> list[str]:
        (row,) = compared({str(index): Scores({metric: one}, "pixels", 9, 9, 5) for index, one in enumerate(scores)})
        return [cell["mark"] for cell in row["cells"]]

    assert marks("kernel_distance", Score(1, 0.5, 1.5), Score(3, 2, 4), Score(9, 8, 10)) == ["best", "", ""]
    assert marks("kernel_distance", Score(1, 0.5, 2.5), Score(3, 2, 4), Score(9, 8, 10)) == ["level", "level", ""]
    assert marks("coverage", Score(0.2, 0.1, 0.3), Score(0.9, 0.8, 1.0)) == ["", "best"]
    assert marks("diversity", Score(1.9, 1.8, 2.0, 1.0), Score(0.9, 0.8, 1.0, 1.0)) == ["", "best"]
    assert marks("coverage", Score(0.2), Score(0.9, 0.8, 1.0)) == ["", ""]
    assert marks("coverage", Score(0.2, 0.1, 0.3)) == [""]


def test_the_verdict_says_no_more_than_the_intervals():
    def with_scores(*all_scores: Score | None) -> dict[str, Scores]:
        values = [{} if one is None else {"kernel_distance": one} for one in all_scores]
        return {name: Scores(value, "pixels", 9, 9, 5) for name, value in zip("abc", values, strict=False)}

    told = verdict(with_scores(Score(3, 2, 4), Score(1, 0.5, 1.5)))
    assert told == "By kernel distance, “b” comes closest to the real images; its interval touches no other."
    told = verdict(with_scores(Score(3, 2, 4), Score(1, 0.5, 2.5), Score(9, 8, 10)))
    assert told == "By kernel distance, “b” and “a” cannot be told apart: their intervals touch."
    assert verdict(with_scores(Score(3, 2, 4), None)) == ""
    assert verdict(with_scores(Score(3), Score(1, 0.5, 1.5))) == ""
    assert verdict({}) == ""


@pytest.mark.parametrize(
    ("name", "score", "words"),
    [
        ("kernel_distance", Score(0.3, 0.2, 0.4, 0.1), "further from the real images"),
        ("kernel_distance", Score(0.3, 0.0, 0.6, 0.1), "not clearly different from real"),
        ("coverage", Score(0.5, 0.4, 0.6, 0.9), "cover less"),
        ("diversity", Score(1.5, 1.4, 1.6, 1.0), "more varied"),
        ("nearest_training_ratio", Score(0.3, 0.2, 0.4, 1.0), "look for copies"),
        ("nearest_training_ratio", Score(0.92, 0.9, 0.94, 1.0), "a little closer"),
        ("nearest_training_ratio", Score(1.0, 0.9, 1.1, 1.0), "no clear sign of copies"),
        ("kernel_distance", Score(0.3, 0.2, 0.4), ""),
        ("kernel_distance", Score(0.3), ""),
        ("accuracy", Score(0.9, 0.8, 1.0, 0.5), ""),
    ],
)
def test_scores_read_in_words(name, score, words):
    told = reading(name, score)
    assert (words in told) if words else told == ""


# ── Cards ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def front_matter(text: str) -> dict[str, object]:
    head = text.split("---\n")[1]
    return {name: json.loads(value) for name, _, value in (line.partition(": ") for line in head.splitlines())}


def test_a_card_tells_where_the_model_comes_from(tmp_path):
    text = card.write(tmp_path, run_of(), GOOD, licence="cc0-1.0").read_text()
    front = front_matter(text)
    assert front["license"] == "cc0-1.0"
    assert front["library_name"] == "limner"
    assert "few-shot" in front["tags"]
    for words in ('limner.load("path/to/this/folder")', "ab" * 32, "CC0",
                  "| Kernel distance | 0.123 | 0.100 to 0.146 |",
                  "`pixels`", "64 samples against 15", "went back once"):  # fmt: skip
        assert words in text
    assert "private" not in text
    assert "near-copies" not in text
    assert "near-copies" in card.text(run_of(), COPIED)
    assert "It was not scored" in card.text(run_of(), None)
    assert front_matter(card.text(run_of(kind="classifier"), None))["pipeline_tag"] == "image-classification"


def test_a_card_names_both_sides_of_pairs_and_the_folders_of_none():
    both = "folder:/home/private/noisy => folder:/home/private/clean"
    run = run_of(name=f"{both}, 8 images")
    run.source = both
    text = card.text(run, GOOD)
    assert "\n# noisy =&gt; clean, 8 images\n" in text
    assert "`folder:noisy => folder:clean`" in text
    assert "private" not in text


def test_a_card_takes_no_markup_from_names():
    text = card.text(run_of(name="a\n---\n# b <b>c</b>"), GOOD)
    assert text.count("\n---\n") == 1
    assert "<b>" not in text


def test_runs_of_different_tasks_show_what_real_images_of_each_score(tmp_path):
    other = Scores({"kernel_distance": Score(0.5, 0.4, 0.6, 0.3)}, GOOD.extractor, GOOD.samples, GOOD.query, 5)
    (row, *_) = compared({"one": GOOD, "two": other})
    assert row["floor"] == ""
    assert [cell["floor"] for cell in row["cells"]] == ["0.0200", "0.300"]
    arms = [arm_of("one", GOOD), arm_of("two", other)]
    parsed = check_page(page.write_comparison(tmp_path / "x.html", arms, "t", "s", one_task=False).read_text())
    assert "these are of different tasks" in parsed.text
    assert "real images 0.300" in parsed.text
    assert "each its own" in parsed.text
    assert not any((one.get("class") or "") in ("number best", "number level") for one in parsed.all("td"))
