"""Mean and covariance in one pass over rows, with the shrinkage of Ledoit and Wolf, summable over processes.

Axes: B rows of a batch, d features (a hidden width).  Everything is accumulated and returned in fp64.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mora.errors import InputError

SUMS = ("count", "sum", "outer", "q", "q2", "v")  # the fields that add up over parts; ``shift`` is common to them
LEAST_ROWS = 0.2  # rows per feature below which a covariance is refused
FEW_ROWS = 2.0  # rows per feature below which shrinkage decides more than the rows do


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Sums over rows from which mean, covariance and its Ledoit-Wolf shrinkage follow without a second pass.

    With y = x - ``shift`` and a = ||y||^2.  The shift is a rough mean, fixed before the first row and the same for all
    parts: without it a large common offset of the rows cancels in ``outer``, and in ``q2`` twice over.  Memory is one
    (d, d) matrix: 134 MB at d = 4096.

    The fields named in ``SUMS`` are plain sums.  So parts of the rows, seen by different processes, are joined by
    summing those tensors in place (``all_reduce``), or by ``+``.
    """

    count: Float64[Tensor, ""]  # sum w
    sum: Float64[Tensor, " d"]  # sum w y
    outer: Float64[Tensor, "d d"]  # sum w y y'
    q: Float64[Tensor, ""]  # sum w a
    q2: Float64[Tensor, ""]  # sum w a^2
    v: Float64[Tensor, " d"]  # sum w a y
    shift: Float64[Tensor, " d"]

    @classmethod
    def empty(cls, dim: int, shift: Float[Tensor, " d"]) -> Moments:
        """No rows yet, of ``dim`` features, on the device of ``shift`` (d,).

        Raises ValueError when the shift is of another size or not finite.
        """
        if shift.shape != (dim,) or not bool(shift.isfinite().all()):
            raise ValueError(f"the shift of {dim} features must be {dim} finite numbers, got {tuple(shift.shape)}")
        shift = shift.detach().double().clone()
        scalar, vector = shift.new_zeros(()), shift.new_zeros(dim)
        return cls(
            count=scalar,
            sum=vector,
            outer=shift.new_zeros(dim, dim),
            q=scalar.clone(),
            q2=scalar.clone(),
            v=vector.clone(),
            shift=shift,
        )

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Moments:
        """The moments that :meth:`tensors` took apart, as a copy.

        Raises ValueError for other names, or for a tensor that is not fp64 and so has lost what it was summed in.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        wrong = sorted(names ^ set(tensors)) or sorted(n for n in names if tensors[n].dtype != torch.float64)
        if wrong:
            raise ValueError(f"moments are the fp64 tensors {sorted(names)}; missing, unknown or not fp64: {wrong}")
        return cls(**{name: tensors[name].clone() for name in names})

    def tensors(self) -> dict[str, Tensor]:
        """The fields by name, not copied: to store, or to sum in place those named in ``SUMS``."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def add(self, rows: Float[Tensor, "B d"], weights: Float[Tensor, " B"] | None = None) -> None:
        """Add rows (B, d), in place.

        A weight is a frequency: 2 counts a row twice, 0 leaves it out; None is 1 for each.  Raises ValueError for rows
        of another width or for weights that are not B numbers of at least 0.
        """
        if rows.ndim != 2 or rows.shape[1:] != self.shift.shape:
            raise ValueError(f"rows must be (B, {len(self.shift)}), got {tuple(rows.shape)}")
        if weights is not None and (weights.shape != rows.shape[:1] or not bool((weights >= 0).all())):
            raise ValueError(f"weights must be {len(rows)} numbers of at least 0, got {tuple(weights.shape)}")
        y = rows.detach().double() - self.shift
        weight = y.new_ones(len(y)) if weights is None else weights.detach().double()
        norms, weighted = y.square().sum(-1), weight[:, None] * y
        self.count.add_(weight.sum())
        self.sum.add_(weighted.sum(0))
        self.outer.addmm_(y.T, weighted)
        self.q.add_(weight @ norms)
        self.q2.add_(weight @ norms.square())
        self.v.add_(norms @ weighted)

    def __add__(self, other: Moments) -> Moments:
        """Moments of the rows of both, new.  Raises ValueError unless both subtract the same shift."""
        if not torch.equal(self.shift, other.shift):
            raise ValueError("moments can only be joined when the same shift was subtracted from the rows of both")
        return Moments(**{name: getattr(self, name) + getattr(other, name) for name in SUMS}, shift=self.shift.clone())

    @property
    def mean(self) -> Float64[Tensor, " d"]:
        """Mean of the rows.  Raises ValueError when there are none or a row was not finite."""
        return self.shift + self._offset()

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """Covariance around the mean, with the divisor N.  Raises ValueError as :attr:`mean` does."""
        offset = self._offset()
        return self.outer / self.count - torch.outer(offset, offset)

    def ledoit_wolf(self) -> tuple[Float64[Tensor, "d d"], float]:
        """Shrunk covariance ``(1 - alpha) C + alpha (tr C / d) I`` and alpha in [0, 1] (Ledoit and Wolf, 2004).

        C has the divisor N and alpha is scikit-learn's, rows not assumed centered.  Raises ValueError as :attr:`mean`
        does.
        """
        return _shrunk(self.covariance, self._fourth_norms(), self.count)

    def _offset(self) -> Float64[Tensor, " d"]:
        """Mean of the shifted rows."""
        if not float(self.count) > 0:
            raise ValueError(f"moments of {float(self.count):g} rows have no mean")
        if not bool(self.sum.isfinite().all()):
            raise ValueError("the moments are not finite: a row with NaN or an infinite feature was added")
        return self.sum / self.count

    def _fourth_norms(self) -> Float64[Tensor, ""]:
        """``sum w ||x - mean||^4``: the square of ``a - 2 m'y + ||m||^2``, summed term by term."""
        m = self._offset()
        norm = m @ m
        squares = self.q2 + 4 * m @ self.outer @ m + self.count * norm.square()
        return squares - 4 * m @ self.v + 2 * norm * self.q - 4 * norm * (m @ self.sum)


