"""The sceptic's checker of eqnets certificates: `eqnets-verify CERT [WEIGHTS]`. Standard library only, made to be read.

A certificate is believed in nothing but its numbers P, Λ and L: `inequality` is rebuilt from the bits of the weights in
integers, shown to be positive definite without rounding (`exact`), and what was checked is said in words (`check`).
"""

from eqnets_verify.check import Verdict, check, verify
from eqnets_verify.files import Block, Rejected, Unusable

__all__ = ["Block", "Rejected", "Unusable", "Verdict", "check", "verify"]
