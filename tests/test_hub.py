"""Runs on the hub, which here is a local folder: what is uploaded, what comes back, and what is said when it cannot."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard, errors
from made_up import some_scores

import limner
from limner.cli.main import main
from limner.errors import LimnerError
from limner.learners import create
from limner.memory import Memory
from limner.verbs import hub
from limner.verbs.line import find_start

REPOSITORY = "someone/dots"


def copy(source: Path, target: Path, patterns: list[str]) -> None:
    """The files of a folder that the patterns allow, as the hub takes and gives them."""
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_file() and any(fnmatch(name, pattern) for pattern in patterns):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A local folder that stands for the hub: the three calls that reach it are led there."""
    there, asked = tmp_path / "hub", []

    def create_repo(self, repo_id, **options):
        asked.append(("create", repo_id, options))
        (there / repo_id).mkdir(parents=True, exist_ok=True)

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, **options):
        asked.append(("upload", repo_id, options))
        copy(Path(folder_path), there / repo_id, allow_patterns)

    def snapshot_download(repo_id, *, revision=None, allow_patterns, **options):
        asked.append(("download", repo_id, {"revision": revision, **options}))
        if not (there / repo_id).is_dir():
            raise errors.LocalEntryNotFoundError("no such repository, and no connection")
        copy(there / repo_id, tmp_path / "cache" / repo_id, allow_patterns)
        return str(tmp_path / "cache" / repo_id)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setenv("LIMNER_MEMORY", str(tmp_path / "memory"))
    return there, asked


@pytest.fixture
def run(tmp_path):
    learner, spec = create("vae", (1, 16, 16), latents=3, width=4), f"folder:{tmp_path}/private/dots"
    made = limner.Run(
        learner, f"{spec}, 5 shots", spec, limner.Strategy(), 0, learner.init(seed=0),
        scores=some_scores(), lineage={"directory": str(tmp_path / "run"), "start": "scratch"},
    )  # fmt: skip
    made.save(tmp_path / "run")
    (tmp_path / "run" / "request.json").write_text(json.dumps({"limner": "0", "spec": made.source}))
    (tmp_path / "run" / "evil.py").write_text("raise SystemExit")
    (tmp_path / "run" / "weights.pkl").write_bytes(b"\x80\x04.")
    return made


