r"""
9 · If the equations are not available
======================================

Then there are data, input and output, and "finding the parameters can be seen as a deep learning problem". Three
models get the same records, the same number of steps and the same way to start and to stop: a recurrent equilibrium
network, which contracts for every value of its parameters, a classical RNN and a Neural ODE, which promise nothing.
"""

import json

import torch
from matplotlib import pyplot as plt
from record import RESULTS, SMOKE, store

import eqnets as eq

plant = eq.plants.Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.02, kp=40.0, kd=4.0)
records = plant.records(torch.Generator().manual_seed(0), n_records=3 if SMOKE else 6, duration=10.0 if SMOKE else 40.0)
channels = {"u": ["torque"], "y": ["angle"], "dt": 0.05, "units": {"torque": "N·m", "angle": "rad"}}
train, test = eq.read(records[:-1], **channels), eq.read(records[-1:], **channels)
STEPS = 2 if SMOKE else 1500

fits = {
    "REN, contracting": eq.identify(train, eq.Contracting(0.97), nx=2, nv=12, steps=STEPS),
    "RNN": eq.identify(train, "none", model="rnn", nv=16, steps=STEPS),
    "Neural ODE": eq.identify(train, "none", model="neural_ode", nx=2, nv=4 if SMOKE else 24, steps=STEPS),
}

# %%
# The test record was seen by none of them. A linear model stands beside, as everywhere.

table = {name: float(fit.score(test).rmse[0]) for name, fit in fits.items()}
table["linear"] = float(fits["REN, contracting"].linear.score(test).rmse[0])
store("lecture_identification", {"updates": STEPS, "test_rmse_rad": table}, None)  # a full run only
full = json.loads((RESULTS / "lecture_identification.json").read_text(encoding="utf-8"))
print(f"test RMSE in rad     this run, {STEPS} steps   stored, {full['updates']} steps   proved")
for name, rmse in table.items():
    proved = "rate 0.97 per step" if name.startswith("REN") else "nothing"
    print(f"{name:18s}   {rmse:18.4f}   {full['test_rmse_rad'][name]:19.4f}   {proved}")

figure, left = plt.subplots(figsize=(8, 3.4), layout="constrained")
measured = test.records[0].y[:, 0]
clock = 0.05 * torch.arange(len(measured))
left.plot(clock, measured, "k", linewidth=3, alpha=0.3, label="measured")
for name, fit in fits.items():
    left.plot(clock, fit.simulate(test.records[0].u)[:, 0], linewidth=1, label=name)
left.set(xlabel="t in s", ylabel="angle in rad", title="simulated from the torque alone, on the test record")
left.legend(fontsize=8)

# %%
# What the promise buys: a wrong initial state is forgotten
# ---------------------------------------------------------
#
# The same network from two initial states, under one torque. The distance stays below the envelope that the
# certificate proves, from every pair of states and under every torque; a simulation could only show it for some.

ren = fits["REN, contracting"]
lfr, witness = ren.lfr, ren.certificate.witness
rate = witness.rate(lfr)
u = torch.tensor(test.records[0].u[:200])[None].expand(2, -1, -1)
x = torch.tensor([[0.0, 0.0], [1.0, -1.0]], dtype=torch.float64) * 3
distance = []
for t in range(u.shape[1]):
    difference = x[0] - x[1]
    distance.append(float((difference @ witness.P @ difference).sqrt()))
    _, x = eq.simulate(lfr, u[:, t : t + 1], x)
envelope = [distance[0] * rate**t for t in range(len(distance))]
assert all(d <= e * (1 + 1e-9) for d, e in zip(distance, envelope, strict=True) if e > 1e-9 * envelope[0])
figure, right = plt.subplots(figsize=(6, 3.4), layout="constrained")
right.semilogy(clock[:200], distance, label="|Δx|$_P$")
right.semilogy(clock[:200], envelope, "k--", label=f"proved: {rate:.4f}$^t$ |Δx$_0$|$_P$")
right.set(xlabel="t in s", title="two wrong starts", ylim=(1e-6 * distance[0], 2 * distance[0]))
right.legend(fontsize=8)
