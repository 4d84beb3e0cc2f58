import gc

import numpy as np
import pytest
import tensorflow as tf

from kvae import feeding


@pytest.mark.parametrize(
    "array",
    [
        np.linspace(0, 1, 21).reshape(7, 3),
        np.arange(6).reshape(2, 3),
        np.array([True, False]),
        np.arange(20.0).reshape(5, 4)[:, ::2],
        np.asfortranarray(np.arange(12.0, dtype="float32").reshape(4, 3)),
        np.arange(3, dtype=">f4"),
        np.arange(3, dtype="float16"),
        np.zeros((0, 3)),
    ],
    ids=["float64", "int", "bool", "strided", "column-major", "big-endian", "float16", "empty"],
)
def test_a_data_set_in_memory_is_a_copy_of_its_own(array):
    tensor, expected = feeding.in_memory(array), array.astype("float32")
    array[...] = 0  # what a user does to the array afterwards is not seen by the training
    gc.collect()
    assert tensor.dtype == tf.float32
    np.testing.assert_array_equal(tensor, expected)


def test_what_is_no_number_is_refused():
    with pytest.raises(Exception, match="string"):
        feeding.in_memory(np.array(["3", "7"]))


def test_a_data_set_in_memory_may_be_read_only_or_no_numpy_array():
    array = np.ones((2, 3))
    array.flags.writeable = False
    np.testing.assert_array_equal(feeding.in_memory(array), array)
    np.testing.assert_array_equal(feeding.in_memory(tf.constant([1, 2])), [1.0, 2.0])
