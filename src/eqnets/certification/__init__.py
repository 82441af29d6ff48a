"""Claims about LFRs, and the evidence for them: certify, save, verify."""

from eqnets.certification.around import AbsoluteStability, DissipativeAround, RegionOfAttraction
from eqnets.certification.around_supply import StorageCertificate
from eqnets.certification.artefact import Certificate, verify
from eqnets.certification.certify import certify
from eqnets.certification.channels import channels
from eqnets.certification.claim import Claim, Contracting, Dissipative, Lipschitz, Monotone, Passive, WellPosed
from eqnets.certification.compose import certify_connection
from eqnets.certification.convolutional import ConvCertificate
from eqnets.certification.error_bar import ErrorBar, error_bar
from eqnets.certification.labels import Labels, PairGain
from eqnets.certification.lower_bound import LowerBound, lower_bound
from eqnets.certification.margins import Margins, class_margins
from eqnets.certification.recovery import Recovery
from eqnets.certification.robust import certify_loop
from eqnets.certification.sentences import without_bar, without_solve
from eqnets.certification.stability import StabilityCertificate
from eqnets.certification.three_numbers import ThreeNumbers, three_numbers
from eqnets.certification.tighten import tighten
from eqnets.certification.with_memory import MemoryCertificate

__all__ = [
    "AbsoluteStability",
    "Certificate",
    "Claim",
    "Contracting",
    "ConvCertificate",
    "Dissipative",
    "DissipativeAround",
    "ErrorBar",
    "Labels",
    "Lipschitz",
    "LowerBound",
    "Margins",
    "MemoryCertificate",
    "Monotone",
    "PairGain",
    "Recovery",
    "Passive",
    "RegionOfAttraction",
    "StabilityCertificate",
    "StorageCertificate",
    "ThreeNumbers",
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
    "without_bar",
    "without_solve",
]
