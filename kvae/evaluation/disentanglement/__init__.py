"""How well the dimensions of a code keep the factors of variation apart.

`disentanglement` gives all scores of a model. Each is also a function of its own: of arrays, codes `[N, D]` and factors
`[N, K]`; or, where whole batches are drawn that share a factor's value, of a `kvae.data.Factors` of codes.

    information     mig, modularity: mutual information
    prediction      dci, sap, explicitness: how well factors are predicted from codes
    intervention    factor_vae_score, beta_vae_score, irs: what stays when one factor is held
"""

from kvae.evaluation.disentanglement.information import mig, modularity
from kvae.evaluation.disentanglement.intervention import beta_vae_score, factor_vae_score, irs
from kvae.evaluation.disentanglement.prediction import DCI, dci, explicitness, sap
from kvae.evaluation.disentanglement.score import Score
from kvae.evaluation.disentanglement.summary import SCORES, Disentanglement, Encoded, disentanglement

__all__ = [
    "DCI",
    "SCORES",
    "Disentanglement",
    "Encoded",
    "Score",
    "beta_vae_score",
    "dci",
    "disentanglement",
    "explicitness",
    "factor_vae_score",
    "irs",
    "mig",
    "modularity",
    "sap",
]
