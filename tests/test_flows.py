import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import flows
from kvae.flows.steps import KINDS

tfd = tfp.distributions


def randomized(layers, seed=0, scale=0.4):
    """The layers with weights drawn at random, since flows begin as something trivial."""
    rng = np.random.default_rng(seed)
    for layer in layers:
        layer.set_weights([scale * rng.normal(size=each.shape) for each in layer.get_weights()])
    return layers


def values(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype("float32"))


def jacobian(function, x):
    """(function(x), its Jacobian for each row) for a function `[B, I]` -> `[B, ...]`, or a pair that begins with one."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        outputs = function(x)
        first = outputs[0] if isinstance(outputs, tuple) else outputs
    return outputs, tape.batch_jacobian(first, x, experimental_use_pfor=False).numpy()


# kind, D, width of the context, place of the step
CASES = [
    ("coupling", 2, 0, 0),
    ("coupling", 5, 0, 1),
    ("coupling", 5, 3, 0),
    ("iaf", 1, 2, 0),
    ("iaf", 4, 0, 1),
    ("iaf", 4, 3, 0),
    ("maf", 1, 0, 0),
    ("maf", 4, 0, 0),
    ("maf", 4, 3, 1),
]


def step(kind, dim, context_size, index):
    return randomized([KINDS[kind](dim, (16,), context_size, index)])[0]


def test_every_kind_has_a_case():
    assert {kind for kind, *_ in CASES} == set(KINDS)


@pytest.mark.parametrize("case", CASES)
def test_log_determinant_is_that_of_autodiff(case):
    each, x = step(*case), values(6, case[1])
    context = values(6, case[2], seed=1) if case[2] else None
    (_, log_det), matrix = jacobian(lambda x: each.forward(x, context), x)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix.astype("float64"))[1], atol=1e-4)
    assert np.abs(log_det).max() > 0.1  # a step that does something


@pytest.mark.parametrize("case", CASES)
def test_inverse_of_forward_is_the_identity(case):
    each, x = step(*case), 2 * values(6, case[1])
    context = values(6, case[2], seed=1) if case[2] else None
    y, log_det = each.forward(x, context)
    again, same = each.inverse(y, context)
    np.testing.assert_allclose(again, x, atol=2e-5)  # float32, one division by a scale above e^-4
    np.testing.assert_allclose(same, log_det, atol=2e-5)
    assert np.abs(y - x).max() > 0.1


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_leading_axes_broadcast_against_those_of_the_context(kind):
    steps = randomized(flows.make_steps(kind, 2, 3, (8,), context_size=2))
    x, context = values(4, 1, 3), values(5, 2, seed=1)
    for direction in (flows.forward, flows.inverse):
        y, log_det = direction(steps, x, context)
        assert y.shape == (4, 5, 3) and log_det.shape == (4, 5)
        for index in range(5):
            one, log_det_one = direction(steps, x[:, 0], context[index])
            np.testing.assert_allclose(y[:, index], one, atol=1e-5)
            np.testing.assert_allclose(log_det[:, index], log_det_one, atol=1e-5)


def test_inverse_does_not_overflow_on_its_way():
    steps = randomized(flows.make_steps("iaf", 2, 32, (16,)), scale=2.0)
    x, _ = flows.inverse(steps, 1e3 * values(3, 32))
    assert np.isfinite(x).all()


@pytest.mark.parametrize("kind", ["iaf", "maf"])
def test_gradient_of_the_loop_under_xla(kind):
    steps = randomized(flows.make_steps(kind, 2, 3, (8,), context_size=2))
    direction = flows.inverse if kind == "iaf" else flows.forward
    kernel = steps[0].network.kernels[0].value

    def gradient(y, context):
        with tf.GradientTape() as tape:
            tape.watch([y, context])
            x, log_det = direction(steps, y, context)
            total = tf.reduce_sum(x**2) + tf.reduce_sum(log_det)
        return tape.gradient(total, [y, context, kernel])

    arguments = values(2, 4, 3), values(4, 2, seed=1)
    for eager, compiled in zip(gradient(*arguments), tf.function(gradient, jit_compile=True)(*arguments), strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-3, atol=1e-4)  # sums over a chain of eight networks


def test_coupling_of_one_dimension_is_refused():
    with pytest.raises(ValueError, match=r"at least 2. Received: 1. Take kind='iaf' .* or kind='maf'"):
        flows.make_steps("coupling", 2, 1, (8,))


def test_steps_alternate():
    odd = [each.odd for each in flows.make_steps("iaf", 3, 4, (8,))]
    assert odd == [False, True, False]
    for kind in KINDS:
        steps = randomized(flows.make_steps(kind, 2, 4, (8,)))
        _, matrix = jacobian(lambda x, steps=steps: flows.forward(steps, x), values(5, 4))
        seen = np.abs(matrix).max(axis=0) > 0
        # two autoregressive steps let every value reach every other; of the coupled halves, the first moves last
        assert seen.all() if kind != "coupling" else seen[:2].all() and seen[2:, :2].all()


# The masked network


@pytest.mark.parametrize("hidden", [(), (16,), (3, 16), (5, 4)])
@pytest.mark.parametrize("reverse", [False, True])
def test_masked_network_is_autoregressive(hidden, reverse):
    dim = 5
    network = flows.MaskedNetwork(dim, 2, hidden, reverse=reverse)
    network.build()
    randomized([network])
    _, matrix = jacobian(lambda x: tf.reshape(network(x), [7, 2, dim]), values(7, dim))
    before = np.tril(np.ones((dim, dim), bool), -1)
    before = before[::-1, ::-1] if reverse else before
    assert np.all(matrix[..., ~before] == 0)
    if not hidden or min(hidden) >= dim - 1:  # fewer hidden units cannot tell all values apart
        assert np.all(np.abs(matrix[..., before]).max(axis=(0, 1)) > 1e-6)
    else:
        assert np.abs(matrix[..., before]).max() > 1e-6


@pytest.mark.parametrize("hidden", [(), (16,)])
def test_every_output_sees_the_context(hidden):
    network = flows.MaskedNetwork(3, 2, hidden, context_size=2)
    network.build()
    randomized([network])
    x = values(7, 3)
    _, matrix = jacobian(lambda context: network(x, context), values(7, 2, seed=1))
    assert np.abs(matrix).max(axis=0).min() > 1e-6


@pytest.mark.parametrize(
    "network",
    [
        lambda: flows.DenseNetwork(3, 4, (8, 8), context_size=2, name="dense"),
        lambda: flows.MaskedNetwork(3, 2, (8,), reverse=True),
    ],
)
def test_networks_come_back_from_their_configuration(network):
    network = network()
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(network)))
    again = keras.saving.deserialize_keras_object(stored)
    assert again.get_config() == network.get_config()
    network.build()
    assert (
        len(network.weights)
        == len(network.trainable_variables)
        == 2 * len(network.kernels) + bool(network.context_size)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_inputs": 0}, "`num_inputs` must be a whole number of at least 1"),
        ({"num_inputs": 2.0}, "`num_inputs` must be a whole number"),
        ({"num_inputs": True}, "`num_inputs` must be a whole number"),
        ({"hidden": 64}, "`hidden` must be the widths"),
        ({"hidden": (64, 0)}, "`hidden` must be a whole number of at least 1. Received: hidden=0"),
        ({"context_size": -1}, "`context_size` must be a whole number of at least 0"),
    ],
)
def test_wrong_sizes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        flows.DenseNetwork(**{"num_inputs": 2, "num_outputs": 2, **arguments})


# The distribution


def flow_distribution(kind="coupling", batch=4, dim=2):
    base = tfd.MultivariateNormalDiag(values(batch, dim), tf.exp(0.3 * values(batch, dim, seed=1)))
    return flows.FlowDistribution(base, randomized(flows.make_steps(kind, 2, dim, (8,))))


def test_distribution_has_the_shapes_of_tfp():
    q = flow_distribution()
    assert q.batch_shape == (4,) and q.event_shape == (2,)
    np.testing.assert_array_equal(q.batch_shape_tensor(), [4])
    z = q.sample(7, seed=[1, 2])
    assert z.shape == (7, 4, 2) and q.log_prob(z).shape == (7, 4) and q.mean().shape == (4, 2)
    with pytest.raises(NotImplementedError):
        q.stddev()
    with pytest.raises(NotImplementedError):
        q.kl_divergence(q.base)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_log_prob_is_the_change_of_variables(kind):
    q = flow_distribution(kind, dim=3)
    x = q.base.sample(5, seed=[1, 2])
    z, log_det = flows.forward(q._steps, x)
    np.testing.assert_allclose(q.log_prob(z), q.base.log_prob(x) - log_det, atol=1e-4)


def test_a_note_is_found_for_the_very_tensor_and_source_alone():
    a, b, found = object(), object(), {}

    @tf.function
    def graph():
        z = tf.zeros([3])
        flows.remember(z, (a, b), tf.ones([]))
        recall = flows.distribution.recall
        found["same"] = recall(z, (a, b)) is not None
        found["other"] = [recall(z, (a, a)), recall(z, None), recall(tf.identity(z), (a, b)), recall(z + 0.0, (a, b))]
        return z

    graph()
    assert found == {"same": True, "other": [None] * 4}
    z = tf.zeros([3])
    flows.remember(z, (a, b), tf.ones([]))
    assert flows.distribution.recall(z, (a, b)) is None  # eagerly, weights may have changed in between
