"""Each model has a card, from the memory alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_up import VAE, a_run, a_task, some_scores

from limner.cli.main import main
from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import Memory
from limner.verbs.card import card
from limner.verbs.meta_train import meta_train


def test_a_card_tells_what_the_memory_knows(memory_at: Callable[[str], str], tmp_path: Path) -> None:
    where, task = memory_at("memory"), a_task()
    with Memory.open(where) as memory:
        run = memory.begin_run(memory.add_task(task), VAE, Strategy(steps=20), 7, "first", tmp_path / "gone")
        model = memory.finish_run(run, a_run(), some_scores())
        start = memory.put_model(a_run(2.0).params, VAE, role="start", name="a start")
    for reference in (run, "first", str(model)[:10]):
        told = card(reference, memory=where)
        assert f"- sha256: {task.support.sha256}" in told
        assert "- images: 5" in told
        assert "64 samples against 5 real images" in told
        assert "| 0.1" in told
        assert "seed 7" in told
        assert "coverage could not be measured: too few images" in told
        assert f'limner.load("{reference}")' in told
    assert "It was not scored" in card(start[:10], memory=where)
    with pytest.raises(LimnerError, match="holds no model or run called 'zz'"):
        card("zz", memory=where)


def test_the_command_writes_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "card.md"
    for code, words in ((0, "written: "), (2, "exists already")):
        command = ["memory", "card", "shipped:glyphs-vae", "--out", str(out), "--memory", str(tmp_path / "memory")]
        assert main(command) == code
        said = capsys.readouterr()
        assert words in said.out + said.err
    assert out.read_text().startswith("---\nlicense:")


def test_the_card_of_a_start_tells_how_it_was_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = str(tmp_path / "memory")
    learned = meta_train(
        "fomaml", "vae", "glyphs,size=16", budget="2steps", options={"width": 4, "latents": 2}, shots=3, queries=3,
        name="mine", memory=where, out=tmp_path / "start",
    )  # fmt: skip
    told = card("mine", memory=where)
    assert f"limner adapt generate DATA --shots 3 --start {learned.sha256[:12]}" in told
    assert "- learned by: first-order MAML" in told
    assert "- family: glyphs,size=16" in told
    assert "| Query loss |" in told
    assert "limner sample" not in told
    rows, written = (
        {line for line in text.splitlines() if line.startswith("|")}
        for text in (told, (tmp_path / "start" / "README.md").read_text())
    )
    assert rows == written
    assert main(["memory", "list", "starts", "--learner", "vae", "--memory", where]) == 0
    assert "mine" in capsys.readouterr().out


def test_a_slip_of_the_pen_begins_no_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (["list"], ["verify"], ["advice"], ["report"], ["show", "x"], ["forget", "x"]):
        assert main(["memory", *verb, "--memory", str(tmp_path / "memroy")]) == 2
        assert "there is no memory at" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
