"""What the latent space is used for: active units, the KL taken apart, and a verdict in words."""

import dataclasses
import math

import keras
import numpy as np

from kvae import checks, inputs
from kvae.evaluation import aggregate
from kvae.vae import VAE

# Burda et al. 2016: a unit is active if its posterior mean varies by more than this over the data.
ACTIVE_VARIANCE = 0.01
# Nats of I(x; z) below which a latent space counts as collapsed: one bit, which of two groups an example is from.
LEAST_INFORMATION = math.log(2)
# Nats of KL(q(z) || p(z)), and share of the KL, above which a latent space counts as overloaded.
MOST_MARGINAL_KL, MOST_MARGINAL_SHARE = 1.0, 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class LatentStatistics:
    """What `latent_statistics` found. All figures are nats, means over N examples; `print` shows them.

    q(z) = 1/N sum_n q(z|x_n) is the aggregate posterior of the N examples given. For them the figures are what they
    say, but for the noise of the draws. As estimates for all the data that x is a part of, `mutual_information` is too
    small, never above log N, and `marginal_kl` and `total_correlation` are too large by as much (`saturated`); more
    examples bring them nearer. `marginal_kl_lower` errs to the other side, so that KL(q(z) || p(z)) of all the data lies
    between `marginal_kl_lower` and `marginal_kl`, and their I(x; z) between `mutual_information` and
    `kl - marginal_kl_lower`, up to noise.

    What is not known is None, and `unknown` has the reason under its name.

    Attributes:
        kl: KL(q(z|x) || p(z)), in closed form where there is one, else the mean of log q(z|x) - log p(z) over the draws.
        kl_per_dimension: `[D]`, KL(q(z_d|x) || p(z_d)) of the marginals: in closed form for normals, over the draws
            where p(z_d) is a mixture. They sum to `kl` where the dimensions are independent in both.
        active: bool `[D]`, whether the variance over x of E[z_d|x] is more than 0.01.
        mutual_information: I(x; z) = E[log q(z|x) - log q(z)], at most log N.
        marginal_kl: KL(q(z) || p(z)), which is `kl - mutual_information`.
        marginal_kl_lower: a lower bound on it, as E[log r(z) - log p(z)] is for every density r. The largest of three: 0;
            that of a normal fitted to the draws, less Akaike's correction for the fit; and that of the mean posterior
            of all other examples.
        total_correlation: KL(q(z) || prod_d q(z_d)); 0 for independent dimensions.
        marginal_kl_per_dimension: `[D]`, KL(q(z_d) || p(z_d)).
        num_examples: N.
        num_samples: draws of z for each.
        unknown: dict from name to reason.
    """

    kl: float
    kl_per_dimension: np.ndarray | None
    active: np.ndarray
    mutual_information: float
    marginal_kl: float
    marginal_kl_lower: float
    total_correlation: float | None
    marginal_kl_per_dimension: np.ndarray | None
    num_examples: int
    num_samples: int
    unknown: dict

    @property
    def active_units(self):
        """How many latent dimensions are active."""
        return int(self.active.sum())

    @property
    def dimension_wise_kl(self):
        """sum_d KL(q(z_d) || p(z_d)). With `total_correlation` it makes up `marginal_kl` where p(z) = prod_d p(z_d)."""
        return None if self.marginal_kl_per_dimension is None else float(self.marginal_kl_per_dimension.sum())

    @property
    def saturated(self):
        """Whether I(x; z) is at the limit that N examples set: 95% of log N or more."""
        return self.mutual_information >= 0.95 * math.log(self.num_examples)

    @property
    def verdict(self):
        """ "collapsed", "overloaded" or "healthy", by the rules of `latent_statistics`."""
        uninformed = self.mutual_information < LEAST_INFORMATION and not self.saturated  # as of 2 examples
        if self.active_units == 0 or uninformed:
            return "collapsed"
        most = max(MOST_MARGINAL_KL, MOST_MARGINAL_SHARE * self.kl)
        return "overloaded" if self.marginal_kl_lower > most else "healthy"

    @property
    def reason(self):
        """The verdict in figures: a sentence."""
        units = f"{self.active_units} of {len(self.active)} units are active"
        held = f"the code holds {_figure(self.mutual_information)} nats{' or more' if self.saturated else ''} about x"
        if self.verdict == "collapsed":
            return f"{units} and {held}: the decoder makes little use of it"
        off = f"{self.marginal_kl_lower:.2f} nats of a KL of {self.kl:.2f}"
        if self.verdict == "overloaded":
            return f"a better prior would save {off}, or more: draws from this one miss the codes"
        return f"{units}, {held}, and what a better prior would save for certain is {off}"

    def __str__(self):
        information = f"at most log N = {math.log(self.num_examples):.2f}" + (", reached" if self.saturated else "")
        rows = [
            ("KL(q(z|x) || p(z))", self.kl, ""),
            ("  mutual information", self.mutual_information, information),
            ("  marginal KL", self.marginal_kl, f"at least {self.marginal_kl_lower:.2f}"),
            ("    total correlation", self.total_correlation, "or less, for log N is reached" * self.saturated),
            ("    dimension-wise KL", self.dimension_wise_kl, ""),
        ]
        lines = [f"{self.verdict}: {self.reason}"]
        for name, value, note in rows:
            lines.append(f"{name:22}" + ("unknown" if value is None else f"{_figure(value):>7}  {note}".rstrip()))
        lines.append(f"{'active units':22}{self.active_units:7}  of {len(self.active)}")
        draws = "1 draw" if self.num_samples == 1 else f"{self.num_samples} draws"
        lines.append(f"nats; {self.num_examples} examples, {draws} of z each")
        for reason in dict.fromkeys(self.unknown.values()):
            names = [name for name, each in self.unknown.items() if each == reason]
            lines.append(f"unknown, because {reason}: {', '.join(names)}")
        return "\n".join(lines)


