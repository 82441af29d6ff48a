r"""
8 · The equations are known, the numbers are not
================================================

A grey box: the pendulum's form, with three unknown numbers: the stiffness of gravity :math:`g/l`, the friction
:math:`\mu`, and the inertia :math:`m l^2`. ``GreyBox`` fits them to records of torque and angle, with intervals.
"""

import torch
from matplotlib import pyplot as plt
from record import SMOKE

import eqnets as eq

truth = eq.plants.Pendulum(mass=0.8, length=0.6, gravity=9.81, damping=0.15, upright=False)
records = truth.records(torch.Generator().manual_seed(0), n_records=2 if SMOKE else 4, duration=15.0, dt=0.05)
data = eq.read(records, u=["torque"], y=["angle"], dt=0.05, units={"torque": "N·m", "angle": "rad"})


def build(numbers: dict[str, float]) -> eq.LFR:
    """The hanging pendulum in continuous time, from the three numbers."""
    G, mu, inertia = numbers["g/l"], numbers["μ"], numbers["m l²"]
    return truth.lfr().replace(
        A=torch.tensor([[0, 1], [-G, -mu / inertia]], dtype=torch.float64),
        B1=torch.tensor([[0], [G]], dtype=torch.float64),
        B2=torch.tensor([[0], [1 / inertia]], dtype=torch.float64),
    )


# %%
# From a start that is a third off, on noise of 2 mrad.

fit = eq.GreyBox(build, {"g/l": 12.0, "μ": 0.1, "m l²": 0.4}).fit(data)
true = {"g/l": truth.stiffness_of_gravity, "μ": truth.damping, "m l²": truth.inertia}
print("number    true      estimate   95 % interval")
for name, value in fit.values.items():
    low, high = fit.intervals[name]
    print(f"{name:5s}   {true[name]:8.4f}   {value:8.4f}   [{low:.4f}, {high:.4f}]")
    assert abs(value - true[name]) < 0.02 * true[name]
print(f"simulation error {float(fit.score.rmse[0]):.2e} rad, the noise is 2.00e-03 rad; {fit.steps} steps")

# %%
# The intervals measure noise, not a wrong form. A pendulum **without** its sine fits worse, and its tight intervals
# mean nothing:

linear = eq.GreyBox(lambda numbers: build(numbers).replace(B1=torch.zeros(2, 1, dtype=torch.float64)),
                    {"g/l": 12.0, "μ": 0.1, "m l²": 0.4}).fit(data)  # fmt: skip
print(f"linear form: simulation error {float(linear.score.rmse[0]):.2e} rad")
print("its interval of g/l:", [round(end, 3) for end in linear.intervals["g/l"]])
assert linear.score.rmse[0] > 3 * fit.score.rmse[0]

u = torch.tensor(data.records[0].u)[None]
clock = 0.05 * torch.arange(u.shape[1])
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for name, found in (("without the sine", linear), ("grey box", fit)):
    fine = eq.discretise(found.lfr, 0.05 / 20, "midpoint")  # the torque is held over twenty steps
    angle = eq.simulate(fine, u.repeat_interleave(20, dim=1), torch.from_numpy(found.x0[:1]))[0][0, ::20, 0].numpy()
    ax.plot(clock, 1000 * (angle - data.records[0].y[:, 0]), label=name, linewidth=1)
ax.set(xlabel="t in s", ylabel="simulated − measured, in mrad", title="the first record, whose angle spans 1.3 rad")
ax.grid(alpha=0.3)
ax.legend(fontsize=8)
