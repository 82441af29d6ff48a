"""What an installation without any extra must do; run by `.ci/wheel` outside of the checkout."""

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import torch

import eqnets as eq

assert eq.__file__.startswith(sys.prefix), f"{eq.__file__} is not the installed wheel"
there = {(distribution.metadata["Name"] or "").lower() for distribution in distributions()}
extras = set("h5py safetensors plotly typer tqdm numba torchdiffeq control onnx pandas".split())  # torch brings jinja2
assert not there & extras, f"the core brings {there & extras}"

# the core works: an equilibrium, a promise, a proof, and the checker
assert bool(eq.MonotoneDEQ(3, 8).solve(torch.randn(4, 3)).converged.all())
ren = eq.ContractingREN(1, 3, 4, 1, rate=0.9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
y, _ = ren(torch.randn(2, 20, 1, dtype=torch.float64))
assert y.shape == (2, 20, 1)
certificate = eq.certify(eq.Contracting(0.9), ren.explicit(), ren.witness())
certificate.save(Path("certificate.json"))
assert eq.verify("certificate.json", ren.explicit()) == eq.Contracting(0.9)


def one_sentence(message: str, extra: str) -> None:
    """The message of something that an extra would add."""
    assert message.strip().count("\n") == 0 and f"eqnets[{extra}]" in message and "pip install" in message, message


# every name that needs an extra says so in one sentence
missing = []
for name in eq.__all__:
    try:
        getattr(eq, name)
    except ImportError as error:
        one_sentence(str(error), "identify")
        missing.append(name)
assert {"identify", "load", "report"} <= set(missing), missing  # `read` reads text and arrays without it

from eqnets import interop  # noqa: E402

for name, extra in (("to_control", "control"), ("to_onnx", "export")):
    try:
        getattr(interop, name)
        raise AssertionError(f"interop.{name} needs no extra")
    except ImportError as error:
        one_sentence(str(error), extra)

here = Path(sys.executable).parent
said = subprocess.run([here / "eqnets", "doctor"], capture_output=True, text=True, check=False)
assert said.returncode == 2 and not said.stdout, said
one_sentence(said.stderr, "identify")
checked = subprocess.run([here / "eqnets-verify", "certificate.json"], capture_output=True, text=True, check=False)
assert checked.returncode == 2 and "model.safetensors" in checked.stderr, (
    checked
)  # no weights here; tests/verify has them
print(f"core only: {len(there)} distributions, {len(missing)} names ask for the extra identify: {', '.join(missing)}")
