"""What holds for every objective; a class without a row in CASES fails."""

import contextlib
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from building import digits, make_vae
from replicas import two_replicas

from kvae import objectives, parts

X, X_TEST = digits()
X, X_TEST = X[:33], X_TEST[:40]

CASES = {
    "ELBO": lambda: objectives.ELBO(beta=2.0, num_samples=2),
    "ELBO free bits": lambda: objectives.ELBO(free_bits=0.25),
    "ELBO capacity": lambda: objectives.ELBO(beta=10.0, capacity=0.75),
    "IWAE": lambda: objectives.IWAE(num_samples=4),
    "IWAE stl": lambda: objectives.IWAE(num_samples=4, gradient="stl"),
    "IWAE dreg": lambda: objectives.IWAE(num_samples=4, gradient="dreg"),
    "Renyi": lambda: objectives.Renyi(alpha=0.5, num_samples=4),
    "BetaTC": lambda: objectives.BetaTC(beta=3.0, dataset_size=40),
    "BetaTC weighted": lambda: objectives.BetaTC(alpha=0.5, dataset_size=40, sampling="weighted"),
    "FactorVAE": lambda: objectives.FactorVAE(gamma=5.0, hidden=(8, 8)),
    "InfoVAE": lambda: objectives.InfoVAE(alpha=0.5, scale=100.0),
    "WAE": lambda: objectives.WAE(weight=50.0),
    "DIP": lambda: objectives.DIP("i", diagonal_weight=20.0, off_diagonal_weight=2.0),
    "DIP ii": lambda: objectives.DIP("ii"),
}
each_case = pytest.mark.parametrize("name", CASES)


def test_every_objective_has_a_case():
    classes = {
        name
        for name, each in inspect.getmembers(objectives, inspect.isclass)
        if issubclass(each, objectives.Objective) and each is not objectives.Objective
    }
    assert classes == {name.split()[0] for name in CASES}
    assert classes | {"Objective", "Terms"} <= set(objectives.__all__)


def test_every_objective_has_a_name_or_says_what_it_needs():
    for name in {name.split()[0] for name in CASES} - {"BetaTC"}:
        assert type(objectives.get(parts.snake_case(name))) is getattr(objectives, name)


@each_case
def test_trains_evaluates_and_comes_back_from_disk(name, tmp_path):
    vae = make_vae(objective=CASES[name](), compile_arguments={"run_eagerly": True})  # the next test has the graph
    history = vae.fit(X, batch_size=32, verbose=0).history  # the last batch has one example
    assert np.isfinite(history["loss"]).all()
    report = vae.evaluate(X_TEST, verbose=0, return_dict=True)
    assert report["elbo"] == pytest.approx(-report["reconstruction"] - report["kl"], rel=1e-5)
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    assert again.objective.get_config() == vae.objective.get_config()
    assert again.evaluate(X_TEST, verbose=0, return_dict=True) == report


@each_case
def test_docstring_names_the_paper_and_has_an_example(name):
    text = inspect.getdoc(getattr(objectives, name.split()[0]))
    for part in ("Args:", "Raises:", "arXiv:", "equation", "Example:\n    >>> "):
        assert part in text or (part == "equation" and "section" in text), part


def test_losses_and_gradients_are_finite_and_the_same_under_xla():
    """All objectives on the same terms, with z gated as DReG does; compiled once, for the time that takes."""
    vae = make_vae(objective=objectives.IWAE(num_samples=4, gradient="dreg"))
    made = {name: make() for name, make in CASES.items()}
    for objective in made.values():
        objective.build(data_shape=vae.data_shape, latent_dim=vae.latent_dim)
    kernel = vae.encoder.layers[-1].kernel.value

    def losses(x):
        terms = vae.terms(x)
        return {name: objective.loss(terms) for name, objective in made.items()}

    def total(x):
        with tf.GradientTape() as tape:
            found = losses(x)
            value = tf.add_n([tf.reduce_mean(each) for each in found.values()])
        return found, tape.gradient(value, kernel)

    plain, compiled = total(X_TEST), tf.function(total, jit_compile=True, autograph=False)(X_TEST)
    np.testing.assert_allclose(compiled[1], plain[1], atol=1e-4 * np.abs(plain[1]).max())
    with tf.GradientTape(persistent=True) as tape:
        means = {name: tf.reduce_mean(loss) for name, loss in losses(X_TEST).items()}
    for name in CASES:
        assert plain[0][name].shape == (40,)
        np.testing.assert_allclose(compiled[0][name], plain[0][name], rtol=1e-4, err_msg=name)
        assert 0 < np.abs(tape.gradient(means[name], kernel)).max() < np.inf, name