def latent_statistics(vae, x, num_samples=1, seed=0, num_examples=2000, batch_size=256):
    """What the latent space is used for: active units, the KL taken apart, and a verdict.

        KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z))
                           = I(x; z) + KL(q(z) || prod_d q(z_d)) + sum_d KL(q(z_d) || p(z_d))

    means over x: mutual information, total correlation and dimension-wise KL; the second line is for a prior of
    independent dimensions. q(z), the mean of the posteriors of all examples used, is exact, not estimated from batches.

    The verdict is

    - "collapsed" if no unit is active, or I(x; z) < log 2: the code tells less than one bit about x, and less than
      the examples could show.
    - "overloaded" if KL(q(z) || p(z)) is certainly, by its lower bound, more than 1 nat and more than a twentieth of the
      KL: draws from the prior fall where no codes are. See `kvae.priors.fit_mixture`, or raise beta.
    - "healthy" else. That I(x; z) reaches log N is no fault: any good code tells a few thousand examples apart.

    In a conditional model an example is the pair (x, c), and I is what z tells about the pair.

    References: Hoffman and Johnson 2016, "ELBO surgery: yet another way to carve up the variational evidence lower
    bound", NIPS workshop (the first line); Chen et al. 2018, arXiv:1802.04942, equation 2 (the second); Burda et al.
    2016, arXiv:1509.00519 (active units); Poole et al. 2019, arXiv:1905.06922 (bounds of I from both sides by the
    posteriors of other examples).

    Args:
        vae: `kvae.VAE`.
        x: arrays, (x, c) for a conditional model, or a data set.
        num_samples: draws of z per example.
        seed: int, of the draws and of the choice of examples.
        num_examples: how many examples to use at most, N: of arrays rows chosen by the seed, of a data set the first.
            Time is O(S N^2 D), a second for 2,000 and 16 dimensions; more for posteriors that are flows.
        batch_size: posteriors at a time; memory does not grow with N beyond the codes themselves.

    Returns:
        `LatentStatistics`.

    Raises:
        ValueError: for fewer than 2 examples, an x that the VAE does not take, an encoder whose output is not finite, or
            an autoencoder, whose codes have no noise.
        TypeError: if `vae` is no `kvae.VAE`.

    Example:
        >>> statistics = kvae.evaluation.latent_statistics(vae, x_test)
        >>> statistics.verdict, statistics.active_units
        ('healthy', 8)
        >>> print(statistics)
    """
    num_samples = checks.check_count("num_samples", num_samples)
    batch_size = checks.check_count("batch_size", batch_size)
    x = choose_examples(vae, x, num_examples, seed)
    known = aggregate.describe(vae, x, num_samples, seed, batch_size)
    if not np.isfinite(known["params"]).all():
        raise ValueError(
            "The encoder's output is not finite for some examples. Was the model trained, and on such data?"
        )
    known = {name: values if name in ("params", "z") else values.astype("float64") for name, values in known.items()}
    count = len(known["z"])
    others, others_per_dimension = aggregate.log_sum_of_others(vae, known["params"], known["z"], batch_size)

    log_posterior = known["log_posterior"]  # [N, S]
    information = _information(log_posterior, others)
    kl = float(known["kl"].mean())
    leave_one_out = others.mean() - math.log(count - 1)
    # E[log r(z) - log p(z)] by way of log q(z|x), which goes up and down with log r(z) more than log p(z) does.
    lower = max(0.0, kl + max(_normal_fit(known["z"]), leave_one_out) - log_posterior.mean())
    total_correlation = kl_per_dimension = marginal_kl_per_dimension = None
    unknown = {}
    if others_per_dimension is not None:
        log_marginals = known["log_marginals"]  # [N, S, D]
        per_dimension = _information(log_marginals, others_per_dimension)
        # TC(q(z)) = sum_d I(x; z_d) - I(x; z) + E[TC(q(z|x))]
        within = (log_posterior - log_marginals.sum(axis=-1)).mean()
        total_correlation = float(per_dimension.sum() - information + within)
        if "kl_per_dimension" in known:
            kl_per_dimension = known["kl_per_dimension"].mean(axis=0)
            marginal_kl_per_dimension = kl_per_dimension - per_dimension
    else:
        unknown["total_correlation"] = f"{_name(vae.posterior)} has no marginal densities q(z_d|x) in closed form"
    if kl_per_dimension is None:
        head = vae.prior if others_per_dimension is not None else vae.posterior
        reason = f"{_name(head)} has no marginal densities in closed form"
        unknown |= {"kl_per_dimension": reason, "marginal_kl_per_dimension": reason, "dimension_wise_kl": reason}
    spread = known["mean"].var(axis=0) - known["mean_error"].mean(axis=0)
    return LatentStatistics(
        kl=kl,
        kl_per_dimension=kl_per_dimension,
        active=spread > ACTIVE_VARIANCE,
        mutual_information=float(information),
        marginal_kl=float(kl - information),
        marginal_kl_lower=float(lower),
        total_correlation=total_correlation,
        marginal_kl_per_dimension=marginal_kl_per_dimension,
        num_examples=count,
        num_samples=num_samples,
        unknown=unknown,
    )


