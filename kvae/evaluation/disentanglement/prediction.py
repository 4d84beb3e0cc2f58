"""Scores of how well factors are predicted from codes, by estimators of scikit-learn."""

from typing import NamedTuple

import numpy as np

from kvae import checks
from kvae.evaluation.disentanglement.score import Score, check_seed, checked, gap

TEST_SHARE = 1 / 3
_SPLIT = "a third set aside"


class DCI(NamedTuple):
    """The three scores of `dci`."""

    disentanglement: Score
    completeness: Score
    informativeness: Score

    def __str__(self):
        return "\n".join(map(str, self))


def dci(codes, factors, names=None, estimator="random_forest", seed=0):
    """Disentanglement, completeness and informativeness, from the importance of each dimension for each factor.

    Importances R `[D, K]` are those of an estimator that predicts a factor from all dimensions. Disentanglement is the
    mean over dimensions j of 1 - H(R_j. / sum_k R_jk) / log K, weighted by their share of all importance: whether a
    dimension serves one factor. Completeness is the mean over factors of 1 - H(R_.k / sum_j R_jk) / log D: whether a
    factor needs one dimension. Informativeness is how well factors are predicted on test examples.

    Trees that are grown on noise share their importance out to all dimensions, so that figures of different estimators
    do not compare.

    Reference: Eastwood and Williams 2018, "A framework for the quantitative evaluation of disentangled representations",
    ICLR. They take the lasso and random forests; Locatello et al. 2019, arXiv:1811.12359, gradient boosting.

    Args:
        codes: array `[N, D]`.
        factors: integers `[N, K]`.
        names: K names of the factors.
        estimator: "random_forest" (seconds), "gradient_boosting" (minutes for 10,000 examples), both with accuracy for
            informativeness; or "lasso", linear in standardised codes and factors, with R^2.
        seed: int; of the split into training and test, and of the estimator.

    Returns:
        `DCI` of three `Score`s; details `importance` `[D, K]` or `per_factor` `[K]`.

    Raises:
        ValueError: as `mig`, for one factor alone, and for another estimator.

    Example:
        >>> print(kvae.evaluation.dci(vae.transform(x), factors))
    """
    codes, factors, names = checked("DCI", codes, factors, names, least_dims=2, least_factors=2)
    checks.check_choice("estimator", estimator, tuple(_ESTIMATORS))
    make, prepare, words = _ESTIMATORS[estimator]
    fits = [_fit(make(check_seed(seed)), *_split(*prepare(codes, factor), factor, seed)) for factor in factors.T]
    importance = np.stack([_importance(model) for model, _ in fits], axis=1)
    quality = np.array([max(0.0, test) for _, test in fits])

    weights = importance.sum(axis=1)
    disentangled = float(np.average(_concentration(importance), weights=weights)) if weights.any() else 0.0
    complete = float(_concentration(importance.T).mean())

    def score(name, value, measure, details):
        return Score(f"DCI {name}", value, f"{measure} of {words}", len(codes), names, seed=seed, details=details)

    measure = f"{'R^2' if estimator == 'lasso' else 'accuracy'} on {_SPLIT}"
    return DCI(
        score("disentanglement", disentangled, "importances", {"importance": importance}),
        score("completeness", complete, "importances", {"importance": importance}),
        score("informativeness", float(quality.mean()), measure, {"per_factor": quality}),
    )


def sap(codes, factors, names=None, categorical=(), classifier="thresholds", seed=0):
    """Separated attribute predictability: the mean over factors of S_ak - S_bk.

    S_jk is how well dimension j alone predicts factor k, and a and b are the two best dimensions: the squared correlation
    where the values of the factor are in an order, and the test accuracy of a classifier, balanced over the values, where
    they are not. A factor of V values without an order can reach 1 - 1/V at most, since by chance the second best dimension
    predicts it with the accuracy 1/V.

    Reference: Kumar, Sattigeri and Balakrishnan 2018, "Variational inference of disentangled latent concepts",
    arXiv:1711.00848, section 3. Locatello et al. 2019, arXiv:1811.12359, take all factors as categorical, by "svm".

    Args:
        codes: array `[N, D]`.
        factors: integers `[N, K]`.
        names: K names of the factors.
        categorical: names of the factors whose values have no order.
        classifier: "thresholds", cuts of the dimension, one fewer than there are values; or "svm", a linear support
            vector machine for each value, C = 0.01.
        seed: int; of the split into training and test.

    Returns:
        `Score`; details `predictability` `[D, K]` and `gaps` `[K]`.

    Raises:
        ValueError: as `mig`, for an unknown factor and for another classifier.

    Example:
        >>> codes = vae.transform(x)
        >>> print(kvae.evaluation.sap(codes, factors, names=("shape", "scale"), categorical=("shape",)))
    """
    codes, factors, names = checked("SAP", codes, factors, names, least_dims=2)
    checks.check_choice("classifier", classifier, tuple(_CLASSIFIERS))
    for name in categorical:
        checks.check_choice("categorical", name, names)
    predict = _CLASSIFIERS[classifier]
    predictability = np.stack(
        [
            _accuracies(codes, factor, predict, seed) if name in categorical else _squared_correlations(codes, factor)
            for name, factor in zip(names, factors.T, strict=True)
        ],
        axis=1,
    )
    gaps = gap(predictability)
    ordered = [name for name in names if name not in categorical]
    methods = [f"squared correlation for {', '.join(ordered)}"] if ordered else []
    if categorical:
        words = {"thresholds": "thresholds", "svm": "linear SVM, C 0.01,"}[classifier]
        methods.append(f"balanced accuracy on {_SPLIT} of {words} for {', '.join(categorical)}")
    details = {"predictability": predictability, "gaps": gaps}
    return Score(
        "SAP",
        float(gaps.mean()),
        " and ".join(methods),
        len(codes),
        names,
        seed=seed if categorical else None,
        details=details,
    )