@each_case
def test_weight_zero_equals_absence_and_weights_weigh(name):
    """In an evaluation and in a step: also in what an objective makes of the batch as a whole."""
    weight = np.where(np.arange(33) % 3 == 1, 0.0, np.linspace(0.5, 2.0, 33))
    keep = weight > 0

    def run(x, weight):
        arguments = {"optimizer": keras.optimizers.SGD(1e-2), "run_eagerly": True}
        vae = make_vae(objective=CASES[name](), compile_arguments=arguments)
        report = vae.evaluate(x, sample_weight=weight, batch_size=33, verbose=0, return_dict=True)
        vae.fit(x, sample_weight=weight, batch_size=33, shuffle=False, verbose=0)
        return report, [each.numpy() for each in vae.trainable_variables]

    (report, trained), (expected, expected_trained) = run(X, weight), run(X[keep], weight[keep])
    assert report == pytest.approx(expected, rel=1e-5)
    for first, second in zip(trained, expected_trained, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)  # sums in another order
    unweighted, equal = (run(X, each)[0] for each in (None, np.full(33, 3.0)))
    assert unweighted == pytest.approx(equal, rel=1e-5)
    assert unweighted["loss"] != pytest.approx(report["loss"], rel=1e-3)


@each_case
def test_a_batch_that_counts_for_nothing_leaves_the_weights_finite(name):
    """And rows of weight zero may hold anything: a stream of three batches."""
    x, weight = X[:30].copy(), np.ones(30, "float32")
    weight[10:20] = 0
    x[12], weight[25] = np.nan, 0
    x[25] = 1e30
    data = tf.data.Dataset.from_tensor_slices((x, x, weight)).batch(10)
    vae = make_vae(objective=CASES[name](), compile_arguments={"run_eagerly": True})
    history = vae.fit(data, verbose=0).history
    assert np.isfinite(history["loss"]).all() and np.isfinite(history["elbo"]).all()
    assert all(np.isfinite(each).all() for each in vae.trainable_variables)


def test_the_weighted_paths_are_the_same_under_xla():
    vae, weight = make_vae(), np.where(np.arange(33) % 3 == 1, 0.0, np.linspace(0.5, 2.0, 33)).astype("float32")
    made = {name: CASES[name]() for name in CASES if name.split()[0] in ("BetaTC", "FactorVAE", "WAE", "DIP", "ELBO")}
    for objective in made.values():
        objective.build(data_shape=vae.data_shape, latent_dim=vae.latent_dim)

    def losses(x, weight):
        terms = vae.terms(x, sample_weight=weight)
        return [(objective.loss(terms), objective.auxiliary_loss(terms)) for objective in made.values()]

    shapes = tf.TensorSpec([None, *X.shape[1:]]), tf.TensorSpec([None])  # nor need the number of rows be known
    graph = tf.function(losses, shapes, autograph=False)
    compiled = tf.function(losses, jit_compile=True, autograph=False)
    expected = keras.tree.flatten(losses(X, weight))
    for function in (graph, compiled):
        for one, other in zip(keras.tree.flatten(function(X, tf.constant(weight))), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4)


def test_two_replicas_share_a_discriminator():
    with two_replicas().scope():
        vae = make_vae(objective=CASES["FactorVAE"]())
    history = vae.fit(X, batch_size=32, verbose=0).history
    assert np.isfinite(history["loss"]).all() and 0.3 < history["discriminator_loss"][0] < 1.5


def test_a_replica_counts_in_the_discriminator_by_its_weights():
    """The second replica has rows of weight zero alone, so the step is that of one device."""

    def step(x, weight, scope):
        with scope:
            vae = make_vae(objective=CASES["FactorVAE"](), compile_arguments={"optimizer": keras.optimizers.SGD(0.1)})
        vae.fit(x, sample_weight=weight, batch_size=len(x), shuffle=False, verbose=0)
        return [each.numpy() for each in vae.trainable_variables]

    weight = np.concatenate([np.linspace(1, 2, 8), np.zeros(8)])
    pairs = zip(
        step(X[:16], weight, two_replicas().scope()), step(X[:8], weight[:8], contextlib.nullcontext()), strict=True
    )
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=1e-6)
