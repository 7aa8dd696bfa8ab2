"""Trained restorers as priors of plug-and-play, and scores of restored pictures where the truth is there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

import limner
from limner.cli.main import main
from limner.degradations import parse
from limner.learners import create
from limner.reports.restored import _scored
from limner.restoration import Knowledge, options_of, restorer
from limner.restoration.inpainting import Biharmonic
from limner.restoration.plug_and_play import PlugAndPlay
from limner.restoration.scores import against, feature_distance
from limner.restoration.shipped import Denoiser
from limner.restoration.solvers import near, roughly
from limner.restoration.trained import Trained
from limner.tasks import load

CLEAN = torch.from_numpy(data.camera()[100:164, 180:244]).float()[None, None] / 255


def run_of(network: str) -> limner.Run:
    learner = create("restorer", (1, 16, 16), network=network, width=4, depth=5)
    return limner.Run(learner, "noise", "", limner.Strategy(), 0, learner.init(seed=0))


@dataclass
class Watched:
    """A prior that keeps what it was shown, and changes nothing."""

    blind: bool
    shown: list[Tensor] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    name: str = "watched"

    def handles(self, knowledge: Knowledge) -> str:
        return ""

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        assert knowledge.noise is not None
        self.shown.append(images)
        self.told.append(knowledge.noise)
        return CLEAN.expand_as(images)


def test_a_blind_prior_is_shown_the_noise_that_it_is_to_take_away():
    seen = parse("blur(gaussian,width=1)")
    parameters = seen.sample(tuple(CLEAN.shape), torch.Generator())
    known = Knowledge.of(seen, parameters, tuple(CLEAN.shape), 0.01)
    blurred = seen.apply(CLEAN, parameters, torch.Generator())
    for blind in (True, False):
        prior = Watched(blind)
        restorer("plug-and-play", prior=prior, steps=4).restore(blurred, known, torch.Generator().manual_seed(0))
        assert prior.told == sorted(prior.told, reverse=True)
        for shown, told in list(zip(prior.shown, prior.told, strict=True))[1:]:  # the first is not near the truth
            apart = float((shown - CLEAN).std())
            assert apart == pytest.approx(told, rel=0.2) if blind else apart < 0.3 * told


def test_networks_that_are_not_told_the_noise_are_blind():
    assert {name: Trained.of(run_of(name)).blind for name in ("ffdnet", "dncnn", "unet", "nafnet")} == {
        "ffdnet": False, "dncnn": True, "unet": True, "nafnet": True,
    }  # fmt: skip


def test_the_prior_of_plug_and_play_can_be_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray((CLEAN[0, 0].numpy() * 255).astype(np.uint8)).save("a.png")
    asked = ["restore", "plug-and-play", "a.png", "--degradation", "blur(gaussian,width=1)+gaussian(3)", "--no-check"]
    for network in ("ffdnet", "dncnn"):
        run_of(network).save(tmp_path / network)
        assert main([*asked, "-o", f"prior={network}", "-o", "steps=2", "--out", f"{network}-made"]) == 0
        assert (tmp_path / f"{network}-made" / "a.png").exists()
    capsys.readouterr()
    assert main([*asked, "-o", "prior=nowhere", "--out", "none"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_where_no_prior_is_named_one_is_taken():
    assert options_of("plug-and-play")["prior"] == "auto"
    assert restorer("plug-and-play").prior.name == restorer("plug-and-play", prior="auto").prior.name
    assert not restorer("plug-and-play").prior.handles(Knowledge(noise=0.1))


def test_scores_against_the_truth():
    noisy = parse("gaussian(30)")(CLEAN, torch.Generator().manual_seed(0))
    scores, told = against(noisy, CLEAN, CLEAN)
    assert scores["psnr_after"] == 100
    assert scores["feature_distance_after"] == 0 < scores["feature_distance_before"]
    assert any("efficientnet-lite0" in sentence for sentence in told)
    alone, told = against(CLEAN[..., ::2, ::2], CLEAN, CLEAN)
    assert set(alone) == {"psnr_after", "ssim_after", "feature_distance_after"}
    assert "before" not in " ".join(told)


def test_the_feature_distance_grows_with_damage_and_sees_all_of_a_large_picture():
    whole = torch.from_numpy(data.camera()[:300, :420])[None, None]
    distances = []
    for sigma in (5, 20, 60):
        noisy = parse(f"gaussian({sigma})")(whole / 255, torch.Generator().manual_seed(0))
        distances.append(feature_distance((noisy.clamp(0, 1) * 255).round().to(torch.uint8), whole))
    assert 0 < distances[0] < distances[1] < distances[2]
    spoiled = whole.clone()
    spoiled[..., -60:, -60:] = 255
    assert feature_distance(spoiled, whole) > 0


def test_rows_of_scores_and_their_means():
    def row(name, **scores):
        return {"image": name, "scores": {"ssim_after": 0.5, "feature_distance_after": 0.2, **scores}}

    rows = _scored([row("a", psnr_before=20.0, psnr_after=30.0), row("b", psnr_after=31.0), {"image": "c"}])
    assert [name for name, _ in rows] == ["a", "b", "mean of 2"]
    assert rows[0][1][:2] == ["20.00", "30.00"]
    assert rows[2][1][:2] == ["–", "30.50"]
    assert _scored([{"image": "c"}]) == []


def test_the_page_shows_scores_and_seconds_a_megapixel(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noisy = parse("gaussian(20)")(CLEAN, torch.Generator().manual_seed(0)).clamp(0, 1)
    for place, images in (("damaged", noisy), ("truth", CLEAN)):
        (tmp_path / place).mkdir()
        Image.fromarray((images[0, 0].numpy() * 255).round().astype(np.uint8)).save(tmp_path / place / "a.png")
    made = limner.restore("wavelets", "damaged", truth="truth", out="made", check=False)
    page = made.page.read_text()
    assert "s a megapixel" in page
    assert "error against the truth" in page
    scores = json.loads((tmp_path / "made" / "restored.json").read_text())["images"][0]["scores"]
    for kind in ("psnr", "ssim", "feature_distance"):
        assert {f"{kind}_before", f"{kind}_after"} <= set(scores)
    assert f"<td>{scores['psnr_after']:.2f}</td>" in page


@pytest.mark.parametrize("weight", [0.02, 0.5])
def test_the_rough_step_towards_the_data_is_nearly_the_exact_one(weight):
    clean = load("photos,size=64,per_class=2").floats()[:2].mean(1, keepdim=True)
    blur = parse("blur(motion,length=7,angle=30)")
    parameters = blur.sample(tuple(clean.shape), torch.Generator().manual_seed(0))
    knowledge = Knowledge.of(blur, parameters, tuple(clean.shape), 0.01)
    damaged = blur.apply(clean, parameters, torch.Generator())
    weights = torch.full((2, 1, 1, 1), weight)
    exact = near(damaged, knowledge, damaged, weights)
    rough = roughly(damaged, knowledge, damaged, weights)
    assert (rough - exact).square().mean() < 0.05 * (damaged - exact).square().mean()
    assert torch.allclose(roughly(damaged, knowledge, clean, weights), clean, atol=1e-5)


def test_a_network_sees_turned_and_mirrored_forms_and_its_answer_is_turned_back():
    seen = []

    class Watched(Denoiser):
        def restore(self, images, knowledge, generator):
            seen.append(images[0, 0])
            return images

    image = torch.rand(1, 1, 6, 9, generator=torch.Generator().manual_seed(0))
    mask = (torch.rand(1, 1, 6, 9, generator=torch.Generator().manual_seed(1)) < 0.7).float()
    known = Knowledge(noise=0.0, mask=mask)
    made = PlugAndPlay(Watched(), steps=2).restore(image * mask, known, torch.Generator())
    assert torch.allclose(made, Biharmonic().restore(image * mask, known, torch.Generator()), atol=1e-6)
    assert len(seen) == 8
    assert len({str(form.tolist()) for form in seen}) == 8
