"""`benchmarks/RESULTS.md` from the figures in `results/` and what was published, `published.toml`.

Run `python benchmarks/reproduce/report.py`; with `--check` it writes nothing, and exits with 1 if the file is another.
"""

import argparse
import json
import math
import operator
import pathlib
import statistics
import sys
import tomllib

HOME = pathlib.Path(__file__).parent
RESULTS = HOME.parent / "RESULTS.md"

# How a target may compare: (words, whether it holds).
COMPARISONS = {
    "at_most": ("at most", operator.le),
    "below": ("below", operator.lt),
    "above": ("above", operator.gt),
}
_MINUTES = {"decimals": 0}
COLUMNS = ("-ELBO", "active units", "epochs", "steps", "minutes", "cores", "seeds")


class Row:
    """A row of the table: what was published and is aimed at, `told`; and the results of all seeds, possibly none.

    `scores` are those of its table: from name to title and decimals.
    """

    def __init__(self, name, told, scores, results):
        self.name, self.told, self.scores = name, told, scores
        self.results = sorted(results, key=operator.itemgetter("seed"))

    def values(self, score):
        if score == "minutes":
            return [result["training"]["seconds"] / 60 for result in self.results]
        tests = [result["test"] for result in self.results]
        return [test[score] if score in test else test["disentanglement"][score]["value"] for test in tests]

    def obtained(self, score):
        """The mean over the seeds; of minutes, those of the slowest."""
        return (max if score == "minutes" else statistics.fmean)(self.values(score))

    def error(self, score):
        """The standard error over the seeds and, as far as known, over the test images, which the seeds share; or None."""
        values, of_images = self.values(score), [_error(result, score) for result in self.results]
        known = []
        if len(values) > 1:
            known.append(statistics.stdev(values) / len(values) ** 0.5)
        if None not in of_images:
            known.append(statistics.fmean(of_images))
        return math.hypot(*known) if known else None

    def by_seed(self, score):
        """The figure of each seed, in words."""
        figures = zip(self.values(score), self.results, strict=True)
        return [_figure(self.scores[score], value, _error(result, score)) for value, result in figures]

    def met(self, rows):
        """Whether all targets are met; None where there is none, or what they ask for was not run."""
        verdicts = set()
        for score, comparison, limit in self.targets():
            other = rows.get(limit)
            if not self.results or (other and not other.results):
                verdicts.add(None)
            else:
                verdicts.add(
                    COMPARISONS[comparison][1](self.obtained(score), other.obtained(score) if other else limit)
                )
        return False if False in verdicts else None if None in verdicts or not verdicts else True

    def targets(self):
        """(score, comparison, number or name of another row) of each."""
        for target in self.told.get("targets", ()):
            (comparison,) = target.keys() - {"score"}
            yield target["score"], comparison, target[comparison]

    def cells(self, rows):
        """What stands in the table."""
        cells = [f"`{self.name}`"]
        for score, style in self.scores.items():
            cells.append(self.told.get("published", {}).get(score, ""))
            cells.append(_figure(style, self.obtained(score), self.error(score)) if self.results else "not run")
        cells += [self._target(), {True: "yes", False: "no", None: ""}[self.met(rows)]]
        return cells + (self._costs() if self.results else [""] * len(COLUMNS))

    def _target(self):
        words = []
        for score, comparison, limit in self.targets():
            what = f"{self.scores[score]['title']} " if len(self.scores) > 1 else ""
            limit = f"`{limit}`" if isinstance(limit, str) else _figure(self.scores.get(score, _MINUTES), limit)
            unit = " minutes" if score == "minutes" else ""
            words.append(f"{'' if unit else what}{COMPARISONS[comparison][0]} {limit}{unit}")
        return ", ".join(words)

    def _costs(self):
        training = [result["training"] for result in self.results]
        mean = {name: statistics.fmean(each[name] for each in training) for name in training[0]}
        return [
            f"{-self.obtained('elbo'):.2f}",
            f"{mean['active_units']:.3g} of {mean['latent_dim']:.0f}",
            f"{mean['epochs']:,.0f}",
            f"{mean['steps']:,.0f}",
            f"{self.obtained('minutes'):.1f}",
            ", ".join(map(str, sorted({result["machine"]["cores"] for result in self.results}))),
            ", ".join(str(result["seed"]) for result in self.results),
        ]


def _error(result, score):
    """The standard error of one seed over its test images; None where it is not known."""
    return result["test"]["standard_error"] if score == "negative_log_likelihood" else None


def _figure(style, value, error=None):
    decimals = style["decimals"]
    return f"{value:.{decimals}f}" + (f" +- {error:.{decimals}f}" if error is not None else "")


def read_results(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def make_rows(published, results):
    """The rows by name, in the order of `published`."""
    if unknown := sorted({result["row"] for result in results} - set(published["rows"])):
        raise ValueError(f"results of rows that are not in published.toml: {', '.join(unknown)}")
    rows = {}
    for name, told in published["rows"].items():
        scores = {score: published["scores"][score] for score in published["groups"][told["group"]]["scores"]}
        rows[name] = Row(name, told, scores, [result for result in results if result["row"] == name])
    return rows


def write(published, results):
    """The text of RESULTS.md."""
    rows = make_rows(published, results)
    lines = ["# The published tables, reproduced", "", published["introduction"].strip()]
    if results:
        lines += ["", "Made on " + "; ".join(_made_on(results)) + "."]
    for name, group in published["groups"].items():
        of_group = [row for row in rows.values() if row.told["group"] == name]
        titles = [published["scores"][score]["title"] for score in group["scores"]]
        header = ["row", *(f"{title}, {which}" for title in titles for which in ("published", "obtained"))]
        header += ["target", "met", *COLUMNS]
        table = [header, ["---"] * len(header), *(row.cells(rows) for row in of_group)]
        lines += ["", f"## {group['title']}", "", group["text"].strip(), ""]
        lines += [f"| {' | '.join(cells)} |" for cells in table]
        lines += ["", *(_about(row, rows) for row in of_group)]
    return "\n".join(lines) + "\n"


def _about(row, rows):
    words = [row.told["what"]]
    if "source" in row.told:
        words.append(f"Published: {row.told['source']}.")
    if len(row.results) > 1:
        words += [f"{style['title']} by seed: {', '.join(row.by_seed(score))}." for score, style in row.scores.items()]
    if row.met(rows) is False:
        words.append(f"Missed: {row.told.get('remark', 'why is not known.')}")
    return f"- `{row.name}`: {' '.join(words)}"


def _made_on(results):
    """The machines and versions of the results, in words."""
    names = ("python", "kvae", "tensorflow", "keras", "numpy")
    return sorted(
        {
            f"{result['machine']['system']} {result['machine']['machine']}, "
            + ", ".join(f"{name} {result['versions'][name]}" for name in names)
            for result in results
        }
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if RESULTS.md is not what the figures give")
    options = parser.parse_args()
    text = write(tomllib.loads((HOME / "published.toml").read_text()), read_results(HOME / "results"))
    if not options.check:
        RESULTS.write_text(text)
        print(f"wrote {RESULTS}")
    elif not RESULTS.exists() or RESULTS.read_text() != text:
        sys.exit("benchmarks/RESULTS.md is not what the figures give: run python benchmarks/reproduce/report.py")


if __name__ == "__main__":
    main()
