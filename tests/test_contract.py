"""Every learner passes the contract suite. A new learner adds one row to LEARNERS."""

import pytest

from limner.learners import CATALOGUE, create
from limner.testing import CHECKS, tiny_batch

LEARNERS = {
    "vae": ("vae", (1, 16, 16), {"latents": 3, "width": 4}, 0),
    "vae gaussian colour": ("vae", (3, 16, 16), {"latents": 3, "width": 4, "likelihood": "gaussian"}, 0),
    "vae importance": ("vae", (1, 16, 16), {"latents": 3, "width": 4, "objective": "importance"}, 0),
    "vae wasserstein logistic": (
        "vae",
        (1, 16, 16),
        {"latents": 3, "width": 4, "objective": "wasserstein", "likelihood": "logistic"},
        0,
    ),
    "vae classes flow": ("vae", (1, 16, 16), {"latents": 3, "width": 4, "classes": 2, "sampler": "flow"}, 2),
    "vae class prior": ("vae", (1, 16, 16), {"latents": 3, "width": 4, "prior": "class"}, 0),
    "gan": ("gan", (1, 16, 16), {"latents": 3, "width": 4}, 0),
    "classifier": ("classifier", (1, 16, 16), {"classes": 2, "features": 4, "width": 4}, 2),
    "classifier conv4": ("classifier", (1, 16, 16), {"classes": 2, "width": 4, "network": "conv4"}, 2),
    "prototypical": ("prototypical", (1, 16, 16), {"classes": 2, "width": 4}, 2),
    "pix2pix": ("pix2pix", (1, 16, 16), {"input_channels": 3, "width": 4}, 0),
    "pix2pix residual": ("pix2pix", (1, 16, 16), {"input_channels": 1, "width": 2, "network": "residual"}, 0),
    "cycle": ("cycle", (1, 16, 16), {"input_channels": 1, "width": 4, "network": "unet"}, 0),
    "regressor": ("regressor", (1, 4, 4), {"width": 5}, 2),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("row", LEARNERS)
def test_contract(row, check):
    kind, image_shape, options, classes = LEARNERS[row]
    batch = tiny_batch(image_shape, classes, input_channels=options.get("input_channels", 0))
    check(create(kind, image_shape, **options), batch)


def test_every_learner_of_the_catalogue_is_tested():
    assert set(CATALOGUE) == {kind for kind, *_ in LEARNERS.values()}
