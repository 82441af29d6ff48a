"""The model, a run, the deployed program: one sentence each on the page, and each says what is so."""

import re

import pytest
import torch

from eqnets.certification import error_bar
from eqnets.reporting import contents, gather
from eqnets.reporting.three_sentences import three_sentences
from eqnets.system.simulate import neurons_at


@pytest.fixture(scope="module")
def solved(build):
    return build(acyclic=False, length=300)


def test_an_acyclic_model_has_no_solve_and_says_so(case) -> None:
    said = dict(three_sentences(case.fit, None))
    assert list(said) == ["The model", "The run", "The deployed program"]
    assert case.fit.certificate.sentence in said["The model"] and case.fit.lfr.digest() in said["The model"]
    assert "strictly lower triangular" in said["The run"] and "No equation is solved" in said["The run"]
    most = float(re.search(r"more than ([\d.e+]+) times", said["The deployed program"])[1])
    assert most >= 1 / (1 - case.fit.certificate.rate) > 0.999 * most


def test_a_solved_run_has_error_bars_that_hold(solved) -> None:
    fit, record = solved.fit, solved.test.records[0]
    run = gather.runs(fit, solved.test, "test", 50)[0]
    said = dict(contents.certificate_facts(fit, fit.certificate.rate, run)["facts"][:3])
    assert "for each of 300 steps from their computed states" in said["The run"]
    largest = float(re.search(r"the largest ε is ([\d.e+-]+) m/s²\.$", said["The run"])[1])
    assert 0 < largest < 1e-6 and f"{largest:g} m/s² here" in said["The deployed program"]
    # another solve of the same equations, at the states of the run, lies within the bar of its own
    bar, u = error_bar(fit.lfr), torch.tensor(record.u)
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rough = neurons_at(fit.lfr, x, u) + 1e-3
    error = (rough - neurons_at(fit.lfr, x, u)) @ fit.lfr.D21.mT
    assert (error.norm(dim=1) <= bar(rough, u, x)).all()


def test_without_data_a_solved_run_is_not_spoken_of(solved, mimo) -> None:
    said = dict(three_sentences(solved.fit, None))
    assert "how far it is from the model is not known: no data" in said["The run"]
    assert mimo.fit.lfr.is_acyclic and "No equation" in dict(three_sentences(mimo.fit, None))["The run"]


def test_outputs_of_several_units_are_scaled(build) -> None:
    case = build(2, 3, y_units=["m", "m/s", "rad"], acyclic=False, length=120, seed=1)
    said = dict(three_sentences(case.fit, gather.runs(case.fit, case.train, "training", 50)[0]))
    assert "‖S_y⁻¹(ỹ − y*)‖ ≤ ε(u)" in said["The run"] and "rad" in said["The run"]
