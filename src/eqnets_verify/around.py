"""One equilibrium: within bounds |v − v*| < z the neurons keep to sectors, and V falls in a set that nothing leaves.

With p, r of the sectors [α, β], V = ξᵀPξ + 2 Σ η_i ∫₀(φ_i − w_i*) falls if (★) − (EwᵀH C1 Lx + its transpose) ≻ 0, H =
diag η (0 in discrete time). αs² ≤ 2∫ ≤ βs², so that V ≥ ξᵀ(P + Σ m_j c_jc_jᵀ)ξ, m = min(ηα, ηβ): this must be ≻ 0. With
−t, t z² = 1 − 2 min η∫ at ±z, in the place of m_i it says that V > 1 where |v_i − v_i*| = z: there is no way out.
With a supply, no bounds and η = 0, (★) over deviations from the point says that V grows by the supply at most.
"""

from fractions import Fraction
from math import ceil, factorial, floor

from eqnets_verify.exact import Dyadic, dyadic, scaled, symmetric, times
from eqnets_verify.files import demand
from eqnets_verify.inequality import System, inequality, rounded, supply_of


def around(s: System, names: list[str], c: dict, bv: list[float]) -> dict[str, Dyadic]:
    """The matrices that have to be positive definite for a claim c; its sectors are checked here."""
    nx, nw, point = s.size["x"], s.size["w"], [*c["equilibrium"], *c["input"], 1]
    sizes = [len(c[key]) for key in ("equilibrium", "input", "bound", "low", "high", "eta")]
    fits = sizes == [nx, s.size["u"]] + [nw] * 4 and c["tolerance"] >= 0 and all(z is None or z > 0 for z in c["bound"])
    fits = fits and nx > 0 and not any(map(any, s.blocks["D11"])) and (s.dt is None or not any(c["eta"]))
    fits = fits and ("Q" not in c or not any([*c["bound"], *c["eta"]]))  # a supply is one of all states, V quadratic
    demand(fits, "its sizes, tolerance or bounds do not fit, or D11 or, in discrete time, eta is not zero")
    weights, seen = [[]], zip(s.blocks["C1"], s.blocks["D12"], bv, strict=True)
    for i, (row, z, a, b, h) in enumerate(zip(seen, c["bound"], c["low"], c["high"], c["eta"], strict=True)):
        v = Fraction(sum(Fraction(x) * Fraction(y) for x, y in zip([*row[0], *row[1], row[2]], point, strict=True)))
        z, h, off = Fraction(z or 0), Fraction(h), Fraction(c["tolerance"])
        alpha, beta, *ends = _known(names[i], s.slopes[i], v, off, z)
        demand(a <= alpha and b >= beta, f"the sector of neuron {i + 1} is not known to lie in [{a!r}, {b!r}]")
        edge = [weights[0] + [-rounded((1 - 2 * min(h * end for end in ends)) / z**2, ceil)]] if z else []
        weights = [known + [min(h * Fraction(a), h * Fraction(b))] for known in weights] + edge
    C1, terms, n = dyadic(s.blocks["C1"]), [], nx * len(weights)
    for k, known in enumerate(weights):
        E = Dyadic([[int(j == k * nx + i) for j in range(n)] for i in range(nx)], 0)
        terms += [(1, E, times(dyadic(s.P), E)), (1, times(C1, E), scaled(known, times(C1, E)))]
    sectors = s._replace(slopes=list(zip(c["low"], c["high"], strict=True)))
    parts, supply = ("xwu", supply_of(c, s.size["u"], s.size["y"])) if "Q" in c else ("xw", None)
    return {"P": symmetric(n, terms), "inequality": inequality(sectors, float(bool(s.dt)), parts, supply, c["eta"])}


def _known(name: str, slopes: tuple, v: Fraction, off: Fraction, z: Fraction) -> tuple:
    """(α, β) of the sector around v ± off within ±z (z = 0: everywhere), and (least, most) of ∫ at ±z."""
    low, high = map(Fraction, slopes)
    if name == "sine_defect" and z and abs(v) + z <= 10:
        # q(s) = (φ(v + s) − φ(v))/s has |q''| ≤ 1/3 and |∂q/∂v| ≤ 1; on a grid without s = 0
        q = [1 - (_series(v + s, 1) - _series(v, 1)) / s for s in (z * (2 * j - 255) / 255 for j in range(256))]
        ends = [s * s / 2 + _series(v + s, 0) - _series(v, 0) + s * _series(v, 1) for s in (-z, z)]
        spare, room = (2 * z / 255) ** 2 / 24 + off + 1 / z / 2**50, off * z * z / 2 + Fraction(1, 2**50)
        return max(low, min(q) - spare), min(high, max(q) + spare), min(ends) - room, max(ends) + room
    # 1 − sin s/s is largest at s = tan s; hardtanh is concave above v and convex below, so that q is least at the ends
    high = Fraction(1.2172336283) if name == "sine_defect" and v == off == z == 0 else high
    low = min(Fraction(1), (1 - abs(v) - off) / z) if name == "hardtanh" and z and abs(v) + off <= 1 else low
    return low, high, low * z * z / 2, high * z * z / 2


def _series(x: Fraction, p: int) -> Fraction:
    """Sin x (p = 1) or cos x (p = 0) for |x| ≤ 10, up to 2^−58: forty terms of Taylor's series, in units of 2^−64."""
    n, powers = floor(x * 2**64), range(p, 80, 2)
    return Fraction(sum((-1) ** (k // 2) * (n**k * 2**64 // (2 ** (64 * k) * factorial(k))) for k in powers), 2**64)
