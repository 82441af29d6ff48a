"""Error bars for equilibria: how far a computed w̃ can be from w* = φ(D11 w* + …), by its residual and one proved gain.

With r = w̃ − φ(D11 w̃ + c), Δw = φ(D11 w̃ + c) − w* and Δv = D11(w̃ − w*) = D11(Δw + r), so that e = V(w̃ − w*) is the
output of the static system with (D11, D12, D21, D22) := (D11, D11, V, V) and the input r: (★) proves ‖e‖ ≤ κ‖r‖. The
residual itself is rounded; its rounding is bounded and added (Higham 2002, chapter 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.certification.artefact import Certificate
from eqnets.certification.claim import Lipschitz
from eqnets.certification.labels import Labels, channels_in_words, up
from eqnets.certification.sentences import fades, of_the_model
from eqnets.certification.tighten import tighten
from eqnets.equilibrium.solution import Solution
from eqnets.errors import InputError
from eqnets.system.lfr import LFR

ULPS = 8.0
"""An activation is assumed to be computed to so many units of rounding of |φ(v)| + |v|: torch's are, to 4 ulp."""


@dataclass(frozen=True, eq=False)
class ErrorBar:
    """The proved gain from the residual to the error, and the error bar of a run.

    Args:
        lfr: the system, detached, float64.
        V: (rows, nv) what is asked of the error: ‖V(w̃ − w*)‖.
        certificate: of the gain κ of the residual system.
        reads: whether the error bar is that of the computed output y, whose rounding is added.
    """

    lfr: LFR
    V: Tensor
    certificate: Certificate
    reads: bool

    @property
    def kappa(self) -> float:
        """κ, proved."""
        claim = self.certificate.claim
        assert isinstance(claim, Lipschitz)
        return claim.gamma

    @torch.no_grad()
    def __call__(self, w: Tensor | Solution, u: Tensor, x: Tensor | None = None) -> Tensor:
        """ε = κ(‖r‖ + rounding) per sample, with r measured here in float64: ‖V(w̃ − w*)‖ ≤ ε.

        For the output, ‖ỹ − y*‖ ≤ ε, where ỹ = C2 x + D21 w̃ + D22 u + by is computed in the dtype of w with these
        blocks, its sums in any order.

        Args:
            w: (batch, nv) the computed neurons, in the dtype of the run, or the solution that holds them.
            u: (batch, nu) the input.
            x: (batch, nx) the state; None where there is none.

        Returns:
            (batch,), float64; infinite or NaN where w is.

        Raises:
            InputError: a shape does not fit the system.
        """  # noqa: DOC502
        found = w.value if isinstance(w, Solution) else w
        lfr, batch, run = self.lfr, len(found), found.dtype
        if x is None and lfr.nx == 0:
            x = torch.zeros(batch, 0)
        x, w, u = (
            _signal(name, given, batch, size)
            for name, given, size in (("x", x, lfr.nx), ("w", found, lfr.nv), ("u", u, lfr.nu))
        )
        rows, signals = torch.cat([lfr.C1, lfr.D11, lfr.D12], 1), torch.cat([x, w, u], 1)
        v = signals @ rows.mT + lfr.bv
        low, high = lfr.activation.slopes(lfr.nv)
        slope, unit = torch.maximum(low.abs(), high.abs()).double(), torch.finfo(torch.float64).eps / 2
        after = lfr.activation.value(v)
        spread = _gamma(rows.shape[1] + 2, unit) * (signals.abs() @ rows.abs().mT + lfr.bv.abs())
        rounding = slope * spread + ULPS * unit * (after.abs() + v.abs()) + unit * (w.abs() + after.abs())
        epsilon = self.kappa * (_norm(w - after) + _norm(rounding))
        if self.reads:
            epsilon = epsilon + _norm(self._reading(x, w, u, run))
        return epsilon * (1 + 4 * _gamma(lfr.nv + lfr.ny + 8, unit))

    def _reading(self, x: Tensor, w: Tensor, u: Tensor, run: torch.dtype) -> Tensor:
        """The rounding of C2 x + D21 w + D22 u + by, per output; a neuron that is handed on is not rounded."""
        rows, signals = torch.cat([self.lfr.C2, self.lfr.D21, self.lfr.D22], 1), torch.cat([x, w, u], 1)
        terms = (rows != 0).sum(1) + (self.lfr.by != 0)
        copies = (terms == 1) & (rows == 1).any(1)
        factor = torch.where(copies, 0.0, _gamma(terms.double() + 1, torch.finfo(run).eps / 2))
        claim = self.certificate.claim
        scale = torch.tensor(claim.y_scale or 1.0 if isinstance(claim, Lipschitz) else 1.0, dtype=torch.float64)
        return (factor * (signals.abs() @ rows.abs().mT + self.lfr.by.abs()) + torch.finfo(run).tiny) / scale

    def sentences(self, certificate: Certificate, epsilon: Tensor) -> tuple[str, str, str]:
        """What is known of the model, of a run, and of the deployed program: three sentences, each to be checked alone.

        Args:
            certificate: a claim about the same system.
            epsilon: the error bars of the run.

        Returns:
            The three sentences, numbers rounded to the safe side.

        Raises:
            InputError: the certificate is about another system.
        """
        if certificate.digest != self.lfr.digest():
            raise InputError("the certificate and the error bar are about different systems; make both of one LFR.")
        claim, labels, bar = certificate.claim, Labels.of(self.lfr), self.certificate.claim
        scale = bar.y_scale if isinstance(bar, Lipschitz) else None
        unit = "" if not self.reads or scale or not labels.y_units else f" {labels.y_units[0]}"
        worst = f"{up(float(epsilon.max()))}{unit}"
        error, read = ("‖ỹ − y*‖", " + rounding of ỹ") if self.reads else ("‖V(w̃ − w*)‖", "")
        if scale:
            error = "‖S_y⁻¹(ỹ − y*)‖" if self.reads else "‖S_y⁻¹V(w̃ − w*)‖"
            named = str(scale)[1:-1]
            named = channels_in_words(labels.outputs(), scale, labels.y_units, up) if self.reads else named
            read += f", with S_y = diag({named}),"
        each = f"{epsilon.numel()} samples" if labels.nx == 0 else f"{epsilon.numel()} steps from their computed states"
        begins = "" if labels.nx == 0 else ", from the state that it is in,"
        deployed = (
            f"the program's output{begins} is within ε(u) of the model's, whatever was proved of that: {worst} here."
        )
        if isinstance(claim, Lipschitz) and self.reads and not (claim.u_scale or claim.y_scale or scale):
            deployed = (
                f"for two inputs in one state, ‖ỹ(u) − ỹ(u')‖ ≤ {up(claim.gamma)} ‖u − u'‖ + ε(u) + ε(u'), and both ε "
                f"are at most {worst} for the inputs of this run."
            )
        return (
            of_the_model(certificate),
            f"The run: {error} ≤ ε(u) = {up(self.kappa)}·(‖r‖ + rounding){read} for each of {each}, with the measured "
            f"residual r and a proved gain; the largest ε is {worst}.",
            f"The deployed program: {deployed}{fades(certificate)}",
        )


