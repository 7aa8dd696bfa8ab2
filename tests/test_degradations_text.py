"""The text of degradations: it is printed back as it was meant, and mistakes are pointed at."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from limner.degradations import STAGES, Chain, OneOf, Range, parse
from limner.degradations.operators import Boxes, GaussianBlur
from limner.errors import LimnerError


@some.composite
def stages(draw):
    """Any stage with any values that it takes."""
    kind = draw(some.sampled_from(STAGES))
    values = {}
    for field in kind.fields:
        if field.default is not None and draw(some.booleans()):
            continue
        if field.path:
            values[field.name] = draw(some.text(some.characters(exclude_characters='"', exclude_categories=["Cs"])))
        elif field.words:
            values[field.name] = draw(some.sampled_from(field.words))
        else:
            number = (
                some.integers(math.ceil(field.low), int(field.high))
                if field.whole
                else some.floats(field.low, field.high)
            )
            low, high = sorted((draw(number), draw(number)))
            values[field.name] = Range(low, high) if field.ranges and draw(some.booleans()) else high
    return kind(**values)


degradations = some.recursive(
    stages(),
    lambda inner: (
        some.lists(inner, min_size=2, max_size=3).map(Chain) | some.lists(inner, min_size=2, max_size=3).map(OneOf)
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(degradations)
def test_what_is_printed_is_read_back(damage):
    again = parse(str(damage))
    assert type(again) is type(damage)
    assert str(again) == str(damage)


@settings(max_examples=60, deadline=None)
@given(some.text('gaussiblurmot_ef(),.+-=159" ') | some.text())
def test_any_text_is_read_or_refused_in_one_message(text):
    made, told = None, "^ right would be: "
    try:
        made = parse(text)
    except LimnerError as mistake:
        told = str(mistake)
    assert "right would be: " in told
    assert "^" in told
    assert made is None or parse(str(made)) == made


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("blur(motion, angle=30.0, length=9)+gaussian(sigma=25)", "blur(motion,length=9,angle=30)+gaussian(25)"),
        ("gaussian( 5 .. 50 )", "gaussian(5..50)"),
        ("poisson_gaussian(30,5)", "poisson_gaussian(30,sigma=5)"),
        ("stripes(5,rows)", "stripes(5)"),
        ("blur(gaussian,1.5,circular)", "blur(gaussian,width=1.5,boundary=circular)"),
        ("one_of( nothing , clip + jpeg(10..20) )", "one_of(nothing,clip+jpeg(10..20))"),
        ("clip()", "clip"),
        ('blur(file,path="a, (b).npy")', 'blur(file,path="a, (b).npy")'),
        ("blur(file,path=~/k-1..2 b.npy,boundary=zero)+clip", 'blur(file,path="~/k-1..2 b.npy",boundary=zero)+clip'),
        ("blur(file, path = 9.npy )", 'blur(file,path="9.npy")'),
        ("gaussian(1e1)", "gaussian(10)"),
    ],
)
def test_canonical(written, printed):
    assert str(parse(written)) == printed
    assert parse(written) == parse(printed)
    assert len({parse(written), parse(printed)}) == 1


@pytest.mark.parametrize(
    ("text", "place", "wrong", "right"),
    [
        ("", 0, "the text ends too early", "gaussian, poisson"),
        ("gausian(25)", 0, "did you mean gaussian", "gaussian, poisson"),
        ("clip+jepg(3)", 5, "did you mean jpeg", "jpeg, quantise"),
        ("gaussian", 0, "needs sigma", "on the scale 0–255"),
        ("gaussian(300)", 9, "sigma cannot be 300", "from 0 to 255 on the scale 0–255"),
        ("clip+gaussian(50..5)", 14, "runs from 50 down to 5", "a range a..b"),
        ("gaussian(25", 11, "ends too early", ")"),
        ("gaussian(25)+", 13, "ends too early", "gaussian, poisson"),
        ("gaussian(25))", 12, "')' cannot stand here", "+ and another"),
        ("gaussian(25) poisson(3)", 13, "'poisson' cannot stand here", "+ and another"),
        ("gaussian(25,3)", 12, "cannot take this value", "sigma"),
        ("gaussian(sigma=2,sigma=3)", 17, "given twice", "sigma"),
        ("gaussian(.5)", 9, "'.' cannot stand here", "0.5"),
        ("gaussian(5..)", 12, "')' cannot stand here", "the range ends"),
        ("jpeg(5.5)", 5, "quality cannot be 5.5", "a whole number from 1 to 95"),
        ("downsample(2..3)", 11, "cannot be a range", "a whole number from 1 to 16"),
        ("blur(9)", 5, "told its kind", "gaussian, motion, defocus, file"),
        ("blur(motion,lenght=9)", 12, "did you mean length", "angle"),
        ("blur(file,path=)", 15, "')' cannot stand here", 'a path in quotes ("…")'),
        ("blur(file,path=k.npy", 20, "the text ends too early", ", and another value, or )"),
        ("stripes(3,direction=up)", 10, "direction cannot be up", "rows or columns"),
        ("one_of(clip)", 11, "nothing to choose", "another degradation"),
        ("one_of", 6, "ends too early", "one_of(…,…)"),
        ("clip+ü", 5, "'ü' cannot stand here", "gaussian"),
        ("clip(3)", 5, "cannot take this value", "clip alone"),
        ("one_of(clip," * 30, 240, "stands within 20 others", "fewer"),
    ],
)
def test_mistakes_are_pointed_at(text, place, wrong, right):
    with pytest.raises(LimnerError) as told:
        parse(text)
    sentence, shown, caret, remedy = str(told.value).split("\n")
    assert wrong in sentence
    assert shown == f"  {text}"
    assert caret.index("^") - 2 == place
    assert remedy.startswith("right would be: ")
    assert right in remedy


def test_mistakes_in_python():
    for make, told in (
        (lambda: GaussianBlur(), r"blur\(gaussian\) needs width"),
        (lambda: GaussianBlur(1, wide=2), "takes width, boundary"),
        (lambda: GaussianBlur(1, width=2), "takes width, boundary"),
        (lambda: Boxes(1.5), "count cannot be 1.5"),
        (lambda: Boxes("many"), "count cannot be many"),
        (lambda: Boxes(True), "count cannot be"),
        (lambda: OneOf([GaussianBlur(1)]), "nothing to choose"),
    ):
        with pytest.raises(LimnerError, match=told):
            make()


def test_chains_are_flat():
    assert parse("clip+jpeg(3)") == Chain([Chain([parse("clip")]), parse("nothing"), parse("jpeg(3)")])
