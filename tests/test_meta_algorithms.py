"""The algorithms against known answers: prototypes, learned step sizes, several steps, implicit gradients."""

from dataclasses import replace

import pytest
import torch

from limner.errors import LimnerError
from limner.learners import create
from limner.meta import Episode, MetaPlan, adapt, choose, mean_gradient, meta_gradient
from limner.meta.checks import check_twice
from limner.meta.inner import head_of, with_rates
from limner.model_file import RATES
from limner.testing import tiny_batch
from limner.types import Loss

SHAPE = (1, 16, 16)


class Bowl:
    """Loss ½ (w − mean(x))ᵀ A (w − mean(x)) with A = diag(1, 4): every algorithm's meta-gradient is known."""

    kind, players, answers, image_shape, options = "bowl", ("net",), (), SHAPE, {}
    curvature = torch.tensor([1.0, 4.0], dtype=torch.float64)

    def init(self, seed):
        return {"net.w": torch.tensor([0.5, -1.0], dtype=torch.float64)}

    def draw(self, batch, generator):
        return {}

    def loss(self, player, params, batch, draws):
        gap = params["net.w"] - batch["images"].mean()
        return Loss(0.5 * (self.curvature * gap * gap).sum(), {})


def bowl_episode(steps):
    support, query = torch.full((2, *SHAPE), 0.3).double(), torch.full((2, *SHAPE), 0.8).double()
    return Episode({"images": torch.stack([support] * steps)}, {}, {"images": query}, {})


SUPPORT, QUERY = 0.3, 0.8


def plan(algorithm, **changes):
    return MetaPlan(algorithm=algorithm, inner_optimiser="sgd", **{"inner_rate": 0.1, "inner_steps": 3} | changes)


@pytest.mark.parametrize("functional", [False, True])
def test_meta_sgd_learns_each_step_size_by_the_known_gradient(functional):
    learner = Bowl()
    start = with_rates(learner, plan("meta-sgd"), learner.init(0))
    start[RATES + "net.w"] = torch.tensor([0.7, 1.2], dtype=torch.float64)
    found = meta_gradient(learner, plan("meta-sgd"), start, bowl_episode(3), functional=functional).gradient
    # w' − s = (1 − αrA)³ (w − s), so dL/dw = A (w' − q) (1 − αrA)³ and dL/dα = A (w' − q) · 3 (1 − αrA)² (−rA) (w − s)
    shrink = 1 - start[RATES + "net.w"] * 0.1 * learner.curvature
    pull = learner.curvature * (SUPPORT + shrink**3 * (start["net.w"] - SUPPORT) - QUERY)
    assert torch.allclose(found["net.w"], pull * shrink**3)
    expected = pull * 3 * shrink**2 * (-0.1 * learner.curvature) * (start["net.w"] - SUPPORT)
    assert torch.allclose(found[RATES + "net.w"], expected)


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("progress", [0.0, 0.1, 1.0])
def test_maml_plus_plus_weighs_the_losses_after_every_step(functional, progress):
    learner, weighed = Bowl(), plan("maml++", multi_step_until=0.2)
    start = with_rates(learner, weighed, learner.init(0))
    found = meta_gradient(learner, weighed, start, bowl_episode(3), functional=functional, progress=progress).gradient
    shrink, gap = 1 - 0.1 * learner.curvature, start["net.w"] - SUPPORT
    expected = sum(
        weight * learner.curvature * (SUPPORT + shrink**step * gap - QUERY) * shrink**step
        for step, weight in enumerate(weighed.step_weights(progress), 1)
    )
    assert torch.allclose(found["net.w"], expected)
    assert found[RATES + "net.w"].shape == (3,)
    again = replace(weighed, recompute=True)
    recomputed = meta_gradient(learner, again, start, bowl_episode(3), progress=progress).gradient
    for name, value in found.items():
        assert torch.allclose(recomputed[name], value), name


