"""Few-shot clustering: images of classes never seen, sorted without any label, by features that were meta-learned."""

from __future__ import annotations

import torch

from limner.errors import LimnerError
from limner.learners import Learner
from limner.seeds import generator
from limner.tasks import NWayFamily
from limner.types import Params, Request


def clustering(
    learner: Learner | None,
    params: Params,
    family: NWayFamily,
    split: str = "test",
    *,
    tasks: int = 100,
    seed: int = 0,
) -> list[float]:
    """For each of ``tasks`` tasks the adjusted Rand index (Hubert & Arabie 1985) of k-means on its images' features.

    Support and query images of ``family.ways`` classes are put together without labels, k-means with as many clusters
    sorts them, and the index says how well the clusters of the query images are the classes: 1 is right, 0 is chance.
    Without a learner the features are the pixels. The same tasks for the same seed.

    Raises :class:`LimnerError` for a learner that has no features.

    >>> from limner.tasks import ImageSet
    >>> pictures = (torch.arange(60) // 4 * 16).to(torch.uint8)[:, None, None, None].expand(60, 1, 16, 16)
    >>> plain = ImageSet(pictures, "plain", torch.arange(60) // 4, tuple("abcdefghijklmno"))
    >>> clustering(None, {}, NWayFamily(plain, 2, 1, 3, fractions=(0.5, 0.2, 0.3), goal="cluster"), tasks=2)
    [1.0, 1.0]
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    if learner is not None and "features" not in learner.answers:
        raise LimnerError(f"a {learner.kind} has no features to sort images by; give a prototypical network or a VAE")
    found = []
    for index in range(tasks):
        task = family.task(split, index % family.size(split), seed=seed + index)
        if task.query is None or task.query.labels is None:
            raise LimnerError(f"{family.spec} gives tasks without labelled queries; nothing can judge the clusters")
        images = torch.cat([task.query.floats(), task.support.floats()])
        if learner is None:
            features = images.flatten(1)
        else:
            features = learner.predict(params, Request("features", images=images), generator(seed))
        clusters = KMeans(family.ways, n_init=10, random_state=seed).fit_predict(features.flatten(1).numpy())
        found.append(float(adjusted_rand_score(task.query.labels.numpy(), clusters[: len(task.query)])))
    return found
