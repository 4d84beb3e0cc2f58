"""All scores of a model at once."""

import dataclasses

import numpy as np
import tensorflow as tf

from kvae import checks, inputs, random
from kvae.data.factors import Factors, FactorTable
from kvae.evaluation.disentanglement.information import mig, modularity
from kvae.evaluation.disentanglement.intervention import beta_vae_score, factor_vae_score, irs
from kvae.evaluation.disentanglement.prediction import dci, explicitness, sap
from kvae.evaluation.disentanglement.score import check_seed
from kvae.vae import VAE

# Images that are drawn and encoded at a time: 32 MB of 64x64 pixels.
_AT_ONCE = 2048

_SCORES = {
    "mig": lambda table, seed: mig(*_arrays(table)),
    "dci": lambda table, seed: dci(*_arrays(table), seed=seed),
    "sap": lambda table, seed: sap(*_arrays(table), categorical=table.categorical, seed=seed),
    "modularity": lambda table, seed: modularity(*_arrays(table)),
    "explicitness": lambda table, seed: explicitness(*_arrays(table), seed=seed),
    "irs": lambda table, seed: irs(*_arrays(table)),
    "factor_vae": lambda table, seed: factor_vae_score(table, num_examples=len(table), seed=seed),
    "beta_vae": lambda table, seed: beta_vae_score(table, seed=seed),
}
SCORES = tuple(_SCORES)


@dataclasses.dataclass(frozen=True)
class Disentanglement:
    """The scores of one representation; `print` shows them with their protocols.

    Attributes:
        scores: dictionary from a name, such as "mig" or "dci_completeness", to its `Score`.
    """

    scores: dict

    def __getitem__(self, name):
        return self.scores[name]

    def __str__(self):
        first = next(iter(self.scores.values()))
        rows = [f"{score.name:>20}  {score.value:.3f}  {score.method}" for score in self.scores.values()]
        return "\n".join([f"Disentanglement of {first.representation}, {first.measured_on}", *rows])

    def to_dict(self):
        """All scores with their protocols, for JSON."""
        return {name: score.to_dict() for name, score in self.scores.items()}


class Encoded(Factors):
    """The codes of a data set with known factors, encoded anew at each draw.

    Args:
        vae: `kvae.VAE` or `kvae.Autoencoder`, or any function from x `[N, ...]` to codes `[N, D]`.
        data_set: `kvae.data.Factors`.
        representation: "mean" or "sample" of q(z|x).
        seed: int; of the noise of samples.

    Raises:
        ValueError: for a model of another shape than the data, a conditional model, or samples of what has none.

    Example:
        >>> codes = kvae.evaluation.Encoded(vae, kvae.data.sprites())
        >>> print(kvae.evaluation.factor_vae_score(codes, num_votes=100))
    """

    def __init__(self, vae, data_set, representation="mean", seed=0):
        if not isinstance(data_set, Factors):
            raise TypeError(
                "`data_set` must be one with known factors: kvae.data.sprites(), kvae.data.FactorTable(x, factors) or another "
                f"kvae.data.Factors. Received: {type(data_set).__name__}."
            )
        super().__init__(dict(zip(data_set.names, data_set.sizes, strict=True)), data_set.categorical)
        self.data_set = data_set
        self.representation = f"{representation}s" if isinstance(vae, VAE) else "codes"
        self._encode = _encoder(vae, data_set, representation, seed)

    def __len__(self):
        return len(self.data_set)

    def sample(self, num_examples, rng=0, fixed=None):
        return self.data_set.sample(num_examples, rng, fixed)

    def images(self, factors):
        return np.concatenate([self._encode(self.data_set.images(part)) for part in _parts(factors)])

    def draw(self, num_examples, rng=0, fixed=None):
        """(codes `[N, D]`, factors `[N, K]`) of random factors."""
        if isinstance(self.data_set, FactorTable):  # where rows may have the same factors
            x, factors = self.data_set.draw(num_examples, rng, fixed)
            return np.concatenate([self._encode(part) for part in _parts(x)]), factors
        return super().draw(num_examples, rng, fixed)


