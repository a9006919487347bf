"""The two protocols: sizes, purity, no overlap, and what the seed decides."""

import numpy as np
import pytest

from pyocgan.data import open_source, protocol_1, protocol_2
from pyocgan.data.arrays import open_array
from pyocgan.errors import InputError, UsageError


def labelled(counts):
    """Images of classes a, b, c, … with the given counts, shuffled."""
    labels = np.repeat(list("abcdef")[: len(counts)], counts)
    labels = np.random.default_rng(0).permutation(labels)
    return open_array(np.zeros((len(labels), 8, 8), np.uint8), labels)


@pytest.mark.parametrize(
    ("counts", "train", "normal", "novel"),
    [
        ((100, 50, 50), 80, 20, 20),
        ((10, 90), 8, 2, 2),
        ((72, 7128), 58, 14, 14),  # an object of COIL-100
        ((100, 5), 80, 20, 5),
        ((2, 5), 1, 1, 1),
        ((3, 5), 2, 1, 1),
    ],
)
def test_protocol_1_counts(counts, train, normal, novel):
    split = protocol_1(labelled(counts), "a", random_state=0)
    assert len(split.train) == train
    assert len(split.test) == len(split.is_novel) == normal + novel
    assert split.is_novel.sum() == novel


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("normal", ["a", "b", 2])
def test_protocol_1_is_pure_and_disjoint(seed, normal):
    source = labelled((30, 40, 50))
    name = source.class_name(normal)
    split = protocol_1(source, normal, random_state=seed)
    assert set(split.train.labels) == {name}
    assert not set(split.train.names) & set(split.test.names)
    assert len(set(split.test.names)) == len(split.test)
    held_out = {n for n, novel in zip(split.test.names, split.is_novel, strict=True) if not novel}
    assert held_out | set(split.train.names) == set(source.of_class(normal).names)
    np.testing.assert_array_equal(split.is_novel, split.test.labels != name)


def test_protocol_1_depends_on_the_seed_alone():
    source = labelled((30, 40, 50))
    np.random.seed(1)  # noqa: NPY002, a global seed that must not matter
    first = protocol_1(source, "a", random_state=3)
    np.random.seed(2)  # noqa: NPY002
    again = protocol_1(source, "a", random_state=3)
    other = protocol_1(source, "a", random_state=4)
    assert first.train.names == again.train.names
    assert first.test.names == again.test.names
    assert set(first.train.names) != set(other.train.names)
    assert set(first.test.names) != set(other.test.names)


def test_protocol_1_draws_from_all_other_classes():
    split = protocol_1(labelled((200, 100, 100, 100)), "a", random_state=0)
    assert set(split.test.labels[split.is_novel]) == {"b", "c", "d"}


def test_protocol_1_draws_for_each_class_anew():
    """Classes of one size, in order: one stream for all would hold out the same places of each."""
    classes = [f"obj{number}" for number in range(20)]
    source = open_array(np.zeros((200, 8, 8), np.uint8), np.repeat(classes, 10))
    splits = [protocol_1(source, name, random_state=0) for name in classes]
    held_out = {tuple(int(n) % 10 for n in split.test.names[:2]) for split in splits}
    novel = {name for split in splits for name in split.test.names[2:]}
    assert len(held_out) > 10
    assert len(novel) > 25, "of 40 draws"


@pytest.mark.parametrize("counts", [(1, 9), (9,)])
def test_protocol_1_needs_enough_images(counts):
    with pytest.raises(UsageError, match="protocol 1 needs two images of class a and one of"):
        protocol_1(labelled(counts), "a", random_state=0)


def test_protocol_2():
    train, test = labelled((30, 40, 50)), labelled((5, 6, 7))
    split = protocol_2(train, test, "b")
    assert split.train.names == train.of_class("b").names
    assert set(split.train.labels) == {"b"}
    assert split.test is test
    np.testing.assert_array_equal(split.is_novel, test.labels != "b")
    assert split.is_novel.sum() == 12


def test_protocol_2_of_a_class_without_training_images():
    """As of a named data set, whose classes are known beforehand; none need be tested."""
    both = labelled((5, 6, 7))
    without = both.subset(both.labels != "b")
    with pytest.raises(InputError, match=r"no image of class 'b' in .*; there are: a 5, c 7$"):
        protocol_2(without, both, "b")
    assert protocol_2(both, without, "b").is_novel.all()


def test_protocol_2_numbers_the_classes_of_the_training_set():
    train, test = labelled((0, 40, 50)), labelled((5, 6, 7))
    assert train.classes == ("b", "c")
    split = protocol_2(train, test, 0)
    assert set(split.train.labels) == {"b"}
    assert (~split.is_novel).sum() == 6


@pytest.mark.parametrize("normal", ["z", 9])
def test_unknown_class(normal):
    with pytest.raises(UsageError, match="unknown class"):
        protocol_1(labelled((5, 5)), normal, random_state=0)
    with pytest.raises(UsageError, match="unknown class"):
        protocol_2(labelled((5, 5)), labelled((5, 5)), normal)


def test_images_without_labels():
    source = open_source(np.zeros((5, 8, 8), np.uint8))
    with pytest.raises(UsageError, match="names no classes"):
        protocol_1(source, 0, random_state=0)


def test_digits_end_to_end():
    train, test = (open_source("digits", split=split) for split in ("train", "test"))
    split = protocol_2(train, test, 8)
    assert len(split.test) == 359
    assert (~split.is_novel).sum() == len(test.of_class("8"))
