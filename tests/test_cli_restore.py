"""``limner restore``: whole files mended, told of, judged; the originals untouched, what cannot be read named."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage import data

from limner.cli.main import main
from limner.degradations import parse
from limner.degradations.operators import GaussianBlur
from limner.learners import create
from limner.restoration import Knowledge, restorer
from limner.restoration.estimate import Blur, Found, estimate
from limner.restoration.judge import Judgement, judge
from limner.restoration.picture_file import target_name
from limner.restoration.stripes import Stripes
from limner.restoration.trained import Trained
from limner.seeds import generator
from limner.tasks.files import Item
from limner.verbs.restore_again import method_sha256
from limner.verbs.restore_asked import own_names

CLEAN = torch.from_numpy(data.camera()[100:196, 180:276]).float()[None, None] / 255


def save(path, images):
    pixels = (images * 255).round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Noisy images of several types, a clean one, a black one, and files that cannot be used."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "inner").mkdir(parents=True)
    noisy = parse("gaussian(20)")(CLEAN, generator(0))
    save("in/noisy.png", noisy)
    colour = torch.cat([noisy, noisy, noisy], 1).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    tifffile.imwrite("in/inner/deep.tiff", (colour * 65535).round().astype(np.uint16), photometric="rgb")
    save("in/clean.png", CLEAN)
    Image.new("RGB", (40, 30)).save("in/black.png")
    floats = noisy[0, 0].numpy().copy()
    floats[10:14, 20:22] = np.nan
    tifffile.imwrite("in/floats.tif", floats)
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    return tmp_path


def told_of(directory):
    record = json.loads((directory / "restored.json").read_text())
    return {one["image"]: one for one in record["images"]}, record


def test_a_folder_is_mended_file_by_file(folder, capsys):
    before = {path: path.read_bytes() for path in folder.glob("in/**/*.*")}
    assert main(["restore", "plug-and-play", "in", "--out", "made", "--no-check", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    told, record = told_of(folder / "made")
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(told) == ["black.png", "clean.png", "floats.tif", "inner/deep.tiff", "noisy.png"]
    assert printed["left_out"] == record["left_out"] == {"broken.png": "it is not an image"}
    for name in ("clean.png", "black.png"):
        assert told[name]["left_as_it_was"]
        assert np.array_equal(np.asarray(Image.open(f"made/{name}")), np.asarray(Image.open(f"in/{name}")))
    assert "all the same" in " ".join(told["black.png"]["sentences"])
    assert "give --noise" not in " ".join(told["black.png"]["sentences"])
    assert "only took noise away" in " ".join(told["noisy.png"]["sentences"])
    assert told["noisy.png"]["noise"] == pytest.approx(20, rel=0.15)
    assert "8 pixels that are infinite or not a number" in told["floats.tif"]["sentences"][0]
    assert "seem to be missing" not in " ".join(told["floats.tif"]["sentences"])
    assert np.isfinite(tifffile.imread("made/floats.tif")).all()
    deep = tifffile.imread("made/inner/deep.tiff")
    assert (deep.dtype, deep.shape) == (np.uint16, (96, 96, 3))
    page = (folder / "made" / "report.html").read_text()
    assert all(f"<h2>{name}</h2>" in page for name in told)
    assert "<li>broken.png: it is not an image</li>" in page
    assert 'src="http' not in page


def test_scores_and_judgement_of_one_file(folder):
    (folder / "true").mkdir()
    save("true/noisy.png", CLEAN)
    words = ["restore", "auto", "in/noisy.png", "--noise", "20", "--truth", "true", "--out", "made"]
    assert main(words) == 0
    told = told_of(folder / "made")[0]["noisy.png"]
    assert told["scores"]["psnr_after"] > told["scores"]["psnr_before"] + 4
    assert told["scores"]["ssim_after"] > told["scores"]["ssim_before"]
    assert told["noise"] == pytest.approx(20)
    judged = told["judgement"]
    assert abs(judged["removed"] * 255 - 20) < 3
    assert abs(judged["neighbours"]) < 0.15
    assert any("Hidden pixels" in sentence for sentence in told["sentences"])


def test_a_mask_and_a_degradation_overrule_what_is_found(folder):
    random = generator(1)
    kept = torch.rand(1, 1, 96, 96, generator=random) > 0.3
    save("holes.png", CLEAN * kept)
    save("mask.png", kept.float())
    save("true.png", CLEAN)
    common = ["--truth", "true.png", "--no-check", "--force"]
    assert main(["restore", "biharmonic", "holes.png", "--mask", "mask.png", "--out", "a", *common]) == 0
    assert told_of(folder / "a")[0]["holes.png"]["scores"]["psnr_after"] > 27
    small = parse("downsample(2)")(CLEAN, generator(0))
    save("small.png", small)
    assert main(["restore", "plug-and-play", "small.png", "--degradation", "downsample(2)", "--out", "b", *common]) == 0
    assert Image.open("b/small.png").size == (96, 96)
    assert told_of(folder / "b")[0]["small.png"]["scores"]["psnr_after"] > 24


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nonsense", "in/noisy.png"], "neither a method"),
        (["bm3dd", "in/noisy.png"], "there is no method 'bm3dd'; did you mean bm3d?"),
        (["wavelets", "nowhere"], "nowhere does not exist"),
        (["wavelets", "in/noisy.png", "--noise", "300"], "give --noise from 0 to 255"),
        (["wavelets", "in/noisy.png", "--degradation", "gausian(3)"], "\n  gausian(3)\n  ^\n"),
        (["wavelets", "in/noisy.png", "--degradation", "gaussian(5..50)"], "leaves open"),
        (["wavelets", "in/noisy.png", "--mask", "in/black.png"], "black all over"),
        (["biharmonic", "in/noisy.png", "--mask", "small.png"], "has 9×8 pixels and the image 96×96"),
        (["biharmonic", "in/noisy.png", "--mask", "white.png"], "white.png is white all over, so nothing is lost"),
        (["auto", "in/noisy.png", "--mask", "nowhere.png"], "there is no mask at nowhere.png"),
        (["wavelets", "in/broken.png"], "nothing could be restored; broken.png is left out: it is not an image"),
        (["total-variation", "in/noisy.png", "--tile", "50"], "too small"),
        (["auto", "in", "--out", "in", "--force"], "was not written by Limner"),
    ],
)
def test_mistakes_are_told_in_a_sentence(folder, capsys, words, told):
    Image.new("L", (96, 96), 255).save("white.png")
    Image.fromarray((np.arange(72).reshape(8, 9) % 2 * 255).astype(np.uint8)).save("small.png")
    assert main(["restore", *words, *([] if "--out" in words else ["--out", "made"])]) == 2
    complaint = capsys.readouterr().err
    assert told in complaint
    assert "Traceback" not in complaint


def stopping_after(monkeypatch, count):
    """The names of results that get written, until Ctrl-C in place of one more than ``count``."""
    from limner.restoration import picture_writing

    write, written = picture_writing.write, []

    def stopping(path, picture, images):
        if len(written) == count:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, picture, images)

    monkeypatch.setattr(picture_writing, "write", stopping)
    return written


RESTORE = ["restore", "wavelets", "in", "--no-check", "--out", "made"]


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(folder, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        stopping_after(patched, 2)
        assert main(RESTORE) == 130
    assert "the same command goes on" in capsys.readouterr().err
    told, record = told_of(folder / "made")
    assert record["state"] == "stopped"
    assert list(told) == ["black.png", "clean.png"]
    assert "Stopped by hand" in (folder / "made" / "report.html").read_text()

    written = stopping_after(monkeypatch, 99)
    before = {path: path.read_bytes() for path in folder.glob("in/**/*.*")}
    assert main(RESTORE) == 0
    assert written == ["noisy.png", "deep.tiff"]
    assert "2 of them were done before" in capsys.readouterr().out
    again, record = told_of(folder / "made")
    assert list(again) == ["black.png", "clean.png", "noisy.png", "inner/deep.tiff"]
    assert {name: again[name] for name in told} == told
    assert record["state"] == "finished"
    page = (folder / "made" / "report.html").read_text()
    assert all(f"<h2>{name}</h2>" in page for name in again)
    assert {path: path.read_bytes() for path in before} == before


def test_only_what_is_the_same_is_skipped(folder, monkeypatch, capsys):
    assert main(RESTORE) == 0
    written = stopping_after(monkeypatch, 99)
    (folder / "made" / "clean.png").unlink()
    (folder / "made" / "black.png").write_bytes(b"spoilt by someone")
    save("in/noisy.png", CLEAN + 0.1)
    capsys.readouterr()
    assert main([*RESTORE, "--json"]) == 0
    assert written == ["black.png", "clean.png", "noisy.png"]
    assert json.loads(capsys.readouterr().out)["skipped"] == ["inner/deep.tiff"]
    for other in ([*RESTORE, "--noise", "10"], ["restore", "total-variation", *RESTORE[2:]]):
        assert main(other) == 2
        assert "made by another command" in capsys.readouterr().err
    assert written == ["black.png", "clean.png", "noisy.png"]
    assert main([*RESTORE, "--force"]) == 0
    assert len(written) == 3 + 4


def test_a_run_trained_anew_is_another_method():
    nets = [create("restorer", (1, 16, 16), width=3, depth=3) for _ in range(3)]
    first, same, other = (
        method_sha256(Trained(net, net.init(seed), "run")) for net, seed in zip(nets, (0, 0, 1), strict=True)
    )
    assert first == same != other
    assert method_sha256(None) == method_sha256(restorer("starter")) != first
    prior = Trained(nets[0], nets[0].init(0), "run")
    assert method_sha256(restorer("plug-and-play", prior=prior)) == first


def test_a_damaged_record_is_no_reason_to_guess(folder, capsys):
    assert main(RESTORE) == 0
    (folder / "made" / "restored.json").write_text("{")
    assert main(RESTORE) == 2
    assert "restored.json is damaged" in capsys.readouterr().err


def test_results_keep_their_names_unless_two_would_have_the_same(folder):
    names = ["a.png", "a.jpg", "b.jpg", "c.jpg", "c.webp", "c.jpg.jpg", "D.jpg", "d.png"]
    items = [Item(name, "", 0, lambda: None) for name in names]
    assert own_names([target_name(name) for name in names], items) == [
        "a.png", "a.jpg.png", "b.png", "c.jpg.png.png", "c.webp.png", "c.jpg.png", "D.jpg.png", "d.png",
    ]  # fmt: skip
    for name in ("a.png", "a.jpg"):
        Image.new("L", (20, 20), 99).save(f"in/inner/{name}")
    assert main(["restore", "wavelets", "in/inner", "--no-check", "--out", "made"]) == 0
    assert sorted(path.name for path in (folder / "made").glob("*.*g")) == ["a.jpg.png", "a.png"]


def test_what_several_images_have_in_common_is_told_once(folder, capsys):
    assert main(["restore", "total-variation", "in", "--tile", "50", "--out", "made"]) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("too small") == 1
    assert "left out" not in complaint
    assert not Path("made").exists()
    save("mask.png", torch.eye(7)[None, None, :, :5])
    assert main(["restore", "biharmonic", "in", "--mask", "mask.png", "--out", "made"]) == 2
    assert capsys.readouterr().err.count("has 5×7 pixels and the image 96×96") == 1


def test_what_is_told_is_short():
    told = [
        *Found(0.1, "gaussian", impulses=0.1, lost=0.5, blur=Blur(2.0, 0.9), blocks=1.5).sentences(),
        *Found(0.1, "poisson_gaussian", 30.0, 0.02, blur=Blur(2.0, 0.1)).sentences(),
        *Found(0.1, "coarse").sentences(), *Found(None).sentences(), *Found(0.001).sentences(),
        *Found(0.1, "gaussian", stripes=Stripes(0.05, "columns"), blur=Blur(2.0, 0.1)).sentences(),
        *Judgement(0.1, 0.4, 0.0, 0.02, 0.03, (0.02, 0.03), "non-local-means", 0.03, 0.1).sentences(),
        *Judgement(0.1, 0.0, 0.5, 0.02, 0.03, None, "wavelets", 0.3, 0.1).sentences(),
        *Judgement(0.0, 0.0, 0.5, 0.02, 0.03, None, "plug-and-play", 0.3, 0.1).sentences(),
    ]  # fmt: skip
    assert max(len(sentence) for sentence in told if "--degradation" not in sentence) <= 100
    assert all(sentence[0].isupper() or sentence[0].isdigit() for sentence in told)
    assert all(sentence.endswith(".") and ". " not in sentence for sentence in told)
    texts = [re.search('--degradation "(.*)"', sentence) for sentence in told]
    assert [str(parse(text[1])) for text in texts if text] == [
        "blur(gaussian,width=2)+missing(0.5)+gaussian(25.5)+salt_and_pepper(0.1)",
        "blur(gaussian,width=2)+poisson_gaussian(30,sigma=5.1)",
        "blur(gaussian,width=2)+stripes(12.8,direction=columns)+gaussian(25.5)",
    ]


def test_the_judgement_tells_detail_from_noise():
    noisy = parse("gaussian(20)")(CLEAN, generator(0))
    knowledge = Knowledge(noise=20 / 255)
    method = restorer("wavelets")
    right = judge(method, noisy, CLEAN, knowledge, generator(0))
    blurred = parse("blur(gaussian,width=3)")(CLEAN, generator(0))
    wrong = judge(method, noisy, blurred, knowledge, generator(0))
    assert abs(right.neighbours) < 0.1 < wrong.neighbours
    assert abs(right.edges) < 0.25 < wrong.edges
    assert "looks like noise alone" in right.sentences()[1]
    assert "Some of the picture's detail" in wrong.sentences()[1]
    truth = float((method.restore(noisy, knowledge, generator(0)) - CLEAN).square().mean().sqrt())
    assert right.foretold is not None
    assert 0.7 * truth < right.foretold < 2.5 * truth
    assert right.foretold < right.around


def test_the_bound_of_agreement_is_told():
    agree, differ = (Judgement(0.1, 0.0, 0.0, second="wavelets", apart=apart).sentences() for apart in (0.03, 0.06))
    assert agree[-2:] == [
        "Another method, wavelets, differs by 7.6 of 255, 0.30 of what was removed.", "Up to 0.40 the two agree.",
    ]  # fmt: skip
    assert differ[-1] == "Up to 0.40 they would agree: look at what was removed."


@pytest.mark.parametrize("text", ["gaussian(8)", "gaussian(25)", "poisson(60)", "missing(0.4)"])
def test_the_psnr_lies_in_the_range_that_is_foreseen(text):
    noisy = parse(f"{text}+quantise(8)")(CLEAN, generator(0))
    found = estimate(noisy)
    knowledge = Knowledge(found.noise or 0.0, None, found.mask, found.degradation)
    method = restorer("starter" if found.mask is None else "plug-and-play")
    made = method.restore(noisy, knowledge, generator(0))
    low, high = judge(method, noisy, made, knowledge, generator(0)).errors
    assert 0.9 * low <= float((made.clamp(0, 1) - CLEAN).square().mean().sqrt()) <= 1.1 * high
    assert high < 2.2 * low
    blurred = Knowledge(found.noise, GaussianBlur(1.0).operator({"kernel": torch.ones(1, 1, 1)}, (1, 1, 96, 96)))
    assert judge(restorer("plug-and-play"), noisy, made, blurred, generator(0)).errors is None


def test_no_error_is_foreseen_where_lost_pixels_lie_together():
    box = torch.ones(1, 1, 96, 96)
    box[..., 30:60, 30:60] = 0
    method, knowledge = restorer("biharmonic"), Knowledge(0.0, None, box, "boxes(1)")
    made = method.restore(CLEAN * box, knowledge, generator(0))
    assert judge(method, CLEAN * box, made, knowledge, generator(0)).errors is None


@pytest.mark.parametrize("words", [[], ["--degradation", "stripes(10)"]])
def test_stripes_are_told_and_taken_away(folder, words):
    save("striped.png", parse("stripes(10)")(CLEAN, generator(2)))
    save("true.png", CLEAN)
    assert main(["restore", "auto", "striped.png", "--truth", "true.png", "--out", "made", *words]) == 0
    told = told_of(folder / "made")[0]["striped.png"]
    assert told["method"] == "destriping"
    assert "stripes(" in told["degradation"]
    assert told["stripes"]["direction"] == "rows"
    assert told["stripes"]["sigma"] == pytest.approx(10, rel=0.4)
    assert any("Stripes: rows" in sentence for sentence in told["sentences"]) == (not words)
    assert told["scores"]["psnr_after"] > told["scores"]["psnr_before"] + 3


def test_stripes_are_taken_away_before_the_noise(folder):
    save("striped.png", parse("stripes(15,direction=columns)+gaussian(10)")(CLEAN, generator(2)))
    save("true.png", CLEAN)
    common = ["striped.png", "--truth", "true.png", "--no-check", "--out"]
    assert main(["restore", "wavelets", *common, "a"]) == 0
    assert main(["restore", "wavelets", *common, "b", "--degradation", "gaussian(18)"]) == 0
    with_stripes, told_else = (told_of(folder / out)[0]["striped.png"]["scores"]["psnr_after"] for out in "ab")
    assert with_stripes > told_else + 1


def test_texture_that_the_starter_takes_for_noise_is_left_to_the_denoiser(folder):
    down, across = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    texture = 0.5 + 0.15 * torch.sin(2 * torch.pi * (0.8 * across + 0.6 * down) / 2.3)
    save("texture.png", parse("gaussian(10)")(texture[None, None], generator(0)))
    for method in ("auto", "starter"):
        assert main(["restore", method, "texture.png", "--no-check", "--out", method]) == 0
        (told,) = told_of(folder / method)[0].values()
        assert told["method"] == ("denoiser" if method == "auto" else "starter")
        assert any("taken texture for noise" in sentence for sentence in told["sentences"]) == (method == "auto")
    wrong = {
        method: np.square(np.asarray(Image.open(f"{method}/texture.png")) / 255 - texture.numpy()).mean() ** 0.5
        for method in ("auto", "starter")
    }
    assert wrong["auto"] < 0.5 * wrong["starter"], wrong


def test_a_mask_that_may_be_upside_down_and_images_that_the_terminal_has_no_room_for(folder, capsys):
    save("upside.png", (torch.rand(1, 1, 96, 96, generator=generator(1)) < 0.2).float())
    assert main(["restore", "biharmonic", "in/noisy.png", "--mask", "upside.png", "--no-check", "--out", "made"]) == 0
    assert "invert the mask: black is lost" in capsys.readouterr().out
    Path("many").mkdir()
    for place in range(7):
        Image.new("L", (20, 20), 10 * place).save(f"many/{place}.png")
    assert main(["restore", "auto", "many", "--no-check", "--out", "all"]) == 0
    told = capsys.readouterr().out
    assert "other 2 stands in all/restored.json" in told
    assert "4.png" in told
    assert "5.png" not in told


def test_masks_of_a_folder_and_what_they_tell(folder, capsys):
    (folder / "masks").mkdir()
    kept = torch.rand(1, 1, 96, 96, generator=generator(1)) > 0.2
    save("in/noisy.png", CLEAN * kept)
    save("masks/noisy.bmp", kept.float())
    save("masks/clean.png", torch.ones(1, 1, 96, 96))
    for name in ("black.png", "floats.tif", "inner/deep.tiff", "broken.png"):
        (folder / "in" / name).unlink()
    assert main(["restore", "auto", "in", "--mask", "masks", "--no-check", "--out", "made"]) == 0
    told = told_of(folder / "made")[0]
    assert any("By the mask 19.6%" in sentence for sentence in told["noisy.png"]["sentences"])
    assert told["noisy.png"]["method"] == "plug-and-play"
    assert any("clean.png is white all over" in sentence for sentence in told["clean.png"]["sentences"])
    assert told["clean.png"]["left_as_it_was"]
    (folder / "masks/noisy.bmp").unlink()
    assert main(["restore", "auto", "in/noisy.png", "--mask", "masks", "--no-check", "--out", "other"]) == 0
    assert "There is no mask masks/noisy.png" in capsys.readouterr().out


def test_what_is_told_of_the_damage_goes_before_what_is_found(folder, capsys):
    assert main(["restore", "auto", "in/noisy.png", "--noise", "0", "--out", "kept"]) == 0
    assert "told that there is no noise" in capsys.readouterr().out
    assert np.array_equal(np.array(Image.open("kept/noisy.png")), np.array(Image.open("in/noisy.png")))


def test_a_truth_that_is_not_there_is_told_before_the_work_and_a_missing_one_costs_the_score_alone(folder, capsys):
    assert main(["restore", "auto", "in", "--truth", "nowhere", "--out", "made"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not Path("made").exists()
    Path("empty").mkdir()
    assert main(["restore", "wavelets", "in/noisy.png", "--truth", "empty", "--out", "made"]) == 0
    assert "no score" in capsys.readouterr().out


def test_nothing_stays_where_nothing_could_be_restored_and_results_are_not_restored_again(folder, capsys):
    assert main(["restore", "wavelets", "in/broken.png", "--out", "made"]) == 2
    assert not Path("made").exists()
    assert main(["restore", "wavelets", "in/noisy.png", "--out", "in/results"]) == 0
    assert main(["restore", "wavelets", "in", "--out", "again"]) == 0
    assert not Path("again/results").exists()


def test_an_image_of_a_few_pixels_is_left_as_it_was(folder, capsys):
    Image.fromarray(np.arange(15, dtype=np.uint8).reshape(3, 5) * 10).save("in/tiny.png")
    assert main(["restore", "auto", "in/tiny.png", "--out", "made"]) == 0
    assert "too small" in capsys.readouterr().out
    assert np.array_equal(np.array(Image.open("made/tiny.png")), np.array(Image.open("in/tiny.png")))
