# %% [markdown]
# # From measurements to a certified closed loop
#
# A model is identified from the Cascaded Tanks (two tanks, a pump, an overflow; Schoukens & Noël 2017), a PI controller
# is designed on it by a rule, and the loop of the *nonlinear* model with the controller is proved to contract: whatever
# state it starts from, it forgets it within a stated number of seconds. The certificate is checked by `eqnets-verify`,
# which needs Python's standard library and nothing else.
#
# A loop with integral action settles only if the plant's static gain has one sign, in the model as in the proof. A
# model that merely contracts does not promise that. `eq.identify_bounded` makes a model for the loop:
# $$ y = G_0 u + \Delta(u), \qquad \lVert \Delta(u) - \Delta(u') \rVert \le \gamma \lVert u - u' \rVert, $$
# a linear model $G_0$ beside a Lipschitz REN with $\gamma = 0.8\,|G_0(0)|$ that forgets as fast as $G_0$ does.
#
#     EQNETS_DATA=… python examples/closed_loop.py [-o FOLDER]
#
# Without `EQNETS_DATA` it runs on the PD-stabilised pendulum that comes with eqnets.

# %%
from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import torch
from record import SMOKE, store

import eqnets as eq
from eqnets.identification.benchmarks import benchmark
from eqnets.reporting.decay import wrong_starts

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

parser = argparse.ArgumentParser(description="From measurements to a certified closed loop.")
parser.add_argument("-o", "--output", type=Path, help="folder for the JSON file, the plot and the certificate")
output = parser.parse_args().output

F64 = torch.float64
STARTS, STEPS = (1, 150) if SMOKE else (2, 1500)
WITHIN = 0.02  # a set-point counts as reached within 2 % of its step

# %% [markdown]
# ## Data: one record to identify, one to test

# %%
if os.environ.get("EQNETS_DATA"):
    name, (train, (test,)) = "Cascaded Tanks", benchmark("cascaded_tanks")
else:
    name = "pendulum"
    plant = eq.plants.Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.02, upright=True, kp=40.0, kd=4.0)
    pairs = plant.records(torch.Generator().manual_seed(0), n_records=2, dt=0.05)
    words = {"u": ["torque"], "y": ["angle"], "dt": 0.05, "units": {"torque": "N·m", "angle": "rad"}}
    train, test = eq.read(pairs[:1], **words), eq.read(pairs[1:], **words)
unit_u, unit_y = train.u_units[0], train.y_units[0]
print(f"{name}: {train.n_samples} samples to identify, {test.n_samples} to test, every {train.dt:g} s")

# %% [markdown]
# ## Identification
# The last fifth of the record chooses among random starts and the number of steps. $\gamma$ and the rate of the
# residual hold at every step of the training: they are properties of the parametrisation.

# %%
began = time.perf_counter()
model = eq.identify_bounded(train, starts=STARTS, steps=STEPS)
seconds = time.perf_counter() - began
scores = {key: float(one.score(test).rmse[0]) for key, one in (("linear", model.nominal), ("model", model))}
print(
    f"identified in {seconds:.0f} s; test RMSE: linear {scores['linear']:.3g} {unit_y}, "
    f"model {scores['model']:.3g} {unit_y}; proved: γ = {model.gamma:.3g} {unit_y}/{unit_u}"
)

# %% [markdown]
# ## PI by a rule
# `eq.pi` takes the nominal plant's residence time for $T_i$, and the largest $K_p$ with $\max|S| \le 1.4$ and
# $\gamma \max|C S| \le 0.9$. Nothing is tuned by hand.

# %%
controller = eq.pi(model.linear, uncertainty=model.gamma)
Kp = float(controller.D)
Ti = Kp / float(controller.C)
print(f"PI: Kp = {Kp:.4g} {unit_u}/{unit_y}, Ti = {Ti:.4g} s")

# %% [markdown]
# ## The loop, and its certificate
# What the residual sees is a linear loop. The certificates of the two parts prove that the whole contracts (small
# gain); from their P and Λ the search goes on to the smallest rate.

# %%
began = time.perf_counter()
certificate = eq.certify_loop(model.nominal.lfr, controller, model.residual)
proving = time.perf_counter() - began
loop = certificate.lfr
print(f"\n{certificate.summary()}\n")

# %% [markdown]
# ## Checked by a sceptic
# `eqnets-verify` rebuilds the inequality in integers from the bits of the weights.

# %%
with tempfile.TemporaryDirectory() as scratch:
    folder = output or Path(scratch)
    folder.mkdir(parents=True, exist_ok=True)
    certificate.save(folder / "closed_loop.cert.json")
    checked = subprocess.run(
        [sys.executable, "-m", "eqnets_verify", str(folder / "closed_loop.cert.json")], capture_output=True, text=True
    )