def disentanglement(vae, data_set, scores=SCORES, num_examples=10_000, seed=0, representation="mean", progress=None):
    """How well a model's latent dimensions keep the factors of its data apart, by the scores of the literature.

    Random examples are encoded once, and all scores are of these codes: the batches of the FactorVAE and BetaVAE scores
    are drawn from them too. For new examples in each batch, or other settings, call `factor_vae_score` and its
    neighbours by themselves. Figures compare only where the protocols do; every score prints its own.

    Args:
        vae: `kvae.VAE` or `kvae.Autoencoder`, or any function from x `[N, ...]` to codes `[N, D]`.
        data_set: `kvae.data.Factors` of the shape of the model's data, such as `kvae.data.sprites()`.
        scores: names out of `kvae.evaluation.SCORES`; by default all.
        num_examples: N. Of a `FactorTable`, at most all its rows.
        seed: int; of the examples and of all that follows.
        representation: "mean" or "sample" of q(z|x).
        progress: optional function of a str, called before each piece of work.

    Returns:
        `Disentanglement`.

    Raises:
        TypeError: for a data set without known factors.
        ValueError: for unknown scores, a model that does not fit the data, or too few examples for a score.

    Example:
        >>> print(kvae.evaluation.disentanglement(vae, kvae.data.sprites()))
    """
    scores = (scores,) if isinstance(scores, str) else tuple(scores)
    for name in scores:
        checks.check_choice("scores", name, SCORES)
    if not scores:
        raise ValueError(f"`scores` is empty. The scores are {', '.join(SCORES)}.")
    num_examples, say = checks.check_count("num_examples", num_examples), progress or (lambda note: None)
    encoded = Encoded(vae, data_set, representation, seed)
    if isinstance(data_set, FactorTable):
        num_examples = min(num_examples, len(data_set))
    say(f"encoding {num_examples:,} examples")
    codes, factors = encoded.draw(num_examples, check_seed(seed))
    table = FactorTable(codes, factors, data_set.names, data_set.categorical)

    results = {}
    for name in scores:
        say(name)
        result = _SCORES[name](table, seed)
        parts = (
            {f"{name}_{part}": score for part, score in result._asdict().items()} if name == "dci" else {name: result}
        )
        for part, score in parts.items():
            results[part] = dataclasses.replace(score, representation=encoded.representation, seed=seed)
    return Disentanglement(results)


def _parts(rows):
    return np.array_split(rows, -(-len(rows) // _AT_ONCE))


def _arrays(table):
    return table.x, table.factors, table.names


def _encoder(vae, data_set, representation, seed):
    """The function from x to codes as numpy arrays `[N, D]`."""
    checks.check_choice("representation", representation, ("mean", "sample"))
    if not isinstance(vae, VAE):
        if representation == "sample":
            raise ValueError("representation='sample' is for a kvae.VAE; a function gives the codes that it gives.")
        return lambda x: _as_codes(vae(x), len(x))
    if vae.condition_shape is not None:
        raise ValueError(
            "The model is conditional: its code need not hold what the condition says. Pass a function from x to codes "
            "that fills in the condition, for instance lambda x: vae.transform((x, c))."
        )
    if vae.data_shape is not None and tuple(vae.data_shape) != tuple(data_set.data_shape):
        raise ValueError(
            f"The model takes x of shape {list(vae.data_shape)}, and {data_set!r} gives {list(data_set.data_shape)}."
        )
    if representation == "mean":
        return vae.transform
    if not vae.generative:
        raise ValueError("representation='sample' needs a distribution q(z|x), which an autoencoder does not have.")
    seed, seen = tf.constant(check_seed(seed), tf.uint32), 0

    def draw(x):
        nonlocal seen
        rows = tf.range(seen, seen + len(x))
        seen += len(x)
        return vae.as_graph(_posterior_sample)(tf.cast(inputs.checked_x(vae, x), tf.float32), seed, rows).numpy()

    return draw


def _as_codes(codes, count):
    codes = np.asarray(codes)
    if codes.ndim != 2 or len(codes) != count:
        raise ValueError(
            f"The function must give codes [N, D], one for each x. Received: {list(codes.shape)} for {count} examples."
        )
    checks.check_values(codes, "codes")
    return codes


def _posterior_sample(vae, x, seed, row):
    params = vae.posterior_params(x)
    noise = random.Noise(seed, random.EVALUATION, row).normal(vae.posterior.noise_size(params))
    return vae.posterior.from_noise(params, noise)[0]
