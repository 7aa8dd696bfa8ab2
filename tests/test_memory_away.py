"""A server or a store that goes away in the middle of a run: the run is kept on this machine, and delivered later."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from made_up import VAE, a_run, a_task, some_scores
from memory_places import drop
from private_postgres import Server
from sqlalchemy.engine import make_url

from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import Adviser, Memory
from limner.memory.undelivered import Unreachable


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: tmp_path / "data" / name)


@pytest.fixture
def location(private_server: Server, tmp_path: Path) -> Iterator[str]:
    """A memory on the private server, which is there again afterwards whatever happened."""
    told = {"schema": "away", "artifacts": str(tmp_path / "weights")}
    yield make_url(private_server.url).update_query_dict(told).render_as_string(hide_password=False)
    try:
        drop(private_server.url, {"away"})
    except Exception:
        private_server.come_back()
        drop(private_server.url, {"away"})
        raise


def test_a_run_outlives_its_server(
    location: str, private_server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Memory.open(location) as memory:
        task = memory.add_task(a_task())
        run = memory.begin_run(task, VAE, Strategy(), 0, "brave", tmp_path / "brave")
        failed = memory.begin_run(task, VAE, Strategy(), 1, "unlucky")
        forgotten = memory.begin_run(task, VAE, Strategy(), 2, "unwanted")
        said = Adviser(memory).recommend(a_task(), extractor=None)[0]
        private_server.go_away()
        try:
            with caplog.at_level(logging.WARNING):
                model = memory.finish_run(run, a_run(), some_scores())
            (told,) = caplog.messages
            assert "the server does not answer" in told
            assert f"what was made is kept in {tmp_path / 'data'}" in told
            assert "\n" not in told
            memory.fail_run(failed, "the loss was not a number")
            Adviser(memory).observe(said.id, run)
            memory.finish_run(forgotten, a_run(5.0), None)
            memory.put_model({"net.s": torch.zeros(2)}, VAE, role="start", parent="nobody")
            start = memory.put_model({"net.s": torch.ones(2)}, VAE, role="start", name="kept", parent=model)
            with pytest.raises(Unreachable, match=r"could not be used .*the server does not answer"):
                memory.list("runs")
            with pytest.raises(LimnerError, match="could not be used"):
                Memory.open(location)
        finally:
            private_server.come_back()
        memory.forget(forgotten)  # meanwhile, by another
    caplog.clear()
    with caplog.at_level(logging.WARNING), Memory.open(location) as memory:
        refused, delivered = caplog.messages
        assert "holds no model or run called 'nobody'" in refused
        assert "what was kept for it stays in" in refused
        assert delivered == f"4 of what was kept here while {memory.location} was away is delivered"
        shown = memory.show(run)
        assert (shown["state"], shown["model"], shown["directory"]) == ("finished", model, str(tmp_path / "brave"))
        assert shown["scores"]["kernel_distance"]["value"] == 0.1
        assert [point["step"] for point in shown["curve"]] == [1, 2]
        assert torch.equal(memory.get_model(run).params["net.a"], torch.ones(3, 2))
        assert memory.show(said.id)["outcome_run"] == run
        assert memory.show(failed)["reason"] == "the loss was not a number"
        assert memory.get_model("kept").sha256 == start
        assert memory.get_model("kept").metadata["parent"] == model
        assert {row["name"] for row in memory.runs()} == {"unlucky", "brave"}
        assert sorted(path.suffix for path in (tmp_path / "data").rglob("*.*")) == [".refused", ".safetensors"]
        assert memory.verify() == []


def test_an_open_memory_goes_on_when_its_server_is_back(location: str, private_server: Server) -> None:
    with Memory.open(location) as memory:
        task = memory.add_task(a_task())
        private_server.go_away()
        private_server.come_back()
        run = memory.begin_run(task, VAE, Strategy(), 0)
        memory.finish_run(run, a_run(), None)
        assert memory.show(run)["state"] == "finished"


def test_a_run_outlives_the_store_of_its_model(
    memory_at: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import fsspec

    url = memory_at("m")
    made = make_url(url if "://" in url else f"sqlite:///{url}/memory.db")
    location = made.update_query_dict({"artifacts": "memory://a-store"}).render_as_string(hide_password=False)

    def refuse(*_told: object, **_options: object) -> None:
        raise RuntimeError("no such credentials")

    with Memory.open(location) as memory:
        run = memory.begin_run(memory.add_task(a_task()), VAE, Strategy(), 0)
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", refuse)
            model = memory.finish_run(run, a_run(), some_scores())
        assert "could not be written (RuntimeError: no such credentials)" in caplog.messages[0]
        assert memory.show(run)["state"] == "running"
    with Memory.open(location) as memory:
        assert memory.show(run)["state"] == "finished"
        assert memory.get_model(run).sha256 == model
        memory.forget(run)


def test_what_cannot_be_reached_at_first_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(LimnerError, match=r"could not be used \(.*\): the server does not answer; check the URL"):
        Memory.open(f"postgresql://me@/x?host={tmp_path}")


def test_a_database_that_is_not_there_is_one_sentence(private_server: Server) -> None:
    missing = make_url(private_server.url).set(database="none").render_as_string()
    with pytest.raises(LimnerError, match=r'database "none" does not exist\): .*createdb'):
        Memory.open(missing)
