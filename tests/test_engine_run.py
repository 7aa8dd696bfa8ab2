"""Run directories: written whole, read back the same, never mixed up, refused where damaged."""

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image

from limner.config import Strategy
from limner.engine import Listener, Run, fit
from limner.engine import checkpoint as checkpoints
from limner.errors import LimnerError
from limner.learners import create
from limner.model_file import write_atomically
from limner.tasks import ImageSet, Task
from limner.testing import StopAt

SHAPE = (1, 16, 16)
STRATEGY = Strategy(
    steps=12, batch=3, ema=0.9, schedule="cosine", warmup=2, augmentation=("shift", "flip"), evaluate_every=5, clip=5.0
)


def images(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return ImageSet(torch.randint(256, (count, *SHAPE), generator=random, dtype=torch.uint8), "noise")


TASK = Task("generate", "noise", images(8), images(6, seed=1), source="noise")
VAE = create("vae", SHAPE, latents=2, width=4)


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


def test_run_directory_comes_back_whole(tmp_path):
    run = fit(VAE, TASK, STRATEGY, seed=3)
    run.save(tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"run.json", "model.safetensors", "best.safetensors", "curve.csv", "samples"} <= names
    back = Run.load(tmp_path / "run")
    assert same(run.params, back.params)
    assert back.to_json() == run.to_json()
    assert [point.values.keys() for point in back.curve] == [point.values.keys() for point in run.curve]
    assert torch.equal(run.sample(3, seed=1), back.sample(3, seed=1))
    assert run.sample(3).shape == (3, *SHAPE)
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    for damaged in (weights[:-5], weights[:-1] + bytes([weights[-1] ^ 1])):
        (tmp_path / "run" / "model.safetensors").write_bytes(damaged)
        with pytest.raises(LimnerError, match=r"model\.safetensors is damaged"):
            Run.load(tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(LimnerError, match=r"model\.safetensors is missing"):
        Run.load(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(LimnerError, match="damaged"):
        Run.load(tmp_path / "run")
    with pytest.raises(LimnerError, match="at least 1"):
        run.sample(0)


def test_directories_are_told_before_the_work(tmp_path, monkeypatch):
    with pytest.raises(LimnerError, match="only be resumed from a directory"):
        fit(VAE, TASK, STRATEGY, resume=True)

    def full(*_):
        raise OSError(28, "No space left on device")

    steps = []

    class Counting(Listener):
        def on_step(self, step, values):
            steps.append(step)

    with monkeypatch.context() as patched:
        patched.setattr("limner.model_file.os.fsync", full)
        with pytest.raises(LimnerError, match="No space left"):
            fit(VAE, TASK, STRATEGY, directory=tmp_path / "full", listeners=[Counting()])
    assert steps == []
    fit(VAE, TASK, STRATEGY, directory=tmp_path / "run", start=VAE.init(5), listeners=[StopAt(2)])
    before = (tmp_path / "run" / checkpoints.NAME).read_bytes()
    with pytest.raises(LimnerError, match="go on with resume=True"):
        fit(VAE, TASK, STRATEGY, directory=tmp_path / "run")
    with pytest.raises(LimnerError, match="its start differ"):
        fit(VAE, TASK, STRATEGY, directory=tmp_path / "run", start=VAE.init(6), resume=True)
    assert (tmp_path / "run" / checkpoints.NAME).read_bytes() == before


def test_grids_of_samples_are_drawn_as_it_goes(tmp_path):
    run = fit(VAE, TASK, STRATEGY, seed=3, directory=tmp_path)
    names = ["step-000005.png", "step-000010.png", "step-000012.png"]
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == names
    last = Image.open(io.BytesIO((tmp_path / "samples" / names[-1]).read_bytes()))
    assert (last.size, last.mode) == ((4 * 16 + 3, 4 * 16 + 3), "L")
    corner = torch.tensor(list(last.crop((0, 0, 16, 16)).tobytes()), dtype=torch.uint8).view(16, 16)
    assert torch.equal(corner, run.sample(16, seed=3)[0, 0])


def test_a_run_is_not_saved_over_another(tmp_path):
    first = fit(VAE, TASK, STRATEGY, seed=3)
    second = fit(VAE, replace(TASK, query=None), STRATEGY, seed=4)
    first.save(first.save(tmp_path))
    with pytest.raises(LimnerError, match=f"holds another run .{first.id}."):
        second.save(tmp_path)
    assert same(Run.load(tmp_path).params, first.params)
    (tmp_path / "samples" / "mine.png").write_text("not Limner's")
    second.save(tmp_path, force=True)
    back = Run.load(tmp_path)
    assert same(back.params, second.params)
    assert back.best is None
    assert (tmp_path / "samples" / "mine.png").exists()
    first.save(tmp_path / "other")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(LimnerError, match="of different runs"):
        Run.load(tmp_path)


def test_a_resumed_run_is_the_same_run(tmp_path):
    stopped = fit(VAE, TASK, STRATEGY, directory=tmp_path, listeners=[StopAt(2)])
    stopped.save(tmp_path)
    resumed = fit(VAE, TASK, STRATEGY, directory=tmp_path, resume=True)
    assert resumed.id == stopped.id
    resumed.save(tmp_path)
    assert (stopped.state, Run.load(tmp_path).state) == ("stopped", "finished")


@pytest.mark.parametrize("place", ["model.safetensors", "deeper/model.safetensors"])
def test_a_file_in_the_way_is_told(place, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(LimnerError, match="a file is in its place"):
        write_atomically(tmp_path / "file" / place, b"weights")
