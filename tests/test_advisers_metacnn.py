"""The adviser that looks at images: order does not matter, looks decide, and what cannot be seen is said."""

from dataclasses import replace

import pytest
import torch

from limner.advisers import adviser, metacnn
from limner.advisers.base import Case, Told
from limner.advisers.history import PastRun, PastTask, past_tasks
from limner.advisers.metacnn import ImagesToCode, MetaCNN, belonging, in_colour
from limner.advisers.metann import MetaNN
from limner.config import Strategy
from limner.memory import Fingerprint, Memory
from limner.memory.thumbnails import thumbnails
from limner.spaces import Knob, Space

SPACE = Space("a line", (Knob("x", "float", 0.0, -1.0, 1.0),))
HERE = Fingerprint({"intensity": {"mean": 0.5}})
TOPS = {"lying": 0.7, "standing": -0.7}


def stripes(kind, seed, count=6):
    """Stripes at random places, lying or standing, of the same greys: their fingerprints here are all the same."""
    random = torch.Generator().manual_seed(seed)
    rows = (torch.arange(16) + torch.randint(0, 4, (count, 1), generator=random)) // 2 % 2 * 200
    images = rows[:, None, :, None].expand(count, 1, 16, 16)
    images = images + torch.randint(0, 40, (count, 1, 16, 16), generator=random)
    return thumbnails((images if kind == "lying" else images.transpose(2, 3)).to(torch.uint8))


def height(values, kind):
    return -((values["x"] - TOPS[kind]) ** 2)


def a_past(count=8, strips=True):
    tasks = []
    for place in range(count):
        kind = ("lying", "standing")[place % 2]
        tried = [SPACE.sample(100 * place + seed) for seed in range(12)]
        runs = tuple(PastRun(f"{place}-{at}", values, height(values, kind), 1.0) for at, values in enumerate(tried))
        strip = stripes(kind, place) if strips else ""
        tasks.append(PastTask(str(place), f"{kind} {place}", 0.9, HERE, runs, strip))
    return tuple(tasks)


def a_case(kind="lying", past=None, seed=0):
    return Case(SPACE, True, seed, HERE, a_past() if past is None else past, stripes(kind, 99))


def test_the_code_of_a_set_does_not_depend_on_the_order_of_its_images():
    reader = ImagesToCode(1, 0)
    one, two = (torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(count)) for count in (5, 3))
    codes = reader.codes(torch.cat([one, two]), belonging([one, two]))
    other = reader.codes(torch.cat([one.flip(0), two[[1, 2, 0]]]), belonging([one, two]))
    assert torch.allclose(codes, other, atol=1e-5)
    alone = torch.cat([reader.codes(each, belonging([each])) for each in (one, two)])
    assert torch.allclose(codes, alone, atol=1e-5)  # nor on what other sets there are
    assert not torch.allclose(codes[0], codes[1], atol=1e-3)


def test_where_looks_decide_it_proposes_what_goes_with_them_and_fingerprints_cannot():
    proposed = {kind: MetaCNN(a_case(kind)).propose(5) for kind in TOPS}
    for kind, proposal in proposed.items():
        assert abs(proposal.values["x"] - TOPS[kind]) < 0.35, kind
        assert "on 8 related tasks." in proposal.reason
    blind = {kind: MetaNN(a_case(kind)).propose(5).values["x"] for kind in TOPS}
    assert blind["lying"] == blind["standing"]


def test_the_same_seed_sees_the_same_and_what_is_told_is_learned_from(monkeypatch):
    monkeypatch.setattr(metacnn, "STEPS", 4)
    first, again, other = (MetaCNN(a_case(seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first._mine, again._mine)
    assert not torch.equal(first._mine, other._mine)
    for advising in (first, again):
        advising.observe(Told(SPACE.default, height(SPACE.default, "lying"), 1.0))
    assert first.propose(3) == again.propose(3)
    assert first.propose(3).expected is not None


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (replace(a_case(), thumbnails=""), "This task has no images to look at, so fingerprints tell tasks apart."),
        (a_case(past=a_past(4)), "Images of 4 related tasks are kept, fewer than 5, so fingerprints tell tasks apart."),
        (a_case(past=a_past(6, False)), "Images of 0 related tasks are kept, fewer than 5, so fingerprints tell tasks"),
    ],
)
def test_where_images_tell_nothing_it_is_metann_and_says_so(case, said):
    advising = MetaCNN(case)
    proposal, plain = advising.propose(5), MetaNN(case).propose(5)
    assert proposal.values == plain.values
    assert advising.remark.startswith(said)
    assert proposal.reason == f"{plain.reason} {advising.remark}"


def test_related_tasks_without_images_are_left_out_and_counted(monkeypatch):
    monkeypatch.setattr(metacnn, "STEPS", 1)
    advising = MetaCNN(a_case(past=(*a_past(6), *a_past(2, False))))
    assert len(advising.tasks) == 6
    assert advising.remark == "Left out: 2 of 8 related tasks, of which no images are kept."


def test_nothing_related_needs_no_images_and_no_word(monkeypatch):
    monkeypatch.setattr(metacnn, "looked_at", None)  # not to be called
    for past in ((), tuple(replace(task, similarity=0.01) for task in a_past())):
        advising = adviser("metacnn", a_case(past=past))
        assert (advising.propose(4).values, advising.remark) == (SPACE.default, "")


def test_grey_and_coloured_thumbnails_go_together():
    grey = torch.randint(256, (2, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(in_colour(thumbnails(grey)), in_colour(thumbnails(grey.expand(-1, 3, -1, -1))))


def test_the_past_of_a_memory_comes_with_its_images(tmp_path):
    from made_up import VAE, a_run, a_task, some_scores

    space = Space("the vae", (Knob("latents", "int", 16, 2, 128),))
    with Memory.open(tmp_path) as memory:
        task = a_task(1)
        memory.finish_run(memory.begin_run(memory.add_task(task, HERE), VAE, Strategy(), 0), a_run(), some_scores(0.5))
        (found,) = past_tasks(
            memory, "generate", HERE, "vae", space, lambda options, _: {"latents": options["latents"]}
        )
    assert found.thumbnails == thumbnails(task.support.images)