def choose_examples(vae, x, num_examples, seed):
    """At least 2 and at most `num_examples` rows of x, checked: of arrays some at random, of a data set the first."""
    _check_model(vae)
    num_examples, seed = checks.check_count("num_examples", num_examples, least=2), checks.check_seed(seed)
    if inputs.is_stream(x):
        batches, rows = [], 0
        for batch in x:
            batches.append(keras.utils.unpack_x_y_sample_weight(batch)[0])
            rows += len(keras.tree.flatten(batches[-1])[0])
            if rows >= num_examples:
                break
        if not batches:
            raise ValueError("The data set is empty: it yields no batch.")
        x = keras.tree.map_structure(lambda *parts: np.concatenate(parts)[:num_examples], *batches)
    x = inputs.checked_x(vae, x)
    count = len(keras.tree.flatten(x)[0])
    if count < 2:
        raise ValueError("The aggregate posterior needs at least 2 examples in `x`. Received: 1.")
    if count <= num_examples:
        return x
    rows = np.sort(np.random.default_rng(seed % 2**32).choice(count, num_examples, replace=False))
    return keras.tree.map_structure(lambda each: np.asarray(each)[rows], x)


def _figure(value):
    return f"{round(value, 2) + 0.0:.2f}"  # and no minus before a zero


def _information(log_posterior, log_others):
    """E[log q(z|x) - log q(z)], means over the first two axes; `log_others` is the log of the sum of all others."""
    log_aggregate = np.logaddexp(log_posterior, log_others) - math.log(len(log_posterior))
    return (log_posterior - log_aggregate).mean(axis=(0, 1))


def _normal_fit(z):
    """E[log r(z)] for new z of the normal r, of diagonal or full covariance, that fits draws `[N, S, D]`: Akaike's estimate."""
    count, _, dim = z.shape
    covariance = np.cov(z.reshape(-1, dim).astype("float64"), rowvar=False, bias=True).reshape(dim, dim)
    best = -math.inf
    for fitted, num_parameters in ((np.diag(np.diag(covariance)), 2 * dim), (covariance, dim * (dim + 3) // 2)):
        sign, log_det = np.linalg.slogdet(2 * math.pi * math.e * fitted)
        if sign > 0 and num_parameters < count:
            best = max(best, -0.5 * log_det - num_parameters / count)
    return best


def _name(part):
    return f"the {'posterior' if hasattr(part, 'params_size') else 'prior'} {type(part).__name__}"


def _check_model(vae):
    if not isinstance(vae, VAE):
        raise TypeError(f"`vae` must be a kvae.VAE. Received: {vae!r} (of type {type(vae).__name__}).")
    if not vae.generative:
        raise ValueError(
            "The latent statistics compare q(z|x) with p(z), and the codes of an autoencoder have no noise and no prior. "
            f"Use a kvae.VAE. Received: {type(vae).__name__}."
        )
