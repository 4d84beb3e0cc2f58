"""`kvae evaluate`: the figures of a model on test data."""

import json
import sys
from typing import Annotated

import typer

from kvae_cli import common, reports
from kvae_cli.common import Examples, Model, Samples, Seed

# Importance samples in all above which it takes minutes.
_LONG = 1_000_000


def evaluate(
    model: Model,
    data: Annotated[str | None, typer.Option(help="As for train; by default what the model was trained on.")] = None,
    samples: Samples = 1000,
    examples: Examples = 1000,
    seed: Seed = 0,
    disentanglement: Annotated[
        bool, typer.Option("--disentanglement", help="Score the codes too; for sprites and dsprites.")
    ] = False,
    disentanglement_examples: Annotated[
        int, typer.Option(min=1, help="How many examples the scores of disentanglement take.")
    ] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
):
    """Print the ELBO and the importance-weighted likelihood of a model on test data, in nats."""
    kvae, vae, loaded = common.load(model, data)
    known = _known_factors(kvae, vae, data or common.run_settings(kvae, model)["data"]) if disentanglement else None
    report = figures(kvae, vae, common.test_data(kvae, vae, loaded), samples, examples, seed)
    scores = None
    if disentanglement:
        scores = kvae.evaluation.disentanglement(
            vae, known, num_examples=disentanglement_examples, seed=seed, progress=_note
        )
    if as_json:
        print(json.dumps(report | ({"disentanglement": scores.to_dict()} if scores else {}), indent=2))
    else:
        reports.print_report({"test": report})
        if scores:
            print(scores)


def _known_factors(kvae, vae, data):
    """The data set of a name, with its factors, once it fits the model."""
    if data not in kvae.data.sets.FACTORS:
        known = " or ".join(kvae.data.sets.FACTORS)
        raise typer.BadParameter(f"--disentanglement needs data whose factors are known, {known}, not '{data}'.")
    data_set = common.usage(kvae.data.sets.FACTORS[data])
    common.usage(kvae.evaluation.Encoded, vae, data_set)
    return data_set


def _note(note):
    print(f"kvae: disentanglement: {note}", file=sys.stderr)


def figures(kvae, vae, test, samples, examples, seed):
    """What is reported of a model on its test data."""
    report = vae.evaluate(test, batch_size=256, return_dict=True, verbose=0)
    some = common.rows(test, slice(examples))
    count = len(some[0] if isinstance(some, tuple) else some)
    if count * samples > _LONG:  # on a terminal a bar follows
        note = f"kvae: log p(x) of {count:,} test examples by {samples:,} importance samples each"
        print(note, file=sys.stderr, flush=True)
    values = kvae.evaluation.log_likelihood(vae, some, num_samples=samples, seed=seed)
    likelihood = kvae.evaluation.estimate(values)
    return {
        **{name: round(report[name], 4) for name in ("elbo", "reconstruction", "kl")},
        "num_examples": len(test[0] if isinstance(test, tuple) else test),
        "negative_log_likelihood": round(-likelihood.mean, 4),
        "standard_error": round(likelihood.standard_error, 4),
        "importance_samples": samples,
        "likelihood_examples": likelihood.num_examples,
    }