def error_bar(
    lfr: LFR, *, of: str | Tensor = "output", y_scale: tuple[float, ...] | None = None, proof: str = "exact"
) -> ErrorBar:
    """Prove a gain from the residual of the neurons' equation to the error of what is computed from it.

    Args:
        lfr: the system as it is deployed, dtype included; with states, the error bar is of one step from a given x.
        of: "output" (D21), "neurons", or a matrix V (rows, nv); with V = P^½ B1 it is the error of one step of the
            state in the norm of P, which a rate ρ < 1 of the same P keeps below ε/(1 − ρ) for ever.
        y_scale: typical sizes of the outputs, needed where they have different units; ε is then of the scaled outputs.
        proof: as in `certify`.

    Returns:
        The error bar; call it on what a solver returned.

    Raises:
        NotCertified: the residual bounds no error, as far as (★) can prove.
        InputError: `of` is unknown or of a wrong shape, the scales do not fit, or there are no neurons.
    """  # noqa: DOC502
    if lfr.nv == 0:
        raise InputError("a system without neurons solves no equation: its runs are exact but for rounding.")
    exact = lfr.detach().to("cpu", torch.float64)
    if isinstance(of, str) and of not in ("output", "neurons"):
        raise InputError(f'of must be "output", "neurons" or a matrix (rows, {lfr.nv}); got {of!r}.')
    if isinstance(of, Tensor) and (of.ndim != 2 or of.shape[1] != lfr.nv):
        raise InputError(f"of must be a matrix (rows, {lfr.nv}); got {tuple(of.shape)}.")
    if isinstance(of, Tensor):
        V = of.detach().to("cpu", torch.float64)
    else:
        V = exact.D21 if of == "output" else torch.eye(lfr.nv, dtype=torch.float64)
    reads = isinstance(of, str) and of == "output"
    if reads and y_scale is None and lfr.y_units is not None and len(set(lfr.y_units)) > 1:
        raise InputError("the outputs have different units; give error_bar(lfr, y_scale=...), a typical size of each.")
    residual = LFR(D11=exact.D11, D12=exact.D11, D21=V, D22=V, activation=exact.activation)
    return ErrorBar(exact, V, tighten(Lipschitz(1.0, None, y_scale), residual, proof=proof), reads)


def _signal(name: str, given: object, batch: int, size: int) -> Tensor:
    """A signal in float64, checked."""
    if not isinstance(given, Tensor) or tuple(given.shape) != (batch, size):
        got = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise InputError(f"{name} must be ({batch}, {size}) for this system; got {got}.")
    return given.detach().to("cpu", torch.float64)


def _gamma(terms, unit: float):  # type: ignore[no-untyped-def]
    """γ_k = k u/(1 − k u), for a number or a tensor of them."""
    return terms * unit / (1 - terms * unit)


def _norm(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1)