def test_implicit_gradient_is_that_of_unrolled_maml_at_convergence():
    """With the proximal term both differentiate w*(θ) = argmin ½A(w − s)² + λ/2 (w − θ)²: dw*/dθ = λ / (A + λ)."""
    learner, proximal = Bowl(), 2.0
    start = learner.init(0)
    near = plan("imaml", proximal=proximal, conjugate_steps=2, inner_steps=400)
    found = meta_gradient(learner, near, start, bowl_episode(400)).gradient["net.w"]
    share = proximal / (learner.curvature + proximal)
    end = (learner.curvature * SUPPORT + proximal * start["net.w"]) / (learner.curvature + proximal)
    assert torch.allclose(found, share * learner.curvature * (end - QUERY), rtol=1e-9)

    class Anchored(Bowl):
        """The same inner loss, written out, for the unrolled gradient to go through."""

        def loss(self, player, params, batch, draws):
            pull = 0.5 * proximal * (params["net.w"] - params["net.start"]).square().sum() if "pull" in draws else 0.0
            return Loss(super().loss(player, params, batch, draws).value + pull, {})

    unrolled = Anchored()
    task = bowl_episode(400)._replace(inner_draws={"pull": torch.zeros(400)})
    theta = start["net.w"].clone().requires_grad_()
    w = theta
    for _ in range(400):
        loss = unrolled.loss("net", {"net.w": w, "net.start": theta}, {"images": task.inner["images"][0]}, {"pull": 0})
        w = w - 0.1 * torch.autograd.grad(loss.value, w, create_graph=True)[0]
    query = unrolled.loss("net", {"net.w": w}, task.query, {})
    assert torch.allclose(torch.autograd.grad(query.value, theta)[0], found, rtol=1e-6)


@pytest.mark.parametrize(("algorithm", "heads_move", "bodies_move"), [("anil", True, False), ("boil", False, True)])
@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_only_the_head_or_only_the_body_adapts(kind, algorithm, heads_move, bodies_move):
    learner, batch = create(kind, SHAPE, latents=2, width=4), tiny_batch(SHAPE)
    start, random = learner.init(0), torch.Generator().manual_seed(0)
    draws = {name: value[None] for name, value in learner.draw(batch, random).items()}
    episode = Episode({"images": batch["images"][None]}, draws, batch, learner.draw(batch, random))
    adapted = adapt(learner, plan(algorithm, inner_steps=1), start, episode)
    heads = head_of(learner, start)
    assert len(heads) == len(learner.players)
    for name, value in start.items():
        moves = heads_move if name.startswith(heads) else bodies_move
        if not moves:
            assert torch.equal(adapted[name], value), name
    assert any(not torch.equal(adapted[name], value) for name, value in start.items() if name.startswith(heads)) == (
        heads_move
    )


def test_prototypes_are_class_means_and_the_loss_that_of_snell():
    learner = create("prototypical", SHAPE, classes=3, width=4, normalisation="group")
    params = learner.init(0)
    support = {"images": torch.rand(6, *SHAPE), "labels": torch.tensor([0, 1, 0, 1, 1, 0])}
    fitted = learner.finish(params, support, torch.Generator())
    from limner.types import Request

    features = learner.predict(params, Request("features", images=support["images"]), torch.Generator())
    for label in (0, 1):
        expected = features[support["labels"] == label].mean(0)
        assert torch.allclose(fitted["fitted.prototypes"][label], expected, atol=1e-6)
    query = torch.rand(4, *SHAPE)
    logits = learner.predict(fitted, Request("logits", images=query), torch.Generator())
    assert set(logits.argmax(1).tolist()) <= {0, 1}, "a class without images was chosen"
    found = learner.predict(params, Request("features", images=query), torch.Generator())
    expected = -((found[:, None] - fitted["fitted.prototypes"][None, :2]) ** 2).sum(2)
    assert torch.allclose(logits[:, :2], expected, atol=1e-4)


