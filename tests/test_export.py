"""Runs as ONNX files: what they hold is what PyTorch computes, and what they tell of it is true."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import limner
from limner.cli.main import main
from limner.errors import LimnerError
from limner.learners import create
from limner.learners.latents import sampler_of
from limner.types import Request
from limner.verbs import export as exporting

SHAPE = (1, 16, 16)


def run_of(kind: str, shape=SHAPE, **options) -> limner.Run:
    learner = create(kind, shape, width=4, **options)
    random = torch.Generator().manual_seed(0)
    batch = {"images": torch.rand(200, *shape, generator=random), "labels": torch.arange(200) % 3}
    params = learner.finish(learner.init(seed=0), batch, random)
    return limner.Run(learner, "dots", "", limner.Strategy(), 0, params, task={"support": {"classes": ["a", "b", "c"]}})


def exported(run: limner.Run, place, **options) -> tuple[exporting.Exported, onnxruntime.InferenceSession]:
    run.save(place)
    made = exporting.export(str(place), **options)
    return made, onnxruntime.InferenceSession(made.path.read_bytes())


def differs(made: np.ndarray, right: torch.Tensor) -> float:
    assert made.shape == right.shape
    return float(np.abs(made - right.numpy()).max())


def test_a_generator_makes_the_same_images(tmp_path):
    run = run_of("gan", latents=4)
    made, session = exported(run, tmp_path / "run")
    assert made.path == tmp_path / "run" / "model.onnx"
    assert made.inputs == {"latents": ["n", 4]}
    assert made.outputs == {"images": ["n", *SHAPE]}
    for count in (1, 4, 300):
        latents = torch.randn(count, 4)
        assert (
            differs(session.run(None, {"latents": latents.numpy()})[0], run.learner.decode(run.params, latents)) < 1e-5
        )


def test_a_decoder_places_latents_by_the_fitted_mixture(tmp_path):
    run = run_of("vae", latents=3)
    mixture = sampler_of(run.params)
    made, session = exported(run, tmp_path / "run")
    assert set(made.inputs) == {"latents", "choice"}
    noise, ends = torch.randn(5, 3), mixture.weights.cumsum(0)
    parts = torch.arange(5) % len(mixture.weights)
    middle = ends[parts] - mixture.weights[parts] / 2  # in the middle of what is each part's share of [0, 1]
    placed = torch.stack([mixture.means[k] + mixture.factors[k] @ z for k, z in zip(parts, noise, strict=True)])
    images = session.run(None, {"latents": noise.numpy(), "choice": middle.numpy()})[0]
    assert differs(images, run.learner.decode(run.params, placed).detach()) < 1e-5


def test_a_decoder_places_latents_by_the_fitted_flow(tmp_path):
    run = run_of("vae", latents=3, sampler="flow")
    made, session = exported(run, tmp_path / "run")
    assert made.outputs == {"images": ["n", *SHAPE]}
    noise = torch.randn(2, 3)
    placed = sampler_of(run.params).place(noise, torch.Generator())
    right = run.learner.decode(run.params, placed).detach()
    assert differs(session.run(None, {"latents": noise.numpy()})[0], right) < 1e-5


@pytest.mark.parametrize("kind", ["gan", "vae"])
def test_a_conditional_one_takes_labels(tmp_path, kind):
    options = {"conditioning": "projection", "network": "style"} if kind == "gan" else {"sampler": "prior"}
    run = run_of(kind, latents=3, classes=3, **options)
    run.task = {"classes": ["one", "two", "three"]}  # as a conditional run keeps their names
    made, session = exported(run, tmp_path / "run")
    assert json.loads(made.metadata["classes"]) == ["one", "two", "three"]
    latents, labels = torch.randn(4, 3), torch.tensor([2, 0, 1, 2])
    images = session.run(None, {"latents": latents.numpy(), "labels": labels.numpy()})[0]
    assert differs(images, run.learner.decode(run.params, latents, labels).detach()) < 1e-5
    assert "from 0 to 2" in made.metadata["meaning"]


@pytest.mark.parametrize(("kind", "answer"), [("classifier", "logits"), ("pix2pix", "translate")])
def test_what_takes_images_gives_the_same_answers(tmp_path, kind, answer):
    shape = SHAPE if kind == "classifier" else (3, 16, 16)
    run = run_of(kind, shape, **({"classes": 3} if kind == "classifier" else {"input_channels": 1}))
    made, session = exported(run, tmp_path / "run")
    assert made.inputs == {"images": ["n", *SHAPE]}  # of a translator grey ones, of which it makes colour
    images = torch.rand(6, *SHAPE)
    right = run.learner.predict(run.params, Request(answer, images=images), torch.Generator())
    assert differs(session.run(None, {"images": images.numpy()})[0], right) < 1e-5


def test_the_file_tells_what_it_is_and_nothing_of_this_machine(tmp_path):
    run = run_of("gan", latents=4)
    made, _ = exported(run, tmp_path / "run")
    proto = onnx.load(str(made.path))
    told = {entry.key: entry.value for entry in proto.metadata_props}
    saved = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told == made.metadata
    assert told["run"] == run.id
    assert told["sha256"] == saved["sha256"]["model.safetensors"]
    assert json.loads(told["image_shape"]) == list(SHAPE)
    assert json.loads(told["classes"]) == ["a", "b", "c"]
    assert (proto.producer_name, proto.doc_string) == ("limner", told["meaning"])
    assert str(tmp_path).encode() not in made.path.read_bytes()
    assert not [name.encode() for name in ("site-packages", "limner/verbs") if name.encode() in made.path.read_bytes()]


def test_a_file_that_differs_is_not_left(tmp_path, monkeypatch):
    run = run_of("gan", latents=4)
    whole = exporting._traced

    def spoilt(run, graph):
        data, metadata = whole(run, graph)
        proto = onnx.load_from_string(data)
        for weight in proto.graph.initializer:
            values = onnx.numpy_helper.to_array(weight)
            if values.ndim == 4:
                weight.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.5), weight.name))
        return proto.SerializeToString(), metadata

    monkeypatch.setattr(exporting, "_traced", spoilt)
    with pytest.raises(LimnerError, match=r"differs from PyTorch by .* no file is left"):
        exported(run, tmp_path / "run")
    assert not list(tmp_path.rglob("*.onnx"))


def test_a_learner_without_an_export_says_so(tmp_path):
    run = run_of("vae", latents=3)
    run.learner = create("regressor", SHAPE)
    with pytest.raises(LimnerError, match="regressor, which has no export"):
        exporting.graph_of(run)


def test_a_missing_library_is_named_with_its_remedy(tmp_path, monkeypatch):
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else there(name, *rest)
    )
    with pytest.raises(LimnerError, match=r"needs onnxruntime; .*pip install 'limner\[export\]'"):
        exporting.export(str(tmp_path))


def test_the_command_writes_once_and_replaces_only_its_own(tmp_path, capsys):
    run_of("gan", latents=4).save(tmp_path / "run")
    words = ["export", str(tmp_path / "run"), "--out", str(tmp_path / "it.onnx")]
    assert main(words) == 2
    assert "--onnx" in capsys.readouterr().err
    assert main([*words, "--onnx", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["difference"] < 1e-4
    assert main([*words, "--onnx"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*words, "--onnx", "--force"]) == 0
    capsys.readouterr()
    (tmp_path / "theirs.onnx").write_text("not ours")
    assert main(["export", str(tmp_path / "run"), "--onnx", "--force", "--out", str(tmp_path / "theirs.onnx")]) == 2
    assert "was not written by Limner" in capsys.readouterr().err
    assert (tmp_path / "theirs.onnx").read_text() == "not ours"
    assert main(["export", str(tmp_path / "run"), "--onnx", "--out", str(tmp_path / "it.pt")]) == 2
    assert ".onnx" in capsys.readouterr().err


def test_a_flow_takes_noise_of_the_images_shape(tmp_path):
    run = run_of("flow", integrator="heun", integration_steps=2, classes=3)
    made, session = exported(run, tmp_path / "run")
    assert made.inputs == {"noise": ["n", *SHAPE], "labels": ["n"]}
    noise, labels = torch.randn(4, *SHAPE), torch.tensor([2, 0, 1, 2])
    right = run.learner.decode(run.params, noise.flatten(1), labels).detach()
    assert differs(session.run(None, {"noise": noise.numpy(), "labels": labels.numpy()})[0], right) < 1e-5


def test_the_decoder_of_a_vq_vae_takes_codes(tmp_path):
    run = run_of("vq-vae", codes=8, code_size=4, prior_width=4)
    made, session = exported(run, tmp_path / "run")
    assert made.inputs == {"codes": ["n", *run.learner.latent_shape[:2]]}
    images = torch.rand(5, *SHAPE)
    codes = run.learner.held(run.params, {"images": images})["held_indices"]
    right = run.learner.predict(run.params, Request("reconstruct", images=images), torch.Generator())
    assert differs(session.run(None, {"codes": codes.numpy()})[0], right) < 1e-5
    assert "which of the 8 codes" in made.metadata["meaning"]
