"""A restorer adapted to pairs rehearses the damage that its start learned from; pairs without damage are told."""

from __future__ import annotations

import pytest
import torch

from limner.config import Strategy
from limner.degradations import parse
from limner.errors import LimnerError
from limner.memory.shipped import load_shipped
from limner.tasks import Damaged, ImageSet, Pairs, Rehearsed, Task
from limner.verbs.restoration import rehearsal_of, rehearsed
from limner.verbs.warnings import undamaged

BRIGHT, DARK = 200, 40


def even(level: int, count: int) -> ImageSet:
    return ImageSet(torch.full((count, 3, 16, 16), level, dtype=torch.uint8), f"{level}")


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


OWN = Pairs(even(BRIGHT, 10), even(BRIGHT, 10))
OTHERS = Damaged(even(DARK, 4), parse("gaussian(20)"))


@pytest.mark.parametrize(("share", "own"), [(0.0, 10), (0.5, 5), (0.75, 2), (0.99, 1)])
def test_a_step_has_its_share_of_others(share, own):
    made = Rehearsed(OWN, OTHERS, share).again(random())
    assert len(made) == 10
    assert int((made.images[:, 0, 0, 0] == BRIGHT).sum()) == own
    of_others = made.inputs.floats()[made.images[:, 0, 0, 0] == DARK]
    if len(of_others):
        assert of_others.std().item() == pytest.approx(20 / 255, rel=0.1)


def test_the_others_are_damaged_anew_and_all_own_pairs_are_seen():
    levels = ImageSet(torch.arange(100, 110, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 3, 16, 16), "levels")
    both, source = Rehearsed(Pairs(levels, levels), OTHERS, 0.75), random()
    looks = [both.again(source) for _ in range(40)]
    assert not torch.equal(looks[0].inputs.floats()[-1], looks[1].inputs.floats()[-1])
    seen = {int(level) for look in looks for level in look.images[:, 0, 0, 0] if level != DARK}
    assert seen == set(range(100, 110))


def test_what_is_told_and_judged_is_of_the_own_pairs_alone():
    both = Rehearsed(OWN, OTHERS, 0.5)
    assert (len(both), both.inputs, both.targets, both.name) == (10, OWN.inputs, OWN.targets, OWN.name)
    assert len(both.select(torch.tensor([1, 2]))) == 2


def test_it_is_for_pairs_and_starts_of_known_damage():
    start, strategy = load_shipped("shipped:restorer"), Strategy(rehearsal=0.5)
    pairs, drawn = Task("restore", "pairs", OWN, None), Task("restore", "drawn", OTHERS, None)
    assert rehearsal_of(strategy, start, pairs) == 0.5
    assert rehearsal_of(strategy, None, pairs) == rehearsal_of(strategy, start, drawn) == 0.0
    assert rehearsed(drawn, start, Strategy(), 0) is drawn
    support = rehearsed(pairs, start, strategy, 0).support
    assert isinstance(support, Rehearsed)
    assert str(support.others.degradation) == str(parse(start.metadata["degradation"]))
    assert support.others.shape == OWN.shape
    with pytest.raises(LimnerError, match="leave it out"):
        rehearsed(drawn, start, strategy, 0)


def test_pairs_without_damage_are_told():
    (told,) = undamaged(OWN)
    assert "the very same as the clean ones" in told
    assert undamaged(Pairs(even(BRIGHT, 3), even(DARK, 3))) == undamaged(OTHERS) == []