def pooled(a: Moments, b: Moments) -> tuple[Float64[Tensor, "d d"], float]:
    """Within-class covariance of two classes, shrunk, and its shrinkage alpha in [0, 1].

    The sums of both classes, each around its own mean, over N_a + N_b: the maximum-likelihood divisor that linear
    discriminant analysis uses, not the unbiased N_a + N_b - 2.  Alpha is that of Ledoit and Wolf for the
    N_a + N_b rows so centered.  The two may have different shifts.  Raises ValueError when a class has no rows or has
    one that is not finite.
    """
    count = a.count + b.count
    covariance = (a.count * a.covariance + b.count * b.covariance) / count
    return _shrunk(covariance, a._fourth_norms() + b._fourth_norms(), count)


def condition_number(covariance: Float64[Tensor, "d d"]) -> float:
    """Largest over smallest eigenvalue of a symmetric matrix; infinite when one is 0 or below."""
    values = torch.linalg.eigvalsh(covariance)
    least, most = float(values[0]), float(values[-1])
    return most / least if least > 0 else float("inf")


def check_rows(count: int | float, dim: int) -> str | None:
    """A warning when ``count`` rows are few for a covariance of ``dim`` features (below 2 per feature), else None.

    Raises InputError below 0.2 rows per feature.
    """
    if count < LEAST_ROWS * dim:
        raise InputError(
            f"too few rows for a covariance: {count:g} rows of {dim} features, and at least {LEAST_ROWS:g} rows per "
            f"feature are needed ({LEAST_ROWS * dim:.0f}). Give more pairs, or use a model of smaller hidden width"
        )
    if count < FEW_ROWS * dim:
        return (
            f"few rows for a covariance: {count:g} rows of {dim} features. Below {FEW_ROWS:g} rows per feature "
            f"({FEW_ROWS * dim:.0f}) shrinkage decides much of it; more pairs would give a better direction"
        )
    return None


def _shrunk(
    covariance: Float64[Tensor, "d d"], fourth_norms: Float64[Tensor, ""], count: Float64[Tensor, ""]
) -> tuple[Float64[Tensor, "d d"], float]:
    """Ledoit-Wolf from C (divisor N), the sum of centered fourth norms and N.

    ``beta = (F / N - ||C||^2) / (N d)``, ``delta = ||C - mu I||^2 / d`` with ``mu = tr C / d``, and
    ``alpha = min(beta, delta) / delta``; delta = 0 means that C is ``mu I`` already, and alpha is 0.
    """
    dim = len(covariance)
    target = covariance.trace() / dim * torch.eye(dim, dtype=covariance.dtype, device=covariance.device)
    beta = float((fourth_norms / count - covariance.square().sum()) / (count * dim))
    delta = float((covariance - target).square().sum() / dim)
    alpha = min(max(beta, 0.0), delta) / delta if delta > 0 else 0.0
    return (1 - alpha) * covariance + alpha * target, alpha
