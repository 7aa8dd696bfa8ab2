"""Tiles: they equal the whole where a restorer tells its reach, and show no seam where it does not."""

import pytest
import torch
from torch.nn import functional

from limner.degradations import Convolution, parse
from limner.degradations.base import shape_of
from limner.errors import LimnerError
from limner.restoration import Knowledge, tiles
from limner.seeds import generator


class Network:
    """Three convolutions with a rectifier between: it looks 3 pixels far."""

    name = "network"
    reach = 3

    def __init__(self, channels=1):
        random = torch.Generator().manual_seed(0)
        sizes = [(4, channels, 3, 3), (4, 4, 3, 3), (channels, 4, 3, 3)]
        self.kernels = [torch.randn(size, generator=random) / 4 for size in sizes]
        self.largest = 0

    def handles(self, knowledge):
        return ""

    def restore(self, images, knowledge, generator):
        self.largest = max(self.largest, images.shape[2] * images.shape[3])
        for place, kernel in enumerate(self.kernels):
            images = functional.conv2d(images if place == 0 else images.relu(), kernel, padding=1)
        return images


class Offset:
    """Adds a number of each tile's own: what a seam would show most."""

    name = "offset"

    def handles(self, knowledge):
        return ""

    def restore(self, images, knowledge, generator):
        return images + torch.rand((), generator=generator)


class Back:
    """Aᵀ M y: what the knowledge says of a part must fit it."""

    name = "back"
    reach = 12

    def handles(self, knowledge):
        return ""

    def restore(self, images, knowledge, generator):
        return knowledge.linear(shape_of(images)).adjoint(images)


@pytest.mark.parametrize("size", [(97, 130), (64, 65), (40, 200)])
@pytest.mark.parametrize("tile", [48, 58])
def test_tiles_equal_the_whole_where_the_reach_is_told(size, tile):
    images = torch.rand(1, 3, *size, generator=generator(0, "image"))
    network = Network(3)
    whole = network.restore(images, Knowledge(), generator(0))
    network.largest, done = 0, []
    made = tiles.restore(network, images, Knowledge(), generator(0), tile=tile, on_tile=lambda: done.append(1))
    assert (made - whole).abs().max() < 1e-5
    assert network.largest <= tile**2
    assert len(done) == tiles.count_of(network, images, Knowledge(), tile) > 1


def test_a_smaller_reach_than_the_real_one_would_be_noticed():
    images = torch.rand(1, 1, 97, 130, generator=generator(0, "image"))
    network = Network()
    whole = network.restore(images, Knowledge(), generator(0))
    network.reach = 0
    assert (tiles.restore(network, images, Knowledge(), generator(0), tile=48) - whole).abs().max() > 1e-2


@pytest.mark.parametrize(("margin", "shared"), [(0, 0), (5, 0), (5, 8), (32, 32)])
def test_weights_add_up_to_one(margin, shared):
    for length in range(1, 700, 23):
        total = torch.zeros(length, dtype=torch.float64)
        for span in tiles.spans(length, 128, margin, shared):
            assert span.stop - span.start == len(span.weights) <= 128
            total[span.start : span.stop] += span.weights
            if span.start > 0:
                assert float(span.weights[:margin].sum()) == 0
        assert torch.allclose(total, torch.ones_like(total), atol=1e-12)


def test_no_seam_where_tiles_disagree():
    made = tiles.restore(Offset(), torch.zeros(1, 1, 400, 500), Knowledge(), generator(0), tile=160)
    assert made.max() - made.min() > 0.1
    for axis in (2, 3):
        assert made.diff(dim=axis).abs().max() < 0.06  # a hard seam would be as high as tiles differ
    again = tiles.restore(Offset(), torch.zeros(1, 1, 400, 500), Knowledge(), generator(0), tile=160)
    assert torch.equal(made, again)


@pytest.mark.parametrize("text", ["missing(0.4)", "downsample(2)", "blur(defocus,radius=2)+missing(0.5)"])
def test_knowledge_of_a_part_is_that_of_the_whole(text):
    degradation = parse(text)
    shape = (1, 1, 151, 90)
    parameters = degradation.sample(shape, generator(0))
    knowledge = Knowledge.of(degradation, parameters, shape)
    damaged = torch.rand(degradation.shape_after(shape), generator=generator(1))
    whole = Back().restore(damaged, knowledge, generator(0))
    made = tiles.restore(Back(), damaged, knowledge, generator(0), tile=72)
    assert made.shape == whole.shape == shape
    assert torch.allclose(made, whole, atol=1e-5)


def test_mistakes():
    images = torch.zeros(1, 1, 99, 99)
    network = Network()
    network.reach = 30
    with pytest.raises(LimnerError, match=r"a tile of 64 pixels is too small.*--tile 96 or more"):
        tiles.restore(network, images, Knowledge(), generator(0), tile=64)
    assert tiles.restore(network, images, Knowledge(), generator(0), tile=0).shape == images.shape
    around = Convolution(torch.ones(1, 3, 3) / 9, (1, 1, 99, 99), "circular")
    with pytest.raises(LimnerError, match="--tile 0"):
        tiles.restore(Network(), images, Knowledge(operator=around), generator(0), tile=64)
