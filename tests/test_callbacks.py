import warnings

import keras
import pytest
from building import digits, make_vae

import kvae

X = digits()[0][:64]


def fit_and_watch(vae, *callbacks, epochs=5):
    betas = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: betas.append(float(vae.objective.beta)))
    vae.fit(X, epochs=epochs, verbose=0, callbacks=[*callbacks, watch])
    return betas


def test_beta_rises_to_the_objective_s_own():
    vae = make_vae(objective=kvae.objectives.ELBO(beta=2.0))
    assert fit_and_watch(vae, kvae.callbacks.BetaWarmup(epochs=4)) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])


def test_start_and_stop():
    warmup = kvae.callbacks.BetaWarmup(epochs=2, start=1.0, stop=3.0)
    assert fit_and_watch(make_vae(), warmup, epochs=3) == pytest.approx([2.0, 3.0, 3.0])


def test_ramp_as_long_as_the_training_ends_at_stop():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit_and_watch(make_vae(), kvae.callbacks.BetaWarmup(epochs=3), epochs=3)[-1] == 1.0


def test_beta_weighs_the_trained_loss():
    vae = make_vae(compile_arguments={"optimizer": keras.optimizers.SGD(0.0)})
    history = vae.fit(X, epochs=2, verbose=0, callbacks=[kvae.callbacks.BetaWarmup(epochs=2)]).history
    for epoch, beta in enumerate((0.5, 1.0)):
        assert history["loss"][epoch] == pytest.approx(
            history["reconstruction"][epoch] + beta * history["kl"][epoch], rel=1e-6
        )
        assert history["elbo"][epoch] == pytest.approx(
            -history["reconstruction"][epoch] - history["kl"][epoch], rel=1e-6
        )


def test_warns_when_longer_than_the_training():
    with pytest.warns(UserWarning, match="BetaWarmup takes 10 epochs and training 2: beta will not reach 1"):
        fit_and_watch(make_vae(), kvae.callbacks.BetaWarmup(epochs=10), epochs=2)


def test_warns_when_training_stops_on_the_way():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    with pytest.warns(UserWarning, match=r"beta is 0\.25, not 1.*start_from_epoch"):
        fit_and_watch(make_vae(), kvae.callbacks.BetaWarmup(epochs=4), Stop())


def test_bad_arguments():
    for epochs in (0, -1, 1.5):
        with pytest.raises(ValueError, match="`epochs` must be a whole number"):
            kvae.callbacks.BetaWarmup(epochs=epochs)
    with pytest.raises(ValueError, match="zero or larger"):
        kvae.callbacks.BetaWarmup(epochs=2, stop=-1.0)
    with pytest.raises(ValueError, match="needs an objective with a `beta`.*Received: IWAE"):
        make_vae(objective="iwae").fit(X, verbose=0, callbacks=[kvae.callbacks.BetaWarmup(2)])