def test_a_run_that_was_pushed_comes_back_as_it_was(folder, run, tmp_path, capsys):
    _, asked = folder
    assert main(["push", str(tmp_path / "run"), REPOSITORY, "--private", "--licence", "mit", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["reference"] == f"hf:{REPOSITORY}"
    assert ("create", REPOSITORY, {"private": True, "exist_ok": True, "repo_type": "model"}) in asked
    again = limner.load(f"hf:{REPOSITORY}")
    assert again.id == run.id
    assert all(torch.equal(again.params[name], value) for name, value in run.params.items())
    assert torch.equal(again.sample(2), run.sample(2))
    assert main(["sample", f"hf:{REPOSITORY}", "--count", "2", "--out", str(tmp_path / "more")]) == 0
    assert len(list((tmp_path / "more").glob("0*.png"))) == 2


def test_nothing_of_this_machine_and_nothing_executable_is_uploaded(folder, run, tmp_path):
    there, _ = folder
    hub.push(str(tmp_path / "run"), REPOSITORY)
    files = {path.relative_to(there / REPOSITORY).as_posix() for path in (there / REPOSITORY).rglob("*.*")}
    plain = {name for name in files if not name.startswith("samples/")}
    assert plain == {"run.json", "model.safetensors", "curve.csv", "README.md"}
    assert {Path(name).suffix for name in files - plain} == {".png"}
    for name in files:
        assert str(tmp_path).encode() not in (there / REPOSITORY / name).read_bytes()


def test_a_pushed_card_is_one_that_the_hub_reads(folder, run, tmp_path):
    there, _ = folder
    hub.push(str(tmp_path / "run"), REPOSITORY, licence="cc0-1.0")
    card = ModelCard.load(there / REPOSITORY / "README.md")
    assert card.data.license == "cc0-1.0"
    assert card.data.library_name == "limner"
    assert card.data.pipeline_tag == "unconditional-image-generation"
    assert {"limner", "vae"} <= set(card.data.tags)
    assert card.data.metrics == ["kernel_distance"]  # the other one is not a number
    (result,) = card.data.eval_results
    assert isinstance(result, huggingface_hub.EvalResult)
    assert (result.metric_type, result.metric_value) == ("kernel_distance", 0.1)
    assert (result.dataset_name, result.task_type) == ("folder:dots, 5 shots", "unconditional-image-generation")
    assert f'limner.load("hf:{REPOSITORY}")' in card.text
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()  # what the library writes it reads again


def test_a_card_without_scores_names_no_metrics(run):
    from limner.reports import card

    data = ModelCard(card.text(run, None)).data
    assert data.metrics is None
    assert data.eval_results is None


def test_training_starts_from_a_pushed_model(folder, run, tmp_path):
    hub.push(str(tmp_path / "run"), REPOSITORY)
    with Memory.open(str(tmp_path / "memory")) as memory:
        start = find_start(f"hf:{REPOSITORY}", memory, (1, 16, 16))
        assert start.metadata["name"] == f"hf:{REPOSITORY}"
        assert all(torch.equal(start.params[name], value) for name, value in run.params.items())
        with pytest.raises(LimnerError, match="size=16"):
            find_start(f"hf:{REPOSITORY}", memory, (3, 32, 32))
    words = ["train", "vae", "digits,size=16,classes=3", "--shots", "5", "--budget", "1steps", "--set", "batch=5"]
    assert main([*words, "--start", f"hf:{REPOSITORY}", "--out", str(tmp_path / "on")]) == 0
    assert limner.load(tmp_path / "on").lineage["start"] == start.sha256


def test_a_revision_is_asked_for(folder, run, tmp_path):
    _, asked = folder
    hub.push(str(tmp_path / "run"), REPOSITORY)
    limner.load(f"hf:{REPOSITORY}@v1")
    assert asked[-1][2]["revision"] == "v1"


def test_damaged_weights_are_refused(folder, run, tmp_path):
    there, _ = folder
    hub.push(str(tmp_path / "run"), REPOSITORY)
    weights = there / REPOSITORY / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(LimnerError, match="damaged"):
        limner.load(f"hf:{REPOSITORY}")


def test_a_repository_of_something_else_is_told(folder):
    there, _ = folder
    (there / REPOSITORY).mkdir(parents=True)
    (there / REPOSITORY / "README.md").write_text("of another library")
    with pytest.raises(LimnerError, match="holds no run of Limner"):
        limner.load(f"hf:{REPOSITORY}")


@pytest.mark.parametrize("words", [["sample", "hf:someone/else"], ["train", "vae", "digits", "--start", "hf:some/one"]])
def test_a_hub_out_of_reach_is_one_sentence(folder, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "cannot be reached" in told[0]
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (errors.LocalTokenNotFoundError("no token"), "hf auth login"),
        (ConnectionError("no route"), "cannot be reached"),
        (errors.OfflineModeIsEnabled("off-line"), "cannot be reached"),
    ],
)
def test_a_push_that_fails_is_one_sentence(folder, run, tmp_path, capsys, monkeypatch, trouble, told):
    def refuse(self, *given, **options):
        raise trouble

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    assert main(["push", str(tmp_path / "run"), REPOSITORY]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize(("status", "told"), [(401, "hf auth login"), (403, "hf auth login"), (500, "try again later")])
def test_what_the_hub_refuses_is_told(folder, run, tmp_path, monkeypatch, status, told):
    class Response:
        status_code, headers, request = status, {}, None

    def refuse(self, *given, **options):
        problem = errors.HfHubHTTPError.__new__(errors.HfHubHTTPError)
        Exception.__init__(problem, f"status {status}")
        problem.response = Response()
        raise problem

    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", refuse)
    with pytest.raises(LimnerError, match=told):
        hub.push(str(tmp_path / "run"), REPOSITORY)


@pytest.mark.parametrize("name", ["dots", "a/b/c", "", "../up", "some one/dots", "someone/dots@v1"])
def test_a_wrong_name_is_told_before_anything_is_done(folder, run, tmp_path, name):
    _, asked = folder
    with pytest.raises(LimnerError, match=r"NAME/NAME|revision"):
        hub.push(str(tmp_path / "run"), name)
    assert not asked


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(LimnerError, match=r"pip install 'limner\[hub\]'"):
        limner.load(f"hf:{REPOSITORY}")
