"""The whole line by its commands, on tiny budgets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.cli import show
from limner.cli.main import main
from limner.engine.events import ProgressBar

DIGITS = "digits,size=16,classes=3"
SMALL = ["--option", "width=8", "--option", "latents=4", "--set", "batch=5"]


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A place with two runs in it, made by commands."""
    place = tmp_path_factory.mktemp("line")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("LIMNER_MEMORY", str(place / "memory"))
        adapted = ["adapt", "generate", DIGITS, "--shots", "10", "--budget", "3steps", "--out", "adapted", *SMALL]
        assert main(adapted) == 0
        trained = ["train", "gan", DIGITS, "--shots", "10", "--budget", "2steps", "--out", "trained", *SMALL]
        assert main(trained) == 0
    return place


def told(capsys, words: list[str]):
    """The one JSON document that the command prints."""
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("run", ["adapted", "trained"])
def test_a_run_directory_is_complete(place, run):
    names = {path.name for path in (place / run).iterdir()}
    assert {
        "run.json",
        "request.json",
        "model.safetensors",
        "curve.csv",
        "samples",
        "report.html",
        "README.md",
    } <= names
    assert list((place / run / "samples").glob("*.png"))
    assert not [name for name in names if name.startswith(".")]
    page = (place / run / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script src" not in page


def test_the_adviser_is_told_what_came_of_its_advice(place, capsys):
    (chosen,) = [row for row in told(capsys, ["memory", "list", "recommendations"]) if row["outcome_run"]]
    run = told(capsys, ["memory", "show", "adapted"])
    assert chosen["outcome_run"] == run["id"]
    assert run["scores"]["kernel_distance"]["query"] > 100


def test_the_memory_shows_a_run_by_its_directory(place, capsys):
    assert told(capsys, ["memory", "show", str(place / "adapted")]) == told(capsys, ["memory", "show", "adapted"])


def test_the_memory_knows_both_runs(place, capsys):
    rows = told(capsys, ["memory", "list"])
    assert {row["name"]: row["state"] for row in rows} == {"adapted": "finished", "trained": "finished"}
    assert told(capsys, ["memory", "verify"])["problems"] == []


@pytest.mark.parametrize("kind", ["runs", "models", "starts", "tasks", "images", "recommendations"])
def test_every_table_of_the_memory_prints(place, capsys, kind):
    assert main(["memory", "list", kind]) == 0
    assert capsys.readouterr().out.strip()


def test_the_starts_that_come_with_limner_are_listed(place, capsys):
    shipped = [row["name"] for row in told(capsys, ["memory", "list", "starts"]) if row["origin"] == "shipped"]
    assert {"shipped:glyphs-gan", "shipped:glyphs-vae"} <= set(shipped)
    assert "shipped:glyph-net" not in shipped


def test_recommend_now_speaks_from_experience(place, capsys):
    advice = told(capsys, ["recommend", DIGITS, "--shots", "10"])
    assert any(one["source"] == "neighbour" or one["expected"] is not None for one in advice)
    assert any(one["source"] == "default" for one in advice)
    assert all(one["reason"] for one in advice)
    assert main(["recommend", DIGITS, "--shots", "10"]) == 0
    assert "why" in capsys.readouterr().out
    by_class = told(capsys, ["recommend", "digits,size=16,classes=0-2", "--shots", "12", "--goal", "classify"])
    assert {one["learner"] for one in by_class} == {"classifier", "prototypical"}


def test_samples_are_written(place, capsys):
    written = told(capsys, ["sample", "adapted", "--count", "5", "--out", "drawn"])
    assert len(written["images"]) == 5
    sizes = {Image.open(place / path).size for path in written["images"]}
    assert sizes == {(16, 16)}
    assert Image.open(place / written["picture"]).size[0] > 16
    assert main(["sample", "adapted", "--out", "drawn"]) == 2
    assert main(["sample", "adapted", "--count", "2", "--out", "drawn", "--force"]) == 0
    assert len(list((place / "drawn").glob("0*.png"))) == 2


def test_samples_repeat_by_seed(place, capsys):
    def drawn(out: str, seed: str) -> bytes:
        assert main(["sample", "adapted", "--count", "2", "--out", out, "--seed", seed]) == 0
        return (place / out / "0001.png").read_bytes()

    assert drawn("first", "7") == drawn("second", "7") != drawn("third", "8")


def test_evaluate_a_run_and_a_folder(place, capsys):
    by_run = told(capsys, ["evaluate", "adapted", DIGITS, "--count", "50"])
    assert by_run["samples"] == 50
    assert by_run["values"]["kernel_distance"]["floor"] is not None
    main(["sample", "adapted", "--count", "20", "--out", "folder"])
    (place / "folder" / "grid.png").unlink()
    by_folder = told(capsys, ["evaluate", "folder:folder,size=16,colour=grey", DIGITS])
    assert by_folder["samples"] == 20
    assert main(["evaluate", "adapted", DIGITS]) == 0
    assert "Kernel distance" in capsys.readouterr().out


def test_compare_writes_one_page_and_one_table(place, capsys):
    made = told(capsys, ["compare", "adapted", "trained", "--out", "side"])
    assert [row["name"] for row in made["rows"]] == ["adapted", "trained"]
    page = (place / made["page"]).read_text()
    assert "adapted" in page
    assert "trained" in page
    assert main(["compare", "adapted", "trained"]) == 0
    assert "Kernel distance" in capsys.readouterr().out


def test_data_describes_and_draws(place, capsys):
    record = told(capsys, ["data", DIGITS, "--out", "preview.png"])
    assert record["images"] == sum(record["classes"].values())
    assert record["shape"] == [1, 16, 16]
    assert record["chosen"] == "3"
    assert record["notes"] == []
    assert "write size=32" in told(capsys, ["data", "digits,size=30"])["notes"][-1]
    assert Image.open(place / "preview.png").format == "PNG"
    assert main(["data", DIGITS, "--out", "preview.png"]) == 2
    assert main(["data", DIGITS, "--out", "preview.png", "--force"]) == 0


def test_memory_moves_and_forgets(place, capsys, tmp_path):
    assert main(["memory", "export", str(tmp_path / "all.limner")]) == 0
    other = ["--memory", str(tmp_path / "other")]
    assert main(["memory", "import", str(tmp_path / "all.limner"), *other]) == 0
    assert len(told(capsys, ["memory", "list", *other])) == 2
    assert main(["memory", "forget", "trained", "--dry-run", *other]) == 0
    assert len(told(capsys, ["memory", "list", *other])) == 2
    assert main(["memory", "forget", "trained", *other]) == 0
    assert [row["name"] for row in told(capsys, ["memory", "list", *other])] == ["adapted"]
    assert told(capsys, ["memory", "verify", *other])["problems"] == []


def test_a_start_is_learned_and_used(place, capsys):
    family = "digits,size=16"
    words = ["meta-train", "reptile", "vae", "--family", family, "--shots", "4", "--queries", "4", "--budget", "2steps"]
    quick = ["--set", "inner_steps=1", "--set", "validate_tasks=1", "--option", "width=8", "--option", "latents=4"]
    made = told(capsys, [*words, *quick, "--name", "little", "--out", "little.safetensors"])
    assert made["family"]["spec"] == family
    assert (place / "little.safetensors").stat().st_size > 1000
    assert main([*words, *quick, "--out", "little.safetensors"]) == 2
    run = ["adapt", "generate", DIGITS, "--shots", "10", "--budget", "2steps", "--start", "little", "--out", "begun"]
    assert main(run) == 0
    record = told(capsys, ["memory", "show", "begun"])
    assert record["start"] == made["sha256"]
    assert told(capsys, ["memory", "list", "starts"])[0]["name"] == "little"


def test_a_folder_of_mixed_images(place, capsys):
    random = np.random.default_rng(1)
    for index in range(14):
        folder = place / "mine" / ("cats" if index % 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        side = 20 + 3 * index
        Image.fromarray(random.integers(0, 256, (side, side + 5, 3), dtype=np.uint8)).save(folder / f"{index}.jpg")
    (place / "mine" / "cats" / "broken.png").write_text("no picture")
    words = ["adapt", "generate", "folder:mine,size=16", "--shots", "8", "--budget", "2steps", "--learner", "vae"]
    made = told(capsys, [*words, "--out", "from-folder", "--option", "width=8"])
    assert made["state"] == "finished"
    assert made["notes"][0] == "1 file is left out: cats/broken.png: it is not an image"
    assert "cats/broken.png" in (place / "from-folder" / "report.html").read_text()
    assert "cats/broken.png" in json.loads((place / "from-folder" / "run.json").read_text())["notes"][0]
    assert (place / "from-folder" / "report.html").exists()


def test_a_classifier_is_scored_by_accuracy(place, capsys):
    words = ["train", "classifier", "digits,size=16", "--shots", "400", "--budget", "30steps", "--option", "width=8"]
    made = told(capsys, [*words, "--out", "classifier", "--set", "batch=64"])
    accuracy = made["scores"]["values"]["accuracy"]
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert accuracy["value"] > 0.2
    page = (place / "classifier" / "report.html").read_text()
    assert "Where it errs" in page
    assert f"It puts {accuracy['value']:.1%} of 300 images that it never saw in their own class" in page
    assert json.loads((place / "classifier" / "run.json").read_text())["task"]["support"]["classes"] == list(
        "0123456789"
    )
    assert told(capsys, ["evaluate", "classifier", "digits"])["query"] == 1797 - 400
    assert main(["evaluate", "classifier", "digits"]) == 0
    shown = capsys.readouterr().out
    assert "Accuracy" in shown
    assert "real against real" not in shown  # a share has no such floor


def test_a_classifier_is_scored_on_classes_by_their_names(place, capsys):
    threes = told(capsys, ["evaluate", "classifier", "digits,classes=3"])
    assert threes["query"] < 183
    everything = told(capsys, ["evaluate", "classifier", "digits"])["values"]["accuracy"]["value"]
    parts = [told(capsys, ["evaluate", "classifier", f"digits,classes={name}"]) for name in ("0-4", "9+8+7+6+5")]
    right = sum(part["query"] * part["values"]["accuracy"]["value"] for part in parts)
    assert right / sum(part["query"] for part in parts) == pytest.approx(everything)
    assert main(["evaluate", "classifier", "glyphs,limit=2"]) == 2
    assert "classifier does not know the class " in capsys.readouterr().err
    assert main(["sample", "classifier"]) == 2
    assert "classifier is a classifier, which makes no images" in capsys.readouterr().err


def test_force_begins_a_run_again(place):
    words = ["train", "vae", DIGITS, "--shots", "5", "--budget", "1steps", "--out", "again", *SMALL]
    assert main(words) == 0
    first = json.loads((place / "again" / "request.json").read_text())["run"]
    assert main(words) == 2
    assert main([*words, "--force"]) == 0
    assert json.loads((place / "again" / "request.json").read_text())["run"] != first


LONG = ["train", "vae", DIGITS, "--shots", "10", "--budget", "1000steps", *SMALL]


def begun(place: Path, out: str) -> subprocess.Popen[str]:
    """The command in a process of its own, once it has taken some steps."""
    command = [
        sys.executable,
        "-c",
        "import sys; from limner.cli.main import main; sys.exit(main())",
        *LONG,
        "--out",
        out,
    ]
    process = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while (
        not (place / out / "checkpoint.safetensors").exists() and time.monotonic() < deadline and process.poll() is None
    ):
        time.sleep(0.05)
    time.sleep(0.5)
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_saves_says_how_to_go_on_and_resume_goes_on(place, capsys):
    process = begun(place, "stopped")
    os.kill(process.pid, signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130, complaint
    assert complaint.strip().splitlines()[-1].startswith("limner: stopped at step ")
    assert "limner train --resume stopped" in complaint
    assert "Traceback" not in complaint
    assert told(capsys, ["memory", "show", "stopped"])["state"] == "stopped"
    assert json.loads((place / "stopped" / "run.json").read_text())["cost"]["steps"] < 1000
    assert main(["train", "--resume", "stopped"]) == 0
    assert told(capsys, ["memory", "show", "stopped"])["state"] == "finished"
    assert json.loads((place / "stopped" / "run.json").read_text())["cost"]["steps"] == 1000
    assert (place / "stopped" / "report.html").exists()
    assert main(["train", "--resume", "stopped"]) == 2


def test_a_new_user_in_a_process_of_their_own(place):
    script = Path(sys.executable).with_name("limner")
    if not script.exists():
        pytest.skip("limner is not installed as a command beside this Python")
    done = subprocess.run([script, "data", DIGITS, "--json"], capture_output=True, text=True, cwd=place)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["shape"] == [1, 16, 16]


def test_ctrl_c_while_scoring_keeps_the_run(place, monkeypatch, capsys):
    from limner.verbs import line

    def interrupted(run, task, made):
        raise KeyboardInterrupt

    monkeypatch.setattr(line, "judged", interrupted)
    words = ["train", "vae", DIGITS, "--shots", "5", "--budget", "1steps", "--out", "unscored", *SMALL]
    made = told(capsys, words)
    assert made["scores"] is None
    assert "limner evaluate" in made["notes"][-1]
    assert (place / "unscored" / "report.html").exists()
    assert told(capsys, ["memory", "show", "unscored"])["state"] == "finished"


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_a_killed_run_is_marked_and_can_be_resumed(place, capsys):
    process = begun(place, "killed")
    process.kill()
    process.communicate()
    record = told(capsys, ["memory", "show", "killed"])
    assert record["state"] == "killed"
    capsys.readouterr()
    code = main(["train", "--resume", "killed"])
    err = capsys.readouterr().err
    # a run killed within its first seconds has no checkpoint yet, and that is said
    assert code == 0 or "begin the run anew" in err


def test_brackets_in_names_are_nothing_but_brackets(capsys, monkeypatch):
    show.table("[old]", ["name"], [["[red]scan"], ["folder[/x]"]])
    told = capsys.readouterr().out
    assert all(name in told for name in ("[old]", "[red]scan", "folder[/x]"))
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    bar = ProgressBar("folder[/x]")
    bar.on_start(10, 0.0)
    bar.on_note("[red]scan is small")
    bar.on_end("finished")
    told = capsys.readouterr().err
    assert "[red]scan is small" in told
    assert "folder[/x]" in told
