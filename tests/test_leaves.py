"""Built-in leaves: the same for the same seed, scenes unlike each other, statistics of things that hide others."""

import torch

from limner.tasks import load


def test_leaves_are_the_same_for_the_same_seed_and_their_scenes_for_any_number_of_them():
    few, many = load("leaves,kinds=2,per_class=3,size=16"), load("leaves,kinds=4,per_class=3,size=16")
    assert few.shape == (3, 16, 16)
    assert few.class_names == ("scene 1", "scene 2")
    assert torch.equal(few.images, many.images[:6])
    assert not torch.equal(few.images, load("leaves,kinds=2,per_class=3,size=16,seed=1").images)


def test_scenes_are_more_unlike_each_other_than_patches_of_one():
    images = load("leaves,kinds=20,per_class=6,size=16").floats().view(20, 6, 3, -1).mean(3)
    within = images.var(1).mean()
    between = images.mean(1).var(0).mean()
    assert between > within


def test_neighbouring_pixels_are_alike_and_edges_are_sharp():
    grey = load("leaves,kinds=40,per_class=2,size=32,colour=grey").floats()
    steps = (grey[..., 1:] - grey[..., :-1]).flatten()
    kurtosis = steps.pow(4).mean() / steps.square().mean() ** 2
    assert steps.var() < grey.var()
    assert kurtosis > 6  # of a normal distribution 3: most steps are small, and some are edges