def test_each_image_is_judged_by_prototypes_of_the_others():
    learner = create("prototypical", SHAPE, classes=2, width=4, normalisation="group")
    params = learner.init(0)
    batch = {"images": torch.rand(5, *SHAPE), "labels": torch.tensor([0, 0, 1, 1, 1])}
    total = 0.0
    for index in range(5):
        others = torch.arange(5) != index
        rest = {name: value[others] for name, value in batch.items()}
        fitted = learner.finish(params, rest, torch.Generator())
        one = {name: value[index : index + 1] for name, value in batch.items()}
        total += float(learner.loss("net", fitted, one, {}).value) / 5
    assert float(learner.loss("net", params, batch, {}).value) == pytest.approx(total, rel=1e-5)


def test_first_order_reaches_learned_step_sizes_too():
    learner = Bowl()
    first = plan("meta-sgd", first_order=True, inner_steps=1)
    start = with_rates(learner, first, learner.init(0))
    found = meta_gradient(learner, first, start, bowl_episode(1)).gradient
    gap = start["net.w"] - SUPPORT
    pull = learner.curvature * (SUPPORT + (1 - 0.1 * learner.curvature) * gap - QUERY)
    assert torch.allclose(found["net.w"], pull), "first order takes the inner gradient for a constant"
    assert torch.allclose(found[RATES + "net.w"], pull * -0.1 * learner.curvature * gap)


def test_derivative_order_is_annealed():
    annealed = plan("maml", second_order_from=0.5)
    learner, start, task = Bowl(), Bowl().init(0), bowl_episode(3)
    early = meta_gradient(learner, annealed, start, task, progress=0.2).gradient["net.w"]
    late = meta_gradient(learner, annealed, start, task, progress=0.7).gradient["net.w"]
    assert torch.equal(early, meta_gradient(learner, plan("fomaml"), start, task).gradient["net.w"])
    assert torch.equal(late, meta_gradient(learner, plan("maml"), start, task).gradient["net.w"])


def test_chunks_of_vmap_and_threads_change_nothing():
    learner, start = create("gan", SHAPE, latents=2, width=4), None
    start, batch, random = learner.init(0), tiny_batch(SHAPE), torch.Generator().manual_seed(0)
    episodes = []
    for _ in range(5):
        draws = {name: value[None] for name, value in learner.draw(batch, random).items()}
        episodes.append(Episode({"images": batch["images"][None]}, draws, batch, learner.draw(batch, random)))
    once = plan("fomaml", inner_steps=1, inner_rate=1e-3)
    loop = mean_gradient(learner, once, start, episodes, "loop")
    for other in (
        mean_gradient(learner, once, start, episodes, "threads"),
        mean_gradient(learner, replace(once, chunk=2), start, episodes, "vmap"),
    ):
        for name, value in loop.gradient.items():
            assert torch.allclose(other.gradient[name], value, rtol=1e-3, atol=1e-6), name
        for player, loss in loop.losses.items():
            assert torch.allclose(other.losses[player], loss, rtol=1e-4)
    told = choose(learner, once, start, episodes)
    assert told.execution in told.milliseconds
    assert "gone through by" in str(told)


def test_a_loss_that_cannot_be_differentiated_twice_is_told():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(context, value):
            context.save_for_backward(value)
            return value.square()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(context, gradient):
            (value,) = context.saved_tensors
            return 2 * value * gradient

    class Blocked(Bowl):
        def loss(self, player, params, batch, draws):
            return Loss(Once.apply(params["net.w"] - batch["images"].mean()).sum(), {})

    with pytest.raises(LimnerError, match=r"no second derivative though its gradient changes .Once hides it"):
        check_twice(Blocked(), plan("maml"), Bowl().init(0), bowl_episode(3))
    check_twice(Blocked(), plan("fomaml"), Bowl().init(0), bowl_episode(3))
    check_twice(Bowl(), plan("maml"), Bowl().init(0), bowl_episode(3))


def test_an_operation_that_refuses_second_derivatives_is_named():
    class Blocked(Bowl):
        def loss(self, player, params, batch, draws):
            gap = (params["net.w"] - batch["images"].mean())[:, None]
            return Loss(torch.cdist(gap, gap + 1, p=3).sum(), {})

    with pytest.raises(LimnerError, match=r"cannot be differentiated twice .*_cdist_backward"):
        meta_gradient(Blocked(), plan("maml"), Bowl().init(0), bowl_episode(3))
