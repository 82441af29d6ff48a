"""The claim in words, written from the numbers that were checked, each rounded to the safe side."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal


def sentence(claim: dict, rate: float | None, size: dict[str, int], dt: float | None, labels: dict, names: str) -> str:
    """What was proved about the model, whose author's words are quoted; names are those of its activations."""
    two = "Whatever two inputs this model is fed, " + ("from one initial state, " if size["x"] else "")
    total = "∫" if dt is None else "Σ"
    s_u, s_y = (_channels(end, claim.get(f"{end}_scale"), size[end], labels) for end in "uy")
    match claim:
        case {"kind": "lipschitz"}:
            words = f"{two}‖Δy/s_y‖ ≤ {up(claim['gamma'])} ‖Δu/s_u‖, with s_u = ({s_u}) and s_y = ({s_y})."
        case {"kind": "passive", "input_strict": nu, "output_strict": eps}:
            words = f"{two}{total} ⟨Δu, Δy⟩ ≥ {down(nu)} {total}|Δu|² + {down(eps)} {total}|Δy|²."
        case {"Q": Q, "S": S, "R": R}:
            one = "around the equilibrium, from every state and under every input, for Δ· = · − ·*, ", "−Δx₀ᵀPΔx₀"
            who, least = one if "eta" in claim else (two, "0")
            words = f"{who}{total} (ΔyᵀQΔy + 2ΔuᵀSΔy + ΔuᵀRΔu) ≥ {least}, {Q=}, {S=}, {R=} in u = ({s_u}), y = ({s_y})."
        case {"bound": bound, "eta": eta}:  # the set that nothing leaves is named to the bit
            inside = [f"|v_{i + 1} − v*_{i + 1}| < {z!r}" for i, z in enumerate(bound) if z is not None]
            start = f" from {{{', '.join(['V < 1', *inside])}}} stays there and" if inside else ""
            words = f"every trajectory under that input{start} goes to x* exponentially. V = ξᵀPξ + 2 ηᵀ∫(φ − w*), "
            words += f"ξ = x − x*, η = {eta}."
        case {"kind": "contracting"}:
            words, rate = "", claim["rate"] if rate is None else rate
        case _:
            words, rate = "At every state and input, the equation of the neurons has exactly one solution.", None
            words += f" ⟨Δw, (I − D11)Δw⟩ ≥ {down(claim['m'])} |Δw|²." if "m" in claim else ""
    if "eta" in claim:  # a tolerance may be rounded downwards
        point = f"v* lies within {down(claim['tolerance'])} of v at x = {claim['equilibrium']}, u = {claim['input']}"
        words = f"If x* is an equilibrium under a constant input, and its {point}, then {words} This says "
        words += "nothing of pairs of trajectories."
    words = f"{words} {_forgets(rate, size, dt)}".strip()
    return f"{words} This speaks of the model, its activation being {names or 'none'}, not of the plant."


def up(x: float) -> str:
    """At most 9 digits, rounded upwards."""
    return f"{Context(prec=9, rounding=ROUND_CEILING).plus(Decimal(x)).normalize():f}"


def down(x: float) -> str:
    """At most 9 digits, rounded downwards."""
    return f"{Context(prec=9, rounding=ROUND_FLOOR).plus(Decimal(x)).normalize():f}"


def _forgets(rate: float | None, size: dict[str, int], dt: float | None) -> str:
    if rate is None:
        return ""
    if size["x"] == 0:
        return "The model has no state: whatever it was fed before is forgotten at once."
    words = "Any two trajectories under one input approach each other (|Δx|²_P = ΔxᵀPΔx shrinks strictly)"
    if dt is None:
        return f"{words}: |Δx(t)|_P ≤ e^(−c t) |Δx(0)|_P with c = {down(rate)} 1/s."
    if float(up(rate)) >= 1 or rate <= 0:
        return f"{words} in steps of {dt!r} s."
    slowest = up(-dt / math.log(rate) * (1 + 1e-9))
    return f"{words}: by the factor {up(rate)} per step of {dt!r} s, a time constant of {slowest} s."


def _channels(end: str, scale: list[float] | None, count: int, labels: dict) -> str:
    names, units = labels[f"{end}_names"] or [f"{end}{i + 1}" for i in range(count)], labels[f"{end}_units"]
    shown = zip(names, scale or [1.0] * count, units or [""] * count, strict=True)
    return ", ".join(f"{name!r}: {size!r}" + f" {unit!r}" * bool(unit) for name, size, unit in shown)
