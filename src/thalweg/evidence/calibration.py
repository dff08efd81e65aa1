"""Are the probabilities right? Of rows given 80 %, are 80 % right?

    ECE² = Σ_b n_b/N · (mean outcome_b − mean confidence_b)²

over bins of equally many rows. The plain sum is too large, as the mean outcome of a bin is noisy
even where the probabilities are perfect; its variance is taken out of each bin:

    debiased ECE² = Σ_b n_b/N · ((y_b − p_b)² − var_b(y − p) / n_b)

Sources: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
Binning", 2015; Kumar, Liang and Ma, "Verified Uncertainty Calibration", 2019; Guo et al., "On
Calibration of Modern Neural Networks", 2017.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

NUM_BINS = 10
_RESAMPLES = 400


@dataclass(frozen=True)
class Reliability:
    """How well probabilities and outcomes agree.

    Args:
        confidence: mean probability in each bin, rising.
        outcome: share of rows in each bin for which it came true.
        low: lower end of the 95 % interval of that share (Wilson).
        high: its upper end.
        count: rows in each bin.
        error: expected calibration error, debiased, root of the mean square; 0 where what is seen
            is no more than noise.
        interval: 95 % interval of it, by resampling rows.
        plain_error: mean absolute gap of the bins, not debiased: what papers print as ECE.
    """

    confidence: tuple[float, ...]
    outcome: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    count: tuple[int, ...]
    error: float
    interval: tuple[float, float]
    plain_error: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def confidences(probabilities: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what was claimed for each row, and whether it came true.

    Of two classes it is the probability of the second; of more the probability of the likeliest
    (top-label calibration).

    Args:
        probabilities: [N, C].
        truth: class of each row [N].
    """
    if probabilities.shape[1] == 2:
        return probabilities[:, 1], (truth == 1).astype(float)
    chosen = probabilities.argmax(1)
    return probabilities[np.arange(len(chosen)), chosen], (chosen == truth).astype(float)


def reliability(
    confidence: np.ndarray, outcome: np.ndarray, num_bins: int = NUM_BINS, seed: int = 0
) -> Reliability:
    """Compare probabilities with outcomes.

    Args:
        confidence: probability claimed for each row [N].
        outcome: 1 where it came true, 0 where not [N].
        num_bins: bins of equally many rows; fewer where there would be under 10 rows in each.
        seed: of the resampling.
    """
    order = np.argsort(confidence, kind="stable")
    p, y = np.asarray(confidence, float)[order], np.asarray(outcome, float)[order]
    bins = np.array_split(np.arange(len(p)), max(1, min(num_bins, len(p) // 10)))
    count = np.array([len(b) for b in bins])
    mean_p, mean_y = (np.array([v[b].mean() for b in bins]) for v in (p, y))
    low, high = _wilson(mean_y, count)
    rng = np.random.default_rng([0xECE, seed])
    square, drawn = 0.0, np.zeros(_RESAMPLES)
    for b in bins:
        gaps = (y - p)[b]
        # Rows are drawn within their bins: the bins stay what they are.
        again = gaps[rng.integers(0, len(b), (_RESAMPLES, len(b)))]
        square += len(b) / len(p) * float(_debiased(gaps[None])[0])
        drawn += len(b) / len(p) * _debiased(again)
    spread = float(np.std(drawn)) * float(stats.norm.ppf(0.975))
    ends = [float(np.sqrt(max(v, 0.0))) for v in (square - spread, square + spread)]
    return Reliability(
        tuple(mean_p.tolist()),
        tuple(mean_y.tolist()),
        tuple(low.tolist()),
        tuple(high.tolist()),
        tuple(count.tolist()),
        float(np.sqrt(max(square, 0.0))),
        (ends[0], ends[1]),
        float((count * np.abs(mean_y - mean_p)).sum() / len(p)),
    )


def before_and_after(
    before: np.ndarray, after: np.ndarray, truth: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Return log loss and reliability of probabilities, and of what calibration makes of them.

    Args:
        before: probabilities [N, C].
        after: calibrated ones [N, C].
        truth: class of each row [N], or a distribution [N, C].
    """
    labels = truth.argmax(1) if truth.ndim == 2 else truth.astype(int)
    found = {}
    for name, values in (("before", before), ("after", after)):
        right = values[np.arange(len(labels)), labels]
        found[name] = {
            "log_loss": float(-np.log(np.maximum(right, 1e-12)).mean()),
            "reliability": reliability(*confidences(values, labels)).to_dict(),
        }
    return found


def coverage(errors: np.ndarray, radius: np.ndarray) -> tuple[float, float, float]:
    """Return the share of values within their intervals, with its own 95 % interval (Wilson).

    Args:
        errors: absolute errors [N, O].
        radius: half width of the interval of each output [O].
    """
    share = (errors <= radius).mean(keepdims=True).reshape(1)
    # Errors of one row go together: rows are counted, not values.
    low, high = _wilson(share, np.array([len(errors)]))
    return float(share[0]), float(low[0]), float(high[0])


def _debiased(gaps: np.ndarray) -> np.ndarray:
    """Return the square of the mean gap of a bin [R] from those of its rows [R, n], debiased."""
    num = gaps.shape[1]
    # The noise of the mean: outcomes vary, and so do the claims within a bin.
    noise = gaps.var(1, ddof=1) / num if num > 1 else 0.0
    return gaps.mean(1) ** 2 - noise


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z = float(stats.norm.ppf(0.975))
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return middle - half, middle + half
