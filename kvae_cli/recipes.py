"""How the settings of a run become its model: the parts, the networks, where they start from, and the optimiser."""

CHOICES = {"network": ("dense", "conv"), "schedule": ("cosine", "constant")}

# A VampPrior starts from rows of these, which lie evenly over the training data.
_ROWS_TO_CHOOSE_FROM = 10_000


def build(kvae, data_shape, rows, num_classes, settings, examples):
    """The VAE of a run on so many `rows`; `examples` is a function that gives those to start from, grey ones in grey."""
    likelihood = settings["likelihood"]
    if likelihood == "auto":
        likelihood = "bernoulli" if settings["data"] in ("mnist", "fashion_mnist", "sprites", "dsprites") else "normal"
    likelihood, posterior = kvae.likelihoods.get(likelihood), kvae.posteriors.get(settings["posterior"])
    objective = _objective(kvae, settings["objective"], settings["beta"], rows)
    if settings["warmup"] and not hasattr(objective, "beta"):
        raise ValueError(f"--warmup needs an objective with a beta, which {settings['objective']} does not have.")
    latent_dim, network = settings["latent_dim"], settings["network"]
    options = {"activation": settings["activation"], "num_classes": num_classes}
    if settings["hidden"]:
        options["hidden" if network == "dense" else "filters"] = settings["hidden"]
    if settings["residual_blocks"]:
        if network != "conv":
            raise ValueError(f"--residual-blocks are for --network conv, not {network}.")
        options["residual_blocks"] = settings["residual_blocks"]
    bias = _output_bias(likelihood, network, examples()) if settings["output_bias"] else 0.0
    encoder = getattr(kvae.networks, f"{network}_encoder")(
        data_shape, latent_dim, params_size=posterior.params_size(latent_dim), **options
    )
    decoder = getattr(kvae.networks, f"{network}_decoder")(
        latent_dim, likelihood.params_shape(data_shape), output_bias=bias, **options
    )
    vae = kvae.VAE(encoder, decoder, likelihood, posterior, settings["prior"], objective, seed=settings["seed"])
    if isinstance(vae.prior, kvae.priors.VampPrior):
        x, seed = examples(), settings["seed"]
        x = x[:: max(1, len(x) // max(_ROWS_TO_CHOOSE_FROM, vae.prior.num_components))]
        vae.prior.initialize(
            kvae.data.binarize(x, seed) if isinstance(likelihood, kvae.likelihoods.Bernoulli) else x, seed
        )
    return vae


def optimizer(settings, steps):
    """Adam at the learning rate of a run, for epochs of so many steps."""
    import keras

    rate = settings["learning_rate"]
    if settings["schedule"] == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, settings["epochs"] * steps)
    return keras.optimizers.Adam(rate)


def best_epoch(kvae, objective, warmup):
    """The figure by which the best epoch is kept, as arguments of callbacks: the loss, which is what was asked for.

    But the ELBO where the loss of one epoch is not that of another: in a warm-up, or with a critic that learns meanwhile.
    """
    if warmup or isinstance(objective, kvae.objectives.FactorVAE):
        return {"monitor": "val_elbo", "mode": "max"}
    return {"monitor": "val_loss", "mode": "min"}


def _objective(kvae, name, beta, rows):
    """The objective of a name, with what the command line knows of its arguments."""
    if beta is None:
        return kvae.objectives.get(name, dataset_size=rows)
    objective = kvae.objectives.get(name, dataset_size=rows, beta=beta)
    if not hasattr(objective, "beta"):
        raise ValueError(f"--beta needs an objective that takes one, which {name} does not.")
    if "beta" in kvae.parts.parse(name)[1]:
        raise ValueError(f"beta is given twice, by --beta {beta:g} and in --objective {name}: leave one of them out.")
    return objective


def _output_bias(likelihood, network, x):
    """Where the decoder's output starts: at the mean of x, which convolutions have for each channel."""
    return likelihood.initial_params(x if network == "dense" else x.reshape(-1, x.shape[-1]))
