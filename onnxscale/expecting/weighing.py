"""From evidence to probabilities: Bayes' rule over the hypotheses, each cue trusted as far as it was right when measured.

log P(h | cues) = log prior(h) + sum over cues of trust * (score(h) - the best score), where a cue cannot take a hypothesis further
down than its floor: a cue errs in some share of models, however sure it is. Trusts and floors were set on the tables of
`python -m docs.expecting` that are marked "tuned"; the table of confidence there is of others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnxscale.expecting.base import Evidence
from onnxscale.expecting.hypotheses import PRIORS

SURE, MOST = 0.99, 0.98  # of what the model computes or says itself; of what is inferred
TELLS, TELLS_SCALED = 0.7, 0.85  # below this, nothing is claimed: of one hypothesis; of any that is not raw


@dataclass(frozen=True)
class Trust:
    """weight: of the log likelihoods. floor: the least that a cue may say of a hypothesis."""

    weight: float
    floor: float


TRUSTS: Mapping[str, Trust] = {
    "leading nodes": Trust(1.0, -8.0),
    "batch normalization": Trust(0.7, -5.0),
    "hidden normalization": Trust(0.5, -5.0),
    "quantizer": Trust(0.8, -4.0),
    "thresholds": Trust(0.6, -5.0),
    "training rows": Trust(0.8, -6.0),
    "weights": Trust(0.5, -1.2),
    "weights on rows": Trust(0.7, -2.5),
    "outputs": Trust(0.7, -2.0),
    "metadata": Trust(1.0, -4.5),
    "type": Trust(1.0, -8.0),
}


def weighed(sort: str, evidence: Sequence[Evidence]) -> dict[str, float]:
    """The probability of each hypothesis, greatest first."""
    logs = {name: math.log(p) for name, p in PRIORS[sort].items()}
    for e in evidence:
        if not e.scores:
            continue
        trust, relative = TRUSTS[e.cue], favour(e, sort)
        for name in logs:
            logs[name] += max(trust.weight * relative[name], trust.floor)
    top = max(logs.values())
    weights = {name: math.exp(v - top) for name, v in logs.items()}
    total = sum(weights.values())
    most = SURE if any(e.decides for e in evidence) else MOST
    found = {name: v / total for name, v in weights.items()}
    best = max(found, key=lambda n: found[n])
    if found[best] > most:
        found = {
            n: most if n == best else v * (1 - most) / (1 - found[best]) if found[best] < 1 else 0.0
            for n, v in found.items()
        }
    return dict(sorted(found.items(), key=lambda x: -x[1]))


def favour(e: Evidence, sort: str) -> dict[str, float]:
    """The scores of a cue less its best one; what it names none for shares the lowest, or 0 where it names only one."""
    lowest = min(0.0, *e.scores.values()) if len(e.scores) > 1 else 0.0
    full = {name: e.scores.get(name, lowest) for name in PRIORS[sort]}
    best = max(full.values())
    return {name: v - best for name, v in full.items()}
