"""What a table looks like in a few numbers, so that tasks over tables can be compared as those over images are.

The statistics are the simple and informative ones of Rivolli et al. 2022, "Meta-features for meta-learning".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from limner.memory.fingerprints import Fingerprint
from limner.tasks.tables import Table


def table_fingerprint(table: Table) -> Fingerprint:
    """The fingerprint of the rows to learn from, in one group, ``table``.

    Logarithms of the numbers of rows, columns and classes; how uneven the classes are (1 − entropy / log classes); the
    share of cells that are missing; means over columns of |skewness|, of whether all is whole numbers, of |correlation|
    with the other columns, and of the share of variance that the target tells (η² of classes, r² of numbers).

    >>> rows = torch.arange(8.0).double()
    >>> told = table_fingerprint(Table(rows[:, None], "line", values=rows)).statistics["table"]
    >>> told["rows"], round(told["told"], 9), told["whole"]
    (3.0, 1.0, 1.0)
    """
    missing = table.inputs.isnan()
    inputs = torch.where(missing, table.inputs.nanmedian(0).values.nan_to_num(), table.inputs)
    centred = inputs - inputs.mean(0)
    deviation = centred.square().mean(0).sqrt()
    varied = deviation > 1e-12
    units = centred[:, varied] / deviation[varied]
    classes = 0 if table.labels is None else len(table.class_names)
    statistics = {
        "rows": math.log2(len(table)),
        "columns": math.log2(inputs.shape[1]),
        "classes": math.log2(1 + classes),
        "uneven": 0.0 if table.labels is None else _uneven(table.labels, classes),
        "missing": missing.double().mean().item(),
        "skewness": _mean(units.pow(3).mean(0).abs().clamp(max=10.0)),
        "whole": (inputs == inputs.round()).all(0).double().mean().item(),
        "correlation": _correlation(units),
        "told": _mean(_told(units, table)),
    }
    return Fingerprint({"table": statistics})


def _mean(values: Tensor) -> float:
    return values.mean().item() if len(values) else 0.0


def _uneven(labels: Tensor, classes: int) -> float:
    shares = torch.bincount(labels, minlength=classes).double() / len(labels)
    entropy = -(shares * shares.clamp(min=1e-12).log()).sum().item()
    return 1.0 - entropy / math.log(classes) if classes > 1 else 0.0


def _correlation(units: Tensor) -> float:
    """Mean absolute correlation of different columns, of the first hundred of them."""
    few = units[:, :100]
    count = few.shape[1]
    if count < 2:
        return 0.0
    products = (few.T @ few / len(few)).abs()
    return float((products.sum() - products.diagonal().sum()) / (count * (count - 1)))


def _told(units: Tensor, table: Table) -> Tensor:
    """For each column the share of its variance that the target tells: η² of classes, r² of numbers."""
    if table.values is not None and table.labels is None:
        target = table.values - table.values.mean()
        target = target / target.square().mean().sqrt().clamp(min=1e-12)
        return (units * target[:, None]).mean(0).square()
    if table.labels is None:
        return torch.zeros(units.shape[1])
    between = torch.zeros(units.shape[1]).double()
    for label in range(len(table.class_names)):
        of_class = units[table.labels == label]
        if len(of_class):
            between += len(of_class) / len(units) * of_class.mean(0).square()
    return between
