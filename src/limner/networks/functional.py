"""Modules as pure functions of named parameters."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from limner.errors import LimnerError
from limner.seeds import derive
from limner.types import Params


class Template:
    """A module used as a template: its weights come from outside at every call.

    ``prefix`` names the player that owns them. ``build`` makes the module anew, so that fresh parameters can be drawn.

    >>> template = Template("net", lambda: torch.nn.Linear(2, 1))
    >>> params = template.init(seed=0)
    >>> sorted(params), template(params, torch.ones(3, 2)).shape
    (['net.bias', 'net.weight'], torch.Size([3, 1]))
    """

    def __init__(self, prefix: str, build: Any) -> None:
        self.prefix = prefix
        self._build = build
        self._own = threading.local()
        _refuse_hidden_state(self._empty().module)

    def _empty(self) -> _Empty:
        """The module without weights; each thread has its own, for a call puts weights into it for its duration."""
        if not hasattr(self._own, "empty"):
            with _Undrawn():  # on the meta device from the start, the first sum would have torch import sympy: seconds
                self._own.empty = _Empty(self._build().to("meta"))
        found: _Empty = self._own.empty
        return found

    def init(self, seed: int) -> Params:
        """Fresh parameters, the same for the same seed; the global random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "init", self.prefix))
            module = self._build()
        return {f"{self.prefix}.{name}": value.detach() for name, value in module.named_parameters()}

    def __call__(self, params: Params, *inputs: Any, method: str | None = None) -> Any:
        """The module's ``forward`` (or another ``method``) with the weights ``prefix.*`` of ``params``."""
        empty = self._empty()
        try:
            for name, own, attribute in empty.places:
                own[attribute] = params[f"{self.prefix}.{name}"]
            return (empty.module if method is None else getattr(empty.module, method))(*inputs)
        finally:
            for (_, own, attribute), value in zip(empty.places, empty.values, strict=True):
                own[attribute] = value


class _Undrawn(TorchFunctionMode):
    """Weights are not drawn, but left as they lie in memory: those of a template are never used."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_) or getattr(func, "__module__", "") == nn.init.__name__:
            return named["tensor"] if "tensor" in named else args[0]
        return (torch.empty if func in (torch.randn, torch.rand) else func)(*args, **named)


class _Empty:
    """A module on the meta device, and every place in it where a weight belongs (one that is shared has several).

    What ``torch.func.functional_call`` does, with the places looked up once instead of at each call.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        names: dict[int, str] = {}
        self.places: list[tuple[str, dict[str, Any], str]] = []
        self.values: list[nn.Parameter] = []
        for name, value in module.named_parameters(remove_duplicate=False):
            layer, _, attribute = name.rpartition(".")
            known = names.setdefault(id(value), name)
            self.places.append((known, module.get_submodule(layer)._parameters, attribute))
            self.values.append(value)


def _refuse_hidden_state(module: nn.Module) -> None:
    """Raises :class:`LimnerError` for layers whose output depends on more than weights and inputs."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats:
            raise LimnerError(
                f"the layer {name} ({type(layer).__name__}) keeps running statistics, which a pure function cannot; "
                "use GroupNorm, or track_running_stats=False for the statistics of the batch at hand"
            )
        if isinstance(layer, nn.modules.dropout._DropoutNd | nn.RReLU):
            raise LimnerError(
                f"the layer {name} ({type(layer).__name__}) draws random numbers of its own; draw them in the "
                "learner's draw() and multiply by them in the forward pass"
            )
