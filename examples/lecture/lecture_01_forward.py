r"""
1 · What happens for L → ∞?
===========================

A weight-tied network with its input injected at every layer, :math:`z^{l+1} = \tanh(W_z z^l + U_z x + b_z)` from
:math:`z^0 = 0`, with :math:`T = 3` inputs and :math:`n_z = 10` neurons; and the network that skips the layers and asks
for :math:`z^\star = \tanh(W_z z^\star + U_z x + b_z)` itself.
"""

import torch
from matplotlib import pyplot as plt
from network import N_Z, Cell, T, by_fsolve

import eqnets as eq

# %%
# Listings 1 and 2
# ----------------
#
# The lecture writes both by hand: a loop over the layers, and SciPy's ``fsolve`` on :math:`g(z) = f(z) - z`. Here are
# both beside the two modules of eqnets.

cell = Cell(seed=0, normal=False)
z = torch.zeros(1, N_Z, dtype=torch.float64)
with torch.no_grad():
    for _ in range(30):
        z = torch.tanh(cell.W_z(z) + cell.U_z(cell.x))

finite = eq.FiniteDepth(cell, N_Z, depth=30)
deq = eq.DEQ(cell, N_Z, rtol=1e-13, atol=1e-14)
z_fsolve, _ = by_fsolve(cell)
with torch.no_grad():
    solution, z_finite = deq.solve(cell.x), finite(cell.x)

print("loop − FiniteDepth:", float((z - z_finite).norm()))
print("fsolve − DEQ:      ", float((z_fsolve - solution.value).norm()))
print("DEQ:", "converged" if solution.converged else "not converged", "after", int(solution.steps), "evaluations")

with torch.no_grad():
    layers = torch.cat([eq.FiniteDepth(cell, N_Z, depth)(cell.x) for depth in range(13)])
figure, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
ax.plot(layers, ".-", linewidth=1)
ax.set_prop_cycle(None)  # the same colours again
for value in solution.value[0]:
    ax.plot(14, value, "o")
ax.set_xticks([*range(0, 13, 2), 14], [*range(0, 13, 2), "z*"])
ax.set(xlabel="layers L", ylabel="the ten neurons of z$^L$")

# %%
# .. admonition:: Where the slide errs
#
#    In the two columns :math:`z^\star` and :math:`z^L` are interchanged: the finite network's output is written as
#    :math:`W_y z^\star + b_z`, the equilibrium network's as :math:`W_y z^L + b_z`. And the output's bias cannot be
#    :math:`b_z`: it has ten entries, the output has one (the listing has it right: ``b_y``). The root finder's equation
#    misses its "= 0".
#
# The effect of the first: read literally, the columns are each other's, which matters as long as the network is short.

readout = torch.nn.Linear(N_Z, 1, dtype=torch.float64)  # W_y and b_y
with torch.no_grad():
    for depth in (1, 2, 4, 10, 30):
        by_layers = readout(eq.FiniteDepth(cell, N_Z, depth)(cell.x))
        by_root = readout(solution.value)
        print(f"L = {depth:2d}:  W_y z^L + b_y = {float(by_layers):+.6f}   W_y z* + b_y = {float(by_root):+.6f}")
print("b_z has", cell.W_z.bias.numel(), "entries, b_y has", readout.bias.numel())

# %%
# How restrictive is weight tying?
# --------------------------------
#
# Not at all: any traditional network of depth L is a weight-tied, input-injected one of the same depth, with linearly
# more neurons. ``weight_tied`` writes it down, and the equilibrium of that is the network's output exactly, because
# its W is nilpotent.

mlp = torch.nn.Sequential(
    torch.nn.Linear(T, 20), torch.nn.Tanh(), torch.nn.Linear(20, 15), torch.nn.ReLU(), torch.nn.Linear(15, 2)
).double()
tied, last = eq.weight_tied(mlp)
x = torch.randn(5, T, dtype=torch.float64)
with torch.no_grad():
    difference = last(eq.DEQ(tied, tied.features, solver=eq.Picard())(x)) - mlp(x)
print(f"{tied.depth} blocks, {tied.features} neurons, largest difference", float(difference.abs().max()))
