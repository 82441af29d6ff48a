"""The room of equilibria: find z = f(z), per sample, and differentiate through it. Knows nothing but eqnets.errors."""

from eqnets.equilibrium.adjoint import Adjoint, Implicit, JacobianFree, Phantom, Unrolled
from eqnets.equilibrium.anderson import Anderson
from eqnets.equilibrium.auto import Auto
from eqnets.equilibrium.broyden import Broyden
from eqnets.equilibrium.fixed_point import fixed_point
from eqnets.equilibrium.newton import Newton
from eqnets.equilibrium.newton_krylov import NewtonKrylov
from eqnets.equilibrium.picard import Picard
from eqnets.equilibrium.scipy import ScipyRoot
from eqnets.equilibrium.solution import AdjointRecord, Solution, Statistics, Status
from eqnets.equilibrium.solver import Solver
from eqnets.equilibrium.splitting import DouglasRachford, ForwardBackward, PeacemanRachford

__all__ = [
    "Adjoint",
    "AdjointRecord",
    "Anderson",
    "Auto",
    "Broyden",
    "DouglasRachford",
    "ForwardBackward",
    "Implicit",
    "JacobianFree",
    "Newton",
    "NewtonKrylov",
    "PeacemanRachford",
    "Phantom",
    "Picard",
    "ScipyRoot",
    "Solution",
    "Solver",
    "Statistics",
    "Status",
    "Unrolled",
    "fixed_point",
]