def explicitness(codes, factors, names=None, seed=0):
    """How well all dimensions together give each factor, linearly: the mean ROC AUC over values and factors.

    By a multinomial logistic regression on standardised codes, each value against the rest, on test examples. Chance is
    0.5.

    Reference: Ridgeway and Mozer 2018, arXiv:1802.05312, section 3.

    Args:
        codes: array `[N, D]`.
        factors: integers `[N, K]`.
        names: K names of the factors.
        seed: int; of the split into training and test.

    Returns:
        `Score`; details `per_factor` `[K]`.

    Raises:
        ValueError: as `mig`, but for any D.

    Example:
        >>> print(kvae.evaluation.explicitness(vae.transform(x), factors))
    """
    from sklearn.metrics import roc_auc_score

    codes, factors, names = checked("Explicitness", codes, factors, names)

    def area(factor):
        x_train, x_test, y_train, y_test = _split(codes, factor, factor, seed)
        chances = linear_classifier().fit(x_train, y_train).predict_proba(x_test)
        return roc_auc_score(y_test[:, None] == np.arange(chances.shape[1]), chances)

    areas = np.array([area(factor) for factor in factors.T])
    method = f"ROC AUC on {_SPLIT} of logistic regression, chance 0.5"
    return Score(
        "explicitness", float(areas.mean()), method, len(codes), names, seed=seed, details={"per_factor": areas}
    )


def linear_classifier():
    """Logistic regression on standardised features, with the penalty that scikit-learn has by default (C = 1)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))


def _split(x, y, values, seed):
    """x and y for training and for test, every value of a factor in both."""
    from sklearn.model_selection import train_test_split

    return train_test_split(x, y, test_size=TEST_SHARE, random_state=check_seed(seed), stratify=values)


def _fit(model, x_train, x_test, y_train, y_test):
    return model.fit(x_train, y_train), model.score(x_test, y_test)


# DCI


def _concentration(importance):
    """1 - H(row / its sum) / log(its length) for each row; 0 for a row of zeros."""
    total = importance.sum(axis=1, keepdims=True)
    share = np.divide(importance, total, out=np.full_like(importance, 1 / importance.shape[1]), where=total > 0)
    entropy = -np.sum(share * np.log(np.where(share > 0, share, 1.0)), axis=1)
    return 1 - entropy / np.log(importance.shape[1])


def _importance(model):
    return model.feature_importances_ if hasattr(model, "feature_importances_") else np.abs(model.coef_)


def _standardised(codes, factor):
    from sklearn.preprocessing import scale

    return scale(codes), scale(factor.astype("float64"))


def _random_forest(seed):
    from sklearn.ensemble import RandomForestClassifier

    # All dimensions at every split: were some hidden at random, others would seem important in their place.
    return RandomForestClassifier(50, max_depth=8, max_features=None, random_state=seed, n_jobs=-1)


def _gradient_boosting(seed):
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(random_state=seed)


def _lasso(seed):
    from sklearn.linear_model import Lasso

    return Lasso(alpha=0.02)


_ESTIMATORS = {
    "random_forest": (_random_forest, lambda *arrays: arrays, "random forest of 50 trees, depth 8"),
    "gradient_boosting": (_gradient_boosting, lambda *arrays: arrays, "gradient boosting, 100 trees, depth 3"),
    "lasso": (_lasso, _standardised, "lasso, alpha 0.02"),
}

# SAP


def _squared_correlations(codes, factor):
    centred, target = codes - codes.mean(axis=0), factor - factor.mean()
    variances = np.sum(centred**2, axis=0) * np.sum(target**2)
    return np.divide((target @ centred) ** 2, variances, out=np.zeros(codes.shape[1]), where=variances > 0)


def _accuracies(codes, factor, classifier, seed):
    from sklearn.metrics import balanced_accuracy_score

    x_train, x_test, y_train, y_test = _split(codes, factor, factor, seed)
    dimensions = [[j] for j in range(codes.shape[1])]
    models = [classifier(factor.max() + 1).fit(x_train[:, j], y_train) for j in dimensions]
    return np.array(
        [
            balanced_accuracy_score(y_test, model.predict(x_test[:, j]))
            for model, j in zip(models, dimensions, strict=True)
        ]
    )


def _thresholds(num_values):
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_leaf_nodes=int(num_values), class_weight="balanced", random_state=0)


def _svm(num_values):
    from sklearn.svm import LinearSVC

    return LinearSVC(C=0.01, class_weight="balanced")


_CLASSIFIERS = {"thresholds": _thresholds, "svm": _svm}
