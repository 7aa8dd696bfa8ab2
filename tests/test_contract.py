"""Every learner passes the contract suite. A new learner adds one row to LEARNERS."""

import pytest

from limner.learners import CATALOGUE, create
from limner.testing import CHECKS, tiny_batch

POINTS = {"latents": 2, "width": 1, "network": "mlp"}
TWO_DOMAINS = {"classes": 2, "source_classes": 2, "features": 4, "width": 4}

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
    "gan non-saturating mlp": ("gan", (1, 1, 2), {**POINTS, "objective": "non-saturating"}, 0),
    "gan minimax concatenation": (
        "gan",
        (1, 1, 2),
        {**POINTS, "objective": "minimax", "conditioning": "concatenation", "classes": 2},
        2,
    ),
    "gan least-squares lecam": ("gan", (1, 1, 2), {**POINTS, "objective": "least-squares", "lecam": 0.3}, 0),
    "gan wasserstein-penalty": ("gan", (1, 1, 2), {**POINTS, "objective": "wasserstein-penalty"}, 0),
    "gan wasserstein-clipping": ("gan", (1, 1, 2), {**POINTS, "objective": "wasserstein-clipping"}, 0),
    "gan residual projection augmented": (
        "gan",
        (1, 16, 16),
        {
            "latents": 3,
            "width": 2,
            "network": "residual",
            "conditioning": "projection",
            "classes": 2,
            "augment": "colour+translation+cutout",
        },
        2,
    ),
    "gan hinge style auxiliary": (
        "gan",
        (3, 16, 16),
        {
            "latents": 3,
            "width": 2,
            "objective": "hinge",
            "network": "style",
            "conditioning": "auxiliary",
            "classes": 2,
        },
        2,
    ),
    "vae-gan": ("vae-gan", (1, 16, 16), {"latents": 2, "width": 2}, 0),
    "vae-gan classes": ("vae-gan", (1, 16, 16), {"latents": 2, "width": 2, "classes": 2}, 2),
    "vq-vae classes": (
        "vq-vae",
        (1, 16, 16),
        {"codes": 5, "code_size": 3, "width": 2, "prior_width": 2, "classes": 2},
        2,
    ),
    "flow classes": ("flow", (1, 16, 16), {"width": 2, "integration_steps": 2, "classes": 2}, 2),
    "imle": ("imle", (1, 16, 16), {"latents": 3, "width": 4, "pool": 6}, 0),
    "imle mlp plain": ("imle", (1, 1, 2), {**POINTS, "pool": 6, "radius": 0.0}, 0),
    "set-vae attention": ("set-vae", (1, 16, 16), {"latents": 2, "width": 2, "code": 4, "pooling": "attention"}, 0),
    "set-vae mean colour": ("set-vae", (3, 16, 16), {"latents": 2, "width": 2, "code": 3, "pooling": "mean"}, 0),
    "set-flow attention": ("set-flow", (1, 16, 16), {"width": 2, "code": 4, "integration_steps": 2}, 0),
    "classifier": ("classifier", (1, 16, 16), {"classes": 2, "features": 4, "width": 4}, 2),
    "classifier conv4": ("classifier", (1, 16, 16), {"classes": 2, "width": 4, "network": "conv4"}, 2),
    "prototypical": ("prototypical", (1, 16, 16), {"classes": 2, "width": 4}, 2),
    "pix2pix": ("pix2pix", (1, 16, 16), {"input_channels": 3, "width": 2, "fidelity": 1.0}, 0),
    "cycle": ("cycle", (1, 16, 16), {"input_channels": 1, "width": 1, "network": "unet", "fidelity": 1.0}, 0),
    "restorer": ("restorer", (1, 16, 16), {"width": 3, "depth": 3}, 0),
    "restorer drunet": ("restorer", (1, 16, 16), {"network": "drunet", "width": 2, "depth": 5}, 0),
    "restorer that fills": ("restorer", (1, 16, 16), {"network": "drunet", "width": 2, "depth": 5, "lost": 0.5}, 0),
    "restorer ffdnet": ("restorer", (1, 16, 16), {"network": "ffdnet", "width": 3, "depth": 3, "loss": "l1"}, 0),
    "restorer unet": ("restorer", (3, 16, 16), {"network": "unet", "width": 2, "depth": 5, "loss": "charbonnier"}, 0),
    "restorer nafnet": ("restorer", (1, 16, 16), {"network": "nafnet", "width": 2, "depth": 5}, 0),
    "restorer with a head": ("restorer", (1, 16, 16), {"width": 3, "depth": 3, "head": 3, "maps": 2}, 0),
    "restorer alone": ("restorer", (1, 16, 16), {"width": 3, "depth": 3}, 0),
    "restorer alone ffdnet": ("restorer", (1, 16, 16), {"network": "ffdnet", "width": 3, "depth": 3, "loss": "l1"}, 0),
    "regressor": ("regressor", (1, 4, 4), {"width": 5}, 2),
    "two-domains adversarial": (
        "two-domains",
        (1, 16, 16),
        TWO_DOMAINS | {"alignment": "adversarial", "schedule": "constant", "balance": "learned"},
        4,
    ),
    "two-domains correlation shared": (
        "two-domains",
        (1, 16, 16),
        TWO_DOMAINS | {"alignment": "correlation", "schedule": "constant", "heads": "shared"},
        4,
    ),
    "two-domains kernel": (
        "two-domains",
        (1, 16, 16),
        TWO_DOMAINS | {"alignment": "kernel", "schedule": "constant", "target": 0.5},
        4,
    ),
    "two-domains rising": ("two-domains", (1, 16, 16), TWO_DOMAINS | {"balance": "rising", "steps": 2}, 4),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("row", LEARNERS)
def test_contract(row, check):
    kind, image_shape, options, classes = LEARNERS[row]
    inputs = image_shape[0] if kind == "restorer" else options.get("input_channels", 0)
    batch = tiny_batch(image_shape, classes, input_channels=inputs)
    if "alone" in row:
        batch = {"inputs": batch["inputs"]}
    check(create(kind, image_shape, **options), batch)


def test_every_learner_of_the_catalogue_is_tested():
    assert set(CATALOGUE) == {kind for kind, *_ in LEARNERS.values()}
