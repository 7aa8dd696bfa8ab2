"""Tables: read from files, told what is wrong with them, split for a task."""

import math

import pytest
import torch

from limner.errors import LimnerError
from limner.tasks.tables import load_table, split_table

FRUIT = "weight,colour,kind\n120,red,apple\n,yellow,lemon\n90,yellow,lemon\n130,green,apple\n"


def written(tmp_path, text, target):
    path = tmp_path / "fruit.csv"
    path.write_text(text)
    return f"csv:{path}" + (f",target={target}" if target else "")


def test_numbers_words_and_gaps(tmp_path):
    table = load_table(written(tmp_path, FRUIT, "kind"))
    assert table.columns == ("weight", "colour=green", "colour=red", "colour=yellow")
    assert table.class_names == ("apple", "lemon")
    assert table.labels.tolist() == [0, 1, 1, 0]
    assert table.values is None
    assert table.inputs[0].tolist() == [120, 0, 1, 0]
    assert math.isnan(table.inputs[1, 0])


def test_whole_numbers_are_classes_and_values_and_fractions_only_values(tmp_path):
    table = load_table(written(tmp_path, "a,b\n1,10\n2,9\n3,10\n", "b"))
    assert table.class_names == ("9", "10")
    assert table.values.tolist() == [10, 9, 10]
    table = load_table(written(tmp_path, "a,b\n1,0.5\n2,0.25\n3,1\n", "b"))
    assert table.labels is None
    assert table.values.tolist() == [0.5, 0.25, 1]


def test_rows_without_a_target_are_left_out_with_a_note(tmp_path):
    table = load_table(written(tmp_path, FRUIT + "95,yellow,?\n", "kind"))
    assert len(table) == 4
    assert table.notes == ("1 rows without a target were left out",)


@pytest.mark.parametrize(
    ("text", "target", "told"),
    [
        (FRUIT, "kin", r"no column 'kin' \(did you mean kind\?\)"),
        (FRUIT, "", "no target said; add ,target= and one of: weight, colour, kind"),
        ("a,b\n1,2\n3\n4,5\n", "b", "row 3 has 1 cells, but there are 2 columns"),
        ("a,b\n", "b", "too few lines"),
        ("b\n1\n2\n", "b", "no column beside b"),
        ("a,b\n" + "".join(f"w{i},{i % 2}\n" for i in range(40)), "b", "column a holds 40 different words"),
        ("a,b\n" + "".join(f"{i},w{i}\n" for i in range(120)), "b", "target b has 120 classes"),
    ],
)
def test_a_damaged_file_is_told_in_one_sentence(tmp_path, text, target, told):
    with pytest.raises(LimnerError, match=told):
        load_table(written(tmp_path, text, target))


def test_files_and_names_that_are_not_there(tmp_path):
    with pytest.raises(LimnerError, match="does not exist"):
        load_table(f"csv:{tmp_path / 'none.csv'},target=a")
    with pytest.raises(LimnerError, match=r"no table 'wines' here \(did you mean wine\?\)"):
        load_table("sklearn:wines")
    (tmp_path / "raw.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(LimnerError, match="cannot be read as CSV"):
        load_table(f"csv:{tmp_path / 'raw.csv'},target=b")


def test_a_split_shares_the_classes_and_loses_no_row():
    table = load_table("sklearn:wine")
    task = split_table(table, "classify", 90, seed=4)
    shares = torch.bincount(task.support.labels) / 90 - torch.bincount(table.labels) / 178
    assert len(task.support) == 90
    assert len(task.query) == 88
    assert shares.abs().max() < 0.02
    together = torch.cat([task.support.inputs, task.query.inputs])
    assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, table.inputs.tolist()))
    assert split_table(table, "classify", 90, seed=4).sha256 == task.sha256
    assert split_table(table, "classify", 90, seed=5).sha256 != task.sha256
    with pytest.raises(LimnerError, match="178 to learn from leave none"):
        split_table(table, "classify", 178, seed=0)
