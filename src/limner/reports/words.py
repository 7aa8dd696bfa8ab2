"""Numbers, scores and strategies in plain words, for people who meet them for the first time."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from limner.config import ENDLESS, Strategy
from limner.tasks.pair_spec import PAIRED, UNPAIRED
from limner.tasks.restoration import ALONE, UNDER
from limner.types import METRICS, Cost, Score, Scores

MEANINGS = METRICS | {
    "accuracy": ("higher", "share of what was held back that is put in its own class"),
    "r2": ("higher", "share of the variance of held-out numbers that is foretold; 1 = exact, 0 = as their mean"),
    "rmse": ("lower", "root of the mean squared error of held-out numbers"),
    "adjusted_rand": ("higher", "how well clusters are the classes; 1 = the same, 0 = chance"),
}
ARROWS = {"higher": "↑ higher", "lower": "↓ lower", "near real": "≈ as real", "near one": "≈ 1"}
LEARNERS = {
    "vae": "a variational autoencoder", "gan": "a generative adversarial network", "classifier": "a classifier",
    "vae-gan": "a variational autoencoder with a critic (VAE-GAN)",
    "vq-vae": "an autoencoder with a codebook (VQ-VAE)", "flow": "a flow learned by flow matching",
    "imle": "a generator learned by implicit maximum likelihood (IMLE)",
    "set-vae": "a variational autoencoder that reads a set of images",
    "set-flow": "a flow that reads a set of images",
    "prototypical": "a prototypical network",
    "restorer": "a restorer",
    "pix2pix": "a translator learned from pairs (pix2pix)", "cycle": "a translator learned without pairs (CycleGAN)",
}  # fmt: skip
OPTIMISERS = {"adam": "Adam", "sgd": "gradient descent", "momentum": "gradient descent with momentum"}


def sentence(text: str) -> str:
    """Words that follow a colon, or stand in a list, as a sentence of their own.

    >>> sentence("two images are copies; give others")
    'Two images are copies; give others.'
    """
    return text[:1].upper() + text[1:].removesuffix(".") + "."


def label(name: str) -> str:
    """A value's name as a reader sees it.

    >>> label("frechet_distance"), label("net query loss")
    ('Fréchet distance', 'Net query loss')
    """
    text = name.replace("_", " ").replace("frechet", "Fréchet").replace("psnr", "PSNR").replace("ssim", "SSIM").strip()
    return text[:1].upper() + text[1:]


def title(task_name: str) -> str:
    """A task's name without the folders and options of its data spec, of either of two sides.

    >>> title("npz:data/omniglot.npz,images=x,labels=char, class 'omega', 5 shots")
    "omniglot.npz, class 'omega', 5 shots"
    >>> title("folder:my images/cats, 10 shots"), title("glyphs,script=greek,size=28, 5 shots")
    ('cats, 10 shots', 'glyphs (script greek), 5 shots')
    >>> title("folder:my/noisy => zip:clean.zip,size=64, 8 images"), title("folder:my/a under missing(0.5), 1 image")
    ('noisy => clean.zip, 8 images', 'a under missing(0.5), 1 image')
    """
    spec, comma, rest = task_name.partition(", ")
    return _each_side(_short, spec) + comma + rest


def without_folders(spec: str) -> str:
    """A data spec that names its files, but not the folders they lie in.

    >>> without_folders("npz:/home/me/data/omniglot.npz,images=x"), without_folders("glyphs,script=greek")
    ('npz:omniglot.npz,images=x', 'glyphs,script=greek')
    >>> without_folders("folder:/home/me/noisy,size=64 => folder:/home/me/clean")
    'folder:noisy,size=64 => folder:clean'
    """
    return _each_side(_bare, spec)


_DAMAGE = re.compile(rf"(?P<data>.*?)(?P<alone>{ALONE})?(?:{UNDER}(?P<damage>[\w+]+(?:\(.*)?))?")
"""A data spec to restore by, taken apart."""


def _each_side(of_one: Callable[[str], str], spec: str) -> str:
    """What ``of_one`` makes of each side of a spec, with the same between them; a degradation loses its folders."""
    found = _DAMAGE.fullmatch(spec)
    data, alone, damage = (spec, None, None) if found is None else found.group("data", "alone", "damage")
    arrow = UNPAIRED if UNPAIRED in data else PAIRED
    told = "" if damage is None else UNDER + re.sub(r"(path=[\"']?)[^\"',)]*/", r"\1", damage)
    return arrow.join(map(of_one, data.split(arrow))) + (alone or "") + told


def _short(spec: str) -> str:
    where = re.sub(r"(,\w+=[^,]*)+$", "", spec)
    chosen = [f"{name} {value}" for name, value in re.findall(r",(\w+)=([^,]*)", spec) if name in ("classes", "script")]
    path = re.match(r"(?:(?:folder|zip|npz|idx|hf):|(?=[/.~]))(.*)", where)
    name = where if path is None else path[1].rstrip("/").rsplit("/", 1)[-1] or spec
    return name + (f" ({', '.join(chosen)})" if chosen else "")


def _bare(spec: str) -> str:
    path, comma, options = spec.partition(",")
    kind, colon, place = path.rpartition(":")
    return kind + colon + place.rstrip("/").rsplit("/", 1)[-1] + comma + options


def short_number(value: float) -> str:
    """Three significant digits, with a true minus sign.

    >>> short_number(0.12345), short_number(-12.3456), short_number(12345.6), short_number(0.00001234)
    ('0.123', '−12.3', '12,346', '1.23e−05')
    """
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-4 or size >= 1e7:
        return f"{value:.2e}".replace("-", "−")
    return f"{value:,.{max(0, 2 - math.floor(math.log10(size)))}f}".replace("-", "−")


def shown(score: Score) -> tuple[str, str, str]:
    """Value, interval and floor, with as many digits as the interval warrants (two significant ones of its half-width).

    >>> shown(Score(0.12345, 0.1011, 0.1457, 0.02))
    ('0.123', '0.101 to 0.146', '0.020')
    """
    if score.low is None or score.high is None or not score.high > score.low:
        ends = None if score.low is None or score.high is None else (score.low, score.high)
        interval = "" if ends is None else " to ".join(map(short_number, ends))
        return short_number(score.value), interval, "" if score.floor is None else short_number(score.floor)
    decimals = max(0, 1 - math.floor(math.log10((score.high - score.low) / 2)))

    def rounded(number: float) -> str:
        text = f"{number:,.{decimals}f}"
        return (text.lstrip("-") if float(text.replace(",", "")) == 0 else text).replace("-", "−")

    floor = "" if score.floor is None else rounded(score.floor)
    return rounded(score.value), f"{rounded(score.low)} to {rounded(score.high)}", floor


def reading(name: str, score: Score) -> str:
    """What the score says, by where its interval lies relative to what real images score; empty where that is unknown.

    >>> reading("kernel_distance", Score(0.3, 0.2, 0.4, 0.1))
    'further from the real images than those are from each other'
    >>> reading("diversity", Score(0.97, 0.9, 1.1, 1.0))
    'not clearly different from real images'
    """
    if score.low is None or score.high is None or score.floor is None:
        return ""
    if name == "nearest_training_ratio" and copies(score):
        return "much closer to the images learned from than real images are: look for copies"
    below, above = score.high < score.floor, score.low > score.floor
    low, level, high = _READINGS.get(name, ("", "", ""))
    return low if below else high if above else level


_LEVEL = "not clearly different from real images"
_AMONG = "among the real images"
_THAN = "of what is real than real images do"
_FAR = "further from the real images than those are from each other"
_READINGS = {
    "kernel_distance": (_LEVEL, _LEVEL, _FAR),
    "frechet_distance": (_LEVEL, _LEVEL, _FAR),
    "precision": (f"fewer fall {_AMONG} than real ones do", _LEVEL, f"more fall {_AMONG} than real ones do"),
    "recall": (f"reach less {_THAN}", _LEVEL, f"reach more {_THAN}"),
    "density": (f"less deep {_AMONG} than real ones are", _LEVEL, f"deeper {_AMONG} than real ones are"),
    "coverage": (f"cover less {_THAN}", _LEVEL, f"cover more {_THAN}"),
    "diversity": ("less varied than real images", _LEVEL, "more varied than real images"),
    "nearest_training_ratio": (
        "a little closer to the images learned from than real images are",
        "about as close to the images learned from as real images are: no clear sign of copies",
        "further from the images learned from than real images are: no sign of copies",
    ),
}
"""Where the interval lies below what real images score, around it, and above it."""

COPYING = {
    "nearest_training_ratio": "Distance to images learned from, over real",
    "nearest_shot_ratio": "Distance to images learned from, over theirs",
}
"""The values of a curve that tell copies, which lie well under 1, and the titles of their plots."""

HELD_OUT = "held-out shots"
"""The value of a curve that early stopping chose by; lower is better."""

COLLAPSED = "This training collapsed: its images are nearly all the same, or it learns no more. It is no result."
"""What is said of a run in which the guard found nothing left."""


def verdict(scores: Scores | None) -> str:
    """How close to real the samples are and whether they are copies, or how often a classifier is right, in one
    sentence; empty where that is unknown.

    >>> verdict(Scores({"kernel_distance": Score(0.3, 0.2, 0.4, 0.1)}, "pixels", 9, 9, 5))
    'By kernel distance the new images are further from the real images than those are from each other.'
    >>> verdict(Scores({"accuracy": Score(0.9, 0.826, 0.945)}, "its own logits", 0, 100, 50))
    'It puts 90.0% of 100 images that it never saw in their own class (95% interval 82.6% to 94.5%).'
    """
    if scores is not None and "accuracy" in scores.values:
        score = scores.values["accuracy"]
        known = score.low is not None and score.high is not None
        ends = f" (95% interval {score.low:.1%} to {score.high:.1%})" if known else ""
        return f"It puts {score.value:.1%} of {scores.query:,} images that it never saw in their own class{ends}."
    found = {} if scores is None else {name: reading(name, score) for name, score in scores.values.items()}
    near, copied = found.get("kernel_distance"), found.get("nearest_training_ratio")
    if not near:
        return ""
    return f"By kernel distance the new images are {near}.{f' They are {copied}.' if copied else ''}"


def copies(score: Score | None) -> bool:
    """Whether samples are nearer to the images learned from than real images are, by more than chance or by 15%.

    >>> copies(Score(0.4, 0.3, 0.5, 1.0)), copies(Score(0.97, 0.9, 1.1, 1.0)), copies(None)
    (True, False, False)
    """
    if score is None:
        return False
    floor = 1.0 if score.floor is None else score.floor
    return score.value < 0.85 * floor and (score.high is None or score.high < floor)


def learner_in_words(learner: Any) -> str:
    """What learned, for example ``a variational autoencoder for 28 × 28 grey images``."""
    channels, height, width = learner.image_shape
    kind = LEARNERS.get(learner.kind, f"a {learner.kind}")
    return f"{kind} for {width} × {height} {'grey' if channels == 1 else 'colour'} images"


def start_in_words(strategy: Strategy, lineage: Mapping[str, Any]) -> str:
    """Where learning began."""
    if strategy.start == "scratch":
        return "from scratch: parameters drawn at random"
    begun = str(lineage.get("start", strategy.start))
    name = strategy.start if len(strategy.start) < 40 else strategy.start[:12]
    return f"from the stored model {name}" + (f" ({begun[:12]})" if not begun.startswith(name) else "")


def strategy_in_words(strategy: Strategy) -> str:
    """How it learned, in one sentence.

    >>> strategy_in_words(Strategy(steps=200, batch=0))
    '200 steps of Adam at rate 0.001, each on all images.'
    """
    if not strategy.steps:
        return "No steps: the start as it is, and what is fitted to the images in closed form."
    budget = f"{strategy.steps:,} steps"
    if strategy.seconds:
        budget = (
            f"{strategy.seconds:g} seconds"
            if strategy.steps >= ENDLESS
            else f"{budget}, {strategy.seconds:g} seconds at most,"
        )
    parts = [f"{budget} of {OPTIMISERS[strategy.optimiser]} at rate {strategy.learning_rate:g}"]
    if strategy.schedule == "cosine":
        parts.append("falling to zero")
    parts.append("each on all images" if strategy.batch == 0 else f"each on up to {strategy.batch} images")
    if strategy.early_stopping:
        parts.append("ended sooner where held-out shots said so")
    if strategy.augmentation:
        parts.append(f"varied by {', '.join(strategy.augmentation)}")
    if strategy.frozen:
        parts.append(f"with {', '.join(strategy.frozen)} left as they were")
    if strategy.anchor:
        parts.append(f"held near the start (weight {strategy.anchor:g})")
    if strategy.rehearsal:
        parts.append(f"{strategy.rehearsal:.0%} of each rehearsing what the start had learned")
    if strategy.ema:
        parts.append(f"parameters averaged with decay {strategy.ema:g}")
    return ", ".join(parts) + "."


def cost_in_words(cost: Cost) -> str:
    r"""What it took.

    >>> cost_in_words(Cost(83.2, 200, 2)).replace("\N{NO-BREAK SPACE}", " ")
    '1 min 23 s for 200 steps on 2 threads (cpu)'
    """
    whole = round(cost.seconds)
    time = f"{cost.seconds:.1f}\u00a0s" if whole < 60 else f"{whole // 60}\u00a0min {whole % 60}\u00a0s"
    threads = f" on {cost.threads} {'thread' if cost.threads == 1 else 'threads'}" if cost.threads else ""
    return f"{time} for {cost.steps:,} {'step' if cost.steps == 1 else 'steps'}{threads} ({cost.device})"
