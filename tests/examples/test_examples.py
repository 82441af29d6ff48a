"""Every example runs as a user runs it, shrunk; what the lecture's example says is asserted."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytest.importorskip("matplotlib", reason="the examples draw plots; install the extra 'examples'")

needs_data = pytest.mark.skipif(
    not os.environ.get("EQNETS_DATA"), reason="needs the public data files; set EQNETS_DATA to their folder"
)


def run(name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EQNETS_SMOKE": "1", "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def result(name: str, folder: Path, *arguments: str) -> dict:
    done = run(name, *arguments, "-o", str(folder))
    assert done.returncode == 0, done.stderr
    assert (folder / f"{name}.png").stat().st_size > 1000
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lecture(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return result("deq_lecture", tmp_path_factory.mktemp("lecture"))


def test_depth_leads_to_the_equilibrium_where_the_cell_contracts(lecture: dict) -> None:
    part = lecture["default"]
    distances = part["median_distance"]
    assert part["depths"] == [0, 1, 2, 3, 4, 10, 20, 30]
    assert all(later < earlier for earlier, later in zip(distances, distances[1:], strict=False))
    assert distances[-1] < 1e-6


def test_fsolve_and_eqnets_find_the_same_equilibrium_where_the_cell_contracts(lecture: dict) -> None:
    part = lecture["default"]
    assert part["compared_with_fsolve"] == part["seeds"]
    assert part["largest_difference_to_fsolve"] < 1e-10
    assert set(part["found_a_root"].values()) == {part["seeds"]}
    assert part["warnings"] == 0


def test_depth_does_not_lead_to_the_equilibrium_with_normal_weights(lecture: dict) -> None:
    assert all(distance > 1.0 for distance in lecture["normal"]["median_distance"][2:])


def test_an_iteration_that_fails_says_so_while_root_finders_still_find_roots(lecture: dict) -> None:
    part = lecture["normal"]
    found = part["found_a_root"]
    assert part["warnings"] == part["seeds"] - found["picard"] > part["seeds"] / 2
    assert "was not found" in part["first_warning"]
    assert found["fsolve"] > found["picard"]
    assert found["newton"] > found["picard"]


@needs_data
@pytest.mark.data
def test_mnist_runs_and_memory_does_not_depend_on_the_tolerance(tmp_path: Path) -> None:
    found = result("deq_mnist", tmp_path)
    assert all(run["accuracy"] > 0.2 for run in found["networks"].values())  # 0.1 is chance
    sizes = found["memory"]
    twins = [row["saved_megabytes"] for row in sizes["twin"]]
    ours = [row["saved_megabytes"] for row in sizes["equilibrium"]]
    steps = [row["mean_steps"] for row in sizes["equilibrium"]]
    assert twins[-1] - twins[0] == pytest.approx(7 * (twins[1] - twins[0]), rel=0.05)  # 8 layers, 2 layers
    assert steps[-1] > 1.5 * steps[0]
    assert ours[-1] == ours[0] < twins[1]  # two layers


@needs_data
@pytest.mark.data
def test_transformer_runs_and_learns(tmp_path: Path) -> None:
    found = result("deq_transformer", tmp_path)
    for network in found["networks"].values():
        assert network["curve"][-1] < network["curve"][0]
        assert network["bits_per_character"] < math.log2(found["alphabet"])
    assert len({row["saved_megabytes"] for row in found["memory"]["equilibrium"]}) == 1
    assert len(found["sample"]) == 20


def test_transformer_reads_a_text_that_the_user_names(tmp_path: Path) -> None:
    text = tmp_path / "own.txt"
    text.write_text("to be or not to be\n" * 1000, encoding="utf-8")
    found = result("deq_transformer", tmp_path, str(text))
    assert found["text"] == "own.txt"
    assert found["alphabet"] == len(set("to be or not to be\n"))


def test_data_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    unset = run("deq_mnist", EQNETS_DATA="")
    assert unset.returncode == 1
    assert unset.stderr.startswith("This example needs measured data: set the environment variable EQNETS_DATA")
    empty = run("deq_mnist", EQNETS_DATA=str(tmp_path))
    assert "there is no mnist/train-images-idx3-ubyte.gz in it" in empty.stderr
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"something else")
    changed = run("deq_mnist", EQNETS_DATA=str(tmp_path))
    assert "sha256" in changed.stderr
    assert "Traceback" not in unset.stderr + empty.stderr + changed.stderr


def test_regions_of_the_pendulum_are_proved_and_smaller_than_the_simulated_ones(tmp_path: Path) -> None:
    found = result("pendulum_regions", tmp_path)
    for part in found.values():
        if isinstance(part, dict) and "refused" in part:
            assert "Remedy: claim RegionOfAttraction()" in part["refused"]
            for label in ("ellipsoid", "Lur'e–Postnikov"):
                assert part[label]["trajectories_stay"]
                assert 0 < part[label]["area"] < part["simulated"]["area"]
    assert found["hanging"]["Lur'e–Postnikov"]["area"] > found["hanging"]["ellipsoid"]["area"]
