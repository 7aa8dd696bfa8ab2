"""The harness of the benchmarks: what it writes where, what it leaves alone, and that its intervals hold."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from limner.errors import LimnerError
from limner.reports.figures import grid

ROOT = Path(__file__).parent.parent


def noise(count: int, channels: int = 1, side: int = 16, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, side, side), dtype=torch.uint8, generator=random)


COLUMNS = {"arm": "way to begin", "score": "kernel distance", "steps": "steps"}


@pytest.fixture
def harness(tmp_path, monkeypatch):
    specification = importlib.util.spec_from_file_location("harness", ROOT / "benchmarks" / "harness.py")
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "harness", module)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path / "repository")
    for name in ("QUICK", "DATA", "LIMNER_DATA"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "repository" / "docs").mkdir(parents=True)
    other = "<!-- bench:other -->\nother\n<!-- /bench:other -->"
    page = f"# Before\n\n{other}\n\n<!-- bench:one -->\nold\n<!-- /bench:one -->\nafter\n"
    (tmp_path / "repository" / "docs" / "benchmarks.md").write_text(page)
    return module


def finish(harness, **changes):
    rows = [
        {"arm": "a|b", "score": harness.Interval(0.12345, 0.1111, 0.1357, 32), "steps": 50},
        {"arm": "scratch", "score": None, "steps": 1200},
    ]
    given = {"columns": COLUMNS, "seed": 3, "started": time.perf_counter() - 5, "story": "What it shows."} | changes
    return harness.finish("one", rows, **given)


def test_a_full_run_renews_its_own_part_of_the_page_and_no_other(harness):
    docs = harness.ROOT / "docs" / "benchmarks.md"
    picture = harness.Picture("grid", grid(noise(4), 2, 4), "what [it] made")
    (harness.ROOT / "docs" / "pictures").mkdir()
    docs.write_text(docs.read_text() + "![of a longer name](pictures/one-more-kept.png)\n")
    for name in ("one-stale.png", "one-more-kept.png", "other-kept.png"):
        (harness.ROOT / "docs" / "pictures" / name).write_bytes(b"")
    path = finish(harness, pictures=[picture], details=[{"task": "t", "score": 1.0}])
    text = docs.read_text()
    head = "# Before\n\n<!-- bench:other -->\nother\n<!-- /bench:other -->\n\n<!-- bench:one -->\n"
    assert text.startswith(head)
    assert "<!-- /bench:one -->\nafter\n" in text
    assert "old" not in text
    assert "| way to begin | kernel distance | steps |\n| :--- | ---: | ---: |\n" in text
    assert "| a\\|b | 0.123 [0.111, 0.136] | 50 |\n| scratch | – | 1,200 |" in text
    assert "![what (it) made](pictures/one-grid.png)" in text
    assert "What it shows." in text
    names = sorted(one.name for one in (harness.ROOT / "docs" / "pictures").iterdir())
    assert names == ["one-grid.png", "one-more-kept.png", "other-kept.png"]
    record = json.loads(path.read_text())
    assert record["rows"][0]["score"] == {"mean": 0.12345, "low": 0.1111, "high": 0.1357, "n": 32}
    assert record["seed"] == 3
    assert 5 <= record["seconds"] < 60
    assert record["quick"] is False
    assert record["details"] == [{"task": "t", "score": 1.0}]
    assert set(record["versions"]) >= {"python", "torch", "numpy", "limner", "platform", "processors"}
    assert record["command"] == "make bench NAME=one"
    finish(harness, pictures=[picture])
    again = docs.read_text()
    assert again.count("way to begin") == 1


def test_a_quick_run_or_other_data_leave_the_page_alone(harness, monkeypatch, capsys):
    docs = harness.ROOT / "docs" / "benchmarks.md"
    before = docs.read_text()
    full = finish(harness)
    docs.write_text(before)
    monkeypatch.setenv("QUICK", "1")
    quick = finish(harness, pictures=[harness.Picture("grid", grid(noise(4)), "x")])
    monkeypatch.setenv("DATA", "folder:cats")
    both = finish(harness)
    monkeypatch.setenv("QUICK", "0")
    other = finish(harness)
    assert quick.name == "one.quick.json"
    assert len({full, quick, both, other}) == 4
    assert docs.read_text() == before
    assert not (harness.ROOT / "docs" / "pictures").exists()
    assert json.loads(both.read_text())["command"] == 'make bench NAME=one QUICK=1 DATA="folder:cats"'
    assert "| way to begin |" in capsys.readouterr().out


def test_the_data_folder_and_spec(harness, monkeypatch, tmp_path):
    with pytest.raises(LimnerError, match="LIMNER_DATA"):
        harness.data_folder()
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    assert harness.data_folder() == tmp_path
    assert harness.data_folder(tmp_path / "repository") == tmp_path / "repository"
    assert harness.spec("npz:{data}/x.npz") == f"npz:{tmp_path}/x.npz"
    record = json.loads(finish(harness, details=[{"task": f"npz:{tmp_path}/x.npz, 5 shots"}]).read_text())
    assert record["data"] == "npz:$LIMNER_DATA/x.npz"
    assert str(tmp_path) not in json.dumps(record)
    monkeypatch.setenv("DATA", "glyphs")
    monkeypatch.delenv("LIMNER_DATA")
    assert harness.spec("npz:{data}/x.npz") == "glyphs"


def test_a_page_without_markers_is_refused_before_anything_is_lost(harness):
    docs = harness.ROOT / "docs" / "benchmarks.md"
    docs.write_text("# no markers\n")
    with pytest.raises(LimnerError, match="markers"):
        finish(harness)
    assert docs.read_text() == "# no markers\n"
    with pytest.raises(LimnerError, match="kernel"):
        finish(harness, columns=["kernel"])


def test_a_picture_that_is_too_heavy_becomes_webp_or_is_refused(harness, tmp_path):
    drawn = Image.fromarray(np.tile(np.arange(600, dtype=np.uint16) % 251, (400, 1)).astype(np.uint8))
    assert harness._write_picture(tmp_path / "a", harness.Picture("a", drawn, "")).name == "a.png"
    heavy = np.random.default_rng(0).normal(128, 12, (400, 600, 3)).clip(0, 255).astype(np.uint8)
    path = harness._write_picture(tmp_path / "b", harness.Picture("b", Image.fromarray(heavy), ""))
    assert path.name == "b.webp"
    assert path.stat().st_size < 300_000
    noisy = np.random.default_rng(0).integers(256, size=(700, 700, 3), dtype=np.uint8)
    with pytest.raises(LimnerError, match="kB"):
        harness._write_picture(tmp_path / "c", harness.Picture("c", Image.fromarray(noisy), ""))


def test_intervals_cover_the_mean_as_often_as_they_say(harness):
    random = np.random.default_rng(1)
    found = [harness.interval(random.normal(2.0, 1.0, 32).tolist(), seed, 500) for seed in range(300)]
    share = sum(one.low <= 2.0 <= one.high for one in found) / len(found)
    assert 0.90 < share < 0.98
    assert all(one.low < one.mean < one.high for one in found)


def test_pairs_tell_more_than_two_means(harness):
    random = np.random.default_rng(2)
    hard = random.normal(0, 5, 24)
    first, second = (hard + 1 + random.normal(0, 0.2, 24)).tolist(), hard.tolist()
    found = harness.difference(first, second)
    assert found.low > 0.8
    assert found.high < 1.2
    apart = harness.interval(first).low < harness.interval(second).high
    assert apart
    assert harness.interval([3.0]) == (3.0, None, None, 1)
    for values in ([], [1.0, float("nan")]):
        with pytest.raises(LimnerError, match=r"no value|not finite"):
            harness.interval(values)
    with pytest.raises(LimnerError, match="paired"):
        harness.difference([1.0], [1.0, 2.0])


def test_arguments_of_a_benchmark(harness, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks" / "x.py"), "--quick", "--data", "glyphs"])
    assert harness.quick()
    assert harness.spec("digits") == "glyphs"
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks" / "x.py"), "--quik"])
    with pytest.raises(SystemExit) as ended:
        harness.quick()
    assert ended.value.code == 2
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pytest", "--quick"])
    assert not harness.quick()


def test_a_mistake_in_a_benchmark_is_one_sentence(harness, capsys):
    def main() -> None:
        raise LimnerError("there is no such thing; give another")

    with pytest.raises(SystemExit) as ended:
        harness.run(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "benchmark: there is no such thing; give another\n"


def test_the_page_of_benchmarks_has_its_markers(harness):
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    for name in ("few-shot-omniglot", "few-shot-colour", "engine-overhead", "metric-ladder"):
        assert harness.renewed(text, name, "x").count("<!-- bench:") == text.count("<!-- bench:")