print(checked.stdout or checked.stderr)

# %% [markdown]
# ## Wrong starts, and a change of the set-point
# Ten wrong states under one changing set-point, and a step between two set-points: the old steady state is a wrong
# state for the new one.

# %%
recovery = eq.Recovery.of(certificate)
measured = torch.tensor(train.records[0].y, dtype=F64)
middle, spread = float(measured.mean()), float(measured.std())
references = torch.tensor([[middle - spread / 2], [middle + spread / 2]], dtype=F64)
point = eq.operating_point(loop, references, certificate.witness)
moved = (point.x[0] - point.x[1], WITHIN * spread)
proved = recovery.time_within(moved[0], torch.tensor([moved[1], 1e9], dtype=F64))
length = round(1.1 * proved / train.dt)
answer, _ = eq.simulate(loop, references[1].expand(1, length, 1).contiguous(), point.x[:1])
late = ((answer[0, :, 0] - references[1]).abs() > moved[1]).nonzero()
settled = train.dt * (int(late[-1]) + 1 if len(late) else 0)
square = references[(torch.arange(length) // max(length // 6, 1)) % 2]
decay = wrong_starts(loop, certificate.witness, square.numpy(), n=10)
linearised = [eq.linearise(loop, x, r).spectral_radius() for x, r in zip(point.x, references, strict=True)]
print(
    f"set-point {references[0, 0]:.3g} → {references[1, 0]:.3g} {unit_y}: within {100 * WITHIN:g} % after "
    f"{settled:.4g} s in simulation, after {proved:.4g} s at the latest (proved)\n"
    f"10 wrong starts inside the envelope at each of {decay.ratio.shape[1] - 1} steps; the nearest came to "
    f"{100 * decay.worst:.1f} % of it"
)

# %%
result = {
    "data": name, "samples": train.n_samples, "dt": train.dt, "seconds_to_identify": seconds,
    "validation_rmse": model.validation, "training_steps": model.steps, "test_rmse": scores, "unit": unit_y,
    "gamma": model.gamma, "states": loop.nx, "neurons": loop.nv, "Kp": Kp, "Ti": Ti, "seconds_to_prove": proving,
    "rate": certificate.rate, "margin": certificate.margin, "time_constant_proved": certificate.time_constant,
    "time_constants_linearised": [-train.dt / math.log(radius) for radius in linearised],
    "wrong_starts_worst_share_of_envelope": decay.worst, "set_points": references[:, 0].tolist(),
    "steady_outputs": point.y[:, 0].tolist(), "steady_inputs": point.y[:, 1].tolist(),
    "settled_simulated": settled, "settled_proved": proved, "within": WITHIN,
    "eqnets_verify": {"exit_code": checked.returncode, "says": checked.stdout.strip()},
}  # fmt: skip
stored = store("closed_loop", result, output)

seconds_axis = train.dt * torch.arange(length)
figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
record = test.records[0]
clock = train.dt * torch.arange(len(record))
axes[0].plot(clock, record.y, color="0.6", label="measured")
axes[0].plot(clock, model.simulate(record.u, record.y[:50]), color="C0", linewidth=1, label="model")
axes[0].set(
    xlabel="time [s]", ylabel=f"y [{unit_y}]", title=f"{name}: test record, RMSE {scores['model']:.2g} {unit_y}"
)
tube = recovery.output_bound(moved[0], seconds_axis)[:, 0]
target = references[1, 0]
axes[1].fill_between(seconds_axis, target - tube, target + tube, color="C1", alpha=0.2, label="proved")
axes[1].plot(seconds_axis, answer[0, :, 0], color="C0", label="loop of the model with PI")
axes[1].axvline(settled, color="C0", linestyle=":", label=f"within 2 %: {settled:.4g} s")
axes[1].axvline(proved, color="C1", linestyle=":", label=f"at the latest: {proved:.4g} s")
axes[1].set(
    xlabel="time [s]", ylabel=f"y [{unit_y}]", title="A new set-point", ylim=(middle - 2 * spread, middle + 2 * spread)
)
axes[2].semilogy(train.dt * torch.arange(decay.ratio.shape[1]), decay.ratio.T, color="C0", linewidth=0.8, alpha=0.7)
axes[2].semilogy(train.dt * torch.arange(decay.ratio.shape[1]), decay.bound, "--", color="C1", label="proved")
axes[2].set(xlabel="time [s]", ylabel="|Δx|_P / |Δx₀|_P", title="Ten wrong starts", ylim=(1e-6, 2))
for axis in axes:
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
if stored:
    figure.savefig(stored.with_suffix(".png"), dpi=110)
    print(f"\nwritten: {stored.name} and its plot in {stored.parent.name}/")
