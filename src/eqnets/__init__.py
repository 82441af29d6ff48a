"""eqnets: models of measured systems that are stable by construction, with evidence. `import eqnets as eq`.

The core (models, simulation, certificates) needs torch, numpy and scipy. The names that work on measured files and
pages (`_IDENTIFY`) need the extra `identify`; they are imported when they are first used, so that the core imports fast
and without that extra. This is the only lazy import of the package.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from eqnets.certification import (
    AbsoluteStability,
    Certificate,
    Contracting,
    Dissipative,
    DissipativeAround,
    Lipschitz,
    Monotone,
    Passive,
    Recovery,
    RegionOfAttraction,
    WellPosed,
    certify,
    certify_connection,
    certify_loop,
    channels,
    class_margins,
    error_bar,
    lower_bound,
    three_numbers,
    tighten,
    verify,
)
from eqnets.equilibrium import (
    Anderson,
    Auto,
    Broyden,
    DouglasRachford,
    ForwardBackward,
    Implicit,
    JacobianFree,
    Newton,
    NewtonKrylov,
    PeacemanRachford,
    Phantom,
    Picard,
    ScipyRoot,
    Solution,
    Status,
    Unrolled,
    fixed_point,
)
from eqnets.equilibrium.spectrum import jacobian_norm, spectral_radius
from eqnets.errors import (
    CertificateError,
    DataError,
    EqnetsError,
    InputError,
    NotCertified,
    NotConverged,
    NotConvergedWarning,
    UncertifiedWarning,
)
from eqnets.models import (
    DEQ,
    GRU,
    LSTM,
    RNN,
    ContractingREN,
    DissipativeREN,
    FiniteDepth,
    FixedDropout,
    FreeREN,
    LipschitzDEQ,
    LipschitzREN,
    MonotoneConvDEQ,
    MonotoneDEQ,
    MonotoneLinear,
    MultiTierDEQ,
    NeuralODE,
    ODEBlock,
    PassiveREN,
    weight_tied,
)
from eqnets.system import plants
from eqnets.system.connect import feedback, parallel, series
from eqnets.system.discretise import discretise
from eqnets.system.interconnect import interconnect
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI
from eqnets.system.nonlinearity import Nonlinearity
from eqnets.system.observer import kalman, observer
from eqnets.system.regulator import lqr, pi
from eqnets.system.scale import fold
from eqnets.system.simulate import linearise, simulate
from eqnets.system.steady import operating_point, static_characteristic
from eqnets.system.stepper import Stepper
from eqnets.system.taps import ConvLFR
from eqnets.system.witness import Supply, Witness

if TYPE_CHECKING:
    from eqnets.identification.bounded import Bounded, identify_bounded
    from eqnets.identification.data import Data
    from eqnets.identification.files.load import load
    from eqnets.identification.fit import Fit
    from eqnets.identification.grey_box import GreyBox
    from eqnets.identification.identify import identify
    from eqnets.identification.metrics import Score
    from eqnets.identification.model_error import ModelError, model_error
    from eqnets.identification.readers import read
    from eqnets.identification.record import Record
    from eqnets.identification.trade_off import TradeOff, trade_off
    from eqnets.reporting import report

__version__ = "0.1.0"

__all__ = [
    # equilibrium
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
    "Status",
    "Unrolled",
    "fixed_point",
    "jacobian_norm",
    "spectral_radius",
    # system
    "ConvLFR",
    "LFR",
    "LTI",
    "Nonlinearity",
    "Stepper",
    "Supply",
    "Witness",
    "discretise",
    "feedback",
    "fold",
    "interconnect",
    "kalman",
    "linearise",
    "lqr",
    "observer",
    "operating_point",
    "parallel",
    "pi",
    "plants",
    "series",
    "simulate",
    "static_characteristic",
    # models
    "ContractingREN",
    "DEQ",
    "DissipativeREN",
    "FiniteDepth",
    "FixedDropout",
    "FreeREN",
    "GRU",
    "LSTM",
    "LipschitzDEQ",
    "LipschitzREN",
    "MonotoneConvDEQ",
    "MonotoneDEQ",
    "MonotoneLinear",
    "MultiTierDEQ",
    "NeuralODE",
    "ODEBlock",
    "PassiveREN",
    "RNN",
    "weight_tied",
    # certification
    "AbsoluteStability",
    "Certificate",
    "Contracting",
    "Dissipative",
    "DissipativeAround",
    "Lipschitz",
    "Monotone",
    "Passive",
    "RegionOfAttraction",
    "Recovery",
    "WellPosed",
    "certify",
    "certify_connection",
    "certify_loop",
    "channels",
    "class_margins",
    "error_bar",
    "lower_bound",
    "three_numbers",
    "tighten",
    "verify",
    # identification and reporting
    "Bounded",
    "Data",
    "Fit",
    "GreyBox",
    "ModelError",
    "Record",
    "Score",
    "TradeOff",
    "identify",
    "identify_bounded",
    "load",
    "model_error",
    "read",
    "report",
    "trade_off",
    # errors and warnings
    "CertificateError",
    "DataError",
    "EqnetsError",
    "InputError",
    "NotCertified",
    "NotConverged",
    "NotConvergedWarning",
    "UncertifiedWarning",
]

_IDENTIFY = {
    "Bounded": "eqnets.identification.bounded",
    "Data": "eqnets.identification.data",
    "Fit": "eqnets.identification.fit",
    "GreyBox": "eqnets.identification.grey_box",
    "ModelError": "eqnets.identification.model_error",
    "Record": "eqnets.identification.record",
    "Score": "eqnets.identification.metrics",
    "TradeOff": "eqnets.identification.trade_off",
    "identify": "eqnets.identification.identify",
    "identify_bounded": "eqnets.identification.bounded",
    "load": "eqnets.identification.files.load",
    "model_error": "eqnets.identification.model_error",
    "read": "eqnets.identification.readers",
    "report": "eqnets.reporting",
    "trade_off": "eqnets.identification.trade_off",
}

logging.getLogger("eqnets").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _IDENTIFY:
        raise AttributeError(f"eqnets has no {name!r}; it has {', '.join(sorted(__all__))}.")
    try:
        value = getattr(import_module(_IDENTIFY[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("eqnets"):
            raise
        raise ImportError(
            f"eqnets.{name} needs {error.name}, which is not installed; run: pip install 'eqnets[identify]'."
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
