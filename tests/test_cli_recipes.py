"""How settings of `kvae train` become a model, without training it."""

import inspect

import numpy as np
import pytest

import kvae
import kvae_cli


def recipe(**settings):
    """The settings of a run as they are without options, but for some."""
    parameters = inspect.signature(kvae_cli.training.train).parameters
    return {**{name: each.default for name, each in parameters.items()}, "data": "digits", **settings}


def test_convolutions_take_channels_and_a_bias_for_each():
    x = np.random.default_rng(0).random((40, 8, 8, 2)).astype("float32")
    settings = recipe(network="conv", hidden=[4, 6], output_bias=True, likelihood="continuous_bernoulli")
    vae = kvae_cli.recipes.build(kvae, (8, 8, 2), 40, None, settings, lambda: x)
    assert [each.filters for each in vae.encoder.layers if hasattr(each, "filters")] == [4, 6]
    assert [each.filters for each in vae.decoder.layers if hasattr(each, "filters")] == [6, 4, 2]
    expected = np.broadcast_to(x.mean(axis=(0, 1, 2)), (8, 8, 2))
    np.testing.assert_allclose(vae.likelihood(vae.decoder(np.zeros((1, 16))))[0], expected, atol=1e-6)

    deeper = kvae_cli.recipes.build(kvae, (8, 8, 2), 40, None, {**settings, "residual_blocks": 1}, lambda: x)
    assert len(deeper.decoder.layers) == len(vae.decoder.layers) + 2 * 3
    with pytest.raises(ValueError, match="--residual-blocks are for --network conv, not dense"):
        kvae_cli.recipes.build(kvae, (8, 8, 2), 40, None, recipe(residual_blocks=1), lambda: x)


def test_arguments_that_the_command_line_knows():
    def objective(name, **settings):
        return kvae_cli.recipes.build(kvae, (5,), 40, None, recipe(objective=name, **settings), None).objective

    assert objective("beta_tc:alpha=2").dataset_size == 40
    assert objective("beta_tc:dataset_size=7").dataset_size == 7
    assert float(objective("elbo", beta=3.0).beta) == float(objective("elbo:beta=3").beta) == 3.0


def test_schedules():
    cosine, constant = (
        kvae_cli.recipes.optimizer(recipe(epochs=4, learning_rate=0.5, schedule=each), steps=10)
        for each in ("cosine", "constant")
    )
    for step, expected in ((0, 0.5), (20, 0.25), (40, 0.0)):
        cosine.iterations.assign(step)
        constant.iterations.assign(step)
        assert float(cosine.learning_rate) == pytest.approx(expected, abs=1e-6)
        assert float(constant.learning_rate) == 0.5


def test_the_warmup_ends_at_the_beta_of_the_objective(monkeypatch):
    seen = {}

    def stop(*arguments, **options):
        seen.update(options)
        raise InterruptedError

    monkeypatch.setattr(kvae.callbacks, "BetaWarmup", stop)
    settings = recipe(objective="elbo:beta=4", warmup=2, epochs=3)
    vae = kvae_cli.recipes.build(kvae, (5,), 40, None, settings, None)
    with pytest.raises(InterruptedError):
        kvae_cli.training._fit(kvae, vae, None, None, settings, None)
    assert seen == {"stop": 4.0}


@pytest.mark.parametrize(
    ("objective", "warmup", "expected"),
    [
        ("elbo", 0, ("val_loss", "min")),
        ("elbo", 2, ("val_elbo", "max")),
        ("elbo:beta=4", 0, ("val_loss", "min")),
        ("iwae", 0, ("val_loss", "min")),
        ("factor_vae", 0, ("val_elbo", "max")),
    ],
)
def test_the_best_epoch_is_by_the_loss_if_that_stays_the_same(objective, warmup, expected, monkeypatch, tmp_path):
    seen = []

    def stop(folder, monitor, mode, **options):
        seen.append((monitor, mode))
        raise InterruptedError

    monkeypatch.setattr(kvae.callbacks, "Checkpoint", stop)
    settings = recipe(objective=objective, warmup=warmup, epochs=3)
    vae = kvae_cli.recipes.build(kvae, (5,), 40, None, settings, None)
    with pytest.raises(InterruptedError):
        kvae_cli.training._fit(kvae, vae, None, tmp_path, settings, None)
    assert seen == [expected]


def test_a_decoder_of_mixed_columns_is_as_wide_as_they_need():
    joint = "joint:parts=[[normal,3],['categorical:num_classes=4',1],[bernoulli,2]]"
    x = np.concatenate([np.ones((9, 3)), np.full((9, 1), 2.0), np.zeros((9, 2))], axis=1)
    vae = kvae_cli.recipes.build(kvae, (6,), 9, None, recipe(likelihood=joint, output_bias=True), lambda: x)
    assert vae.decoder.output_shape == (None, 9)
    np.testing.assert_allclose(vae.likelihood(vae.decoder(np.zeros((1, 16))))[0, :3], 1.0, atol=1e-6)


def test_a_seed_is_not_negative(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["kvae", "train", "digits", "--seed", "-1"])
    with pytest.raises(SystemExit) as end:
        kvae_cli.main()
    assert end.value.code == 2 and "--seed" in capsys.readouterr().err
