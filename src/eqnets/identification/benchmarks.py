"""The measured benchmarks, with their official splits: local files whose sha256 is pinned; nothing is downloaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eqnets.errors import DataError
from eqnets.identification.data import Data
from eqnets.identification.readers import read


@dataclass(frozen=True)
class Row:
    """A published or linear result to stand beside ours.

    Args:
        model: what was fitted.
        values: one number per test record, in the benchmark's unit; None where none is published.
        source: where the number is from.
        linear: whether the model is linear.
    """

    model: str
    values: tuple[float | None, ...]
    source: str
    linear: bool = False


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: its files, its rule, and what others reached.

    Args:
        name: the folder and the name under which `benchmark` knows it.
        title: its full name.
        citation: what to cite.
        n_init: how many samples of y a model may see on a test record; they are not scored.
        unit: the unit of the score.
        factor: the score is the RMSE in the units of y times this.
        tests: the names of the test records, in order.
        rows: published and linear results.
        sha256: the digest of every file.
        load: from the folder of the files to (train, test).
    """

    name: str
    title: str
    citation: str
    n_init: int
    unit: str
    factor: float
    tests: tuple[str, ...]
    rows: tuple[Row, ...]
    sha256: dict[str, str]
    load: Callable[[Path], tuple[Data, list[Data]]]


def benchmark(name: str, folder: str | os.PathLike[str] | None = None) -> tuple[Data, list[Data]]:
    """The official split of a benchmark.

    Args:
        name: "f16", "wh2009", "silverbox", "cascaded_tanks" or "emps".
        folder: the folder that holds a subfolder of that name; None takes the environment variable EQNETS_DATA.

    Returns:
        (train, test): the training data, and every test record as data of its own, in the order of `info(name).tests`.

    Raises:
        DataError: no such benchmark, no folder, a missing file, or a file with another digest.
    """
    known = info(name)
    root = os.environ.get("EQNETS_DATA", "") if folder is None else os.fspath(folder)
    if not root:
        raise DataError(
            f"the files of '{name}' are not found: set the environment variable EQNETS_DATA to the folder that holds "
            f"'{name}/', or pass folder=."
        )
    place = Path(root).expanduser() / name
    for file, digest in known.sha256.items():
        path = place / file
        if not path.is_file():
            raise DataError(f"there is no file {path}; set EQNETS_DATA to the folder that holds '{name}/{file}'.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise DataError(
                f"{path} is not the benchmark's file: its sha256 differs from {digest[:16]}…; fetch it again."
            )
    train, test = known.load(place)
    return train, test


def info(name: str) -> Benchmark:
    """What is known about a benchmark.

    Args:
        name: one of `names()`.

    Returns:
        Citation, rule, pinned digests, published results.

    Raises:
        DataError: no such benchmark.
    """
    if name not in _BENCHMARKS:
        raise DataError(f"there is no benchmark '{name}'; there is {', '.join(_BENCHMARKS)}.")
    return _BENCHMARKS[name]


def names() -> list[str]:
    """The names of the benchmarks."""
    return list(_BENCHMARKS)


def _apart(data: Data) -> list[Data]:
    """Every record as data of its own."""
    return [
        Data((record,), data.dt, data.u_names, data.y_names, data.u_units, data.y_units, data.sources[i : i + 1])
        for i, record in enumerate(data.records)
    ]


def _f16_files(levels: tuple[int, ...]) -> list[str]:
    kinds = ("FullMSine", "SineSw")
    return [f"F16Data_{kind}_Level{n}{'' if n % 2 else '_Validation'}.mat" for kind in kinds for n in levels]


def _f16(place: Path) -> tuple[Data, list[Data]]:
    train, test = (
        read(
            [place / file for file in _f16_files(levels)],
            u=["Force"],
            y=["Acceleration[0]"],
            units={"Force": "N", "Acceleration": "m/s²"},
        )
        for levels in ((1, 3, 5, 7), (2, 4, 6))
    )
    return train, _apart(test)


def _wh2009(place: Path) -> tuple[Data, list[Data]]:
    data = read(
        place / "WienerHammerBenchMark.mat",
        u="uBenchMark",
        y="yBenchMark",
        units={"uBenchMark": "V", "yBenchMark": "V"},
    )
    return data.slice(5200, 105200), [data.slice(105200, 184000)]


def _silverbox(place: Path) -> tuple[Data, list[Data]]:
    data = read(place / "SNLS80mV.mat", u="V1", y="V2", dt=2**14 / 1e7, units={"V1": "V", "V2": "V"})
    multisine, arrow = data.slice(40650, 127400), data.slice(100, 40575)
    cut = 65062  # the first 75 %
    return multisine.slice(0, cut), [multisine.slice(cut, None), arrow, arrow.slice(0, 32000)]


def _tanks(place: Path) -> tuple[Data, list[Data]]:
    train, test = (
        # the same tank: the channels of both parts get one name
        Data(part.records, part.dt, ("u",), ("y",), ("V",), ("V",), part.sources)
        for part in (
            read(place / "dataBenchmark.mat", u="uEst", y="yEst"),
            read(place / "dataBenchmark.mat", u="uVal", y="yVal"),
        )
    )
    return train, [test]


def _emps(place: Path) -> tuple[Data, list[Data]]:
    train, test = (
        read(place / file, u="vir", y="qm", dt=1e-3, time="t", units={"vir": "V", "qm": "m"})
        for file in ("DATA_EMPS.mat", "DATA_EMPS_PULSES.mat")
    )
    return train, [test]


_SHA256 = """
30e7bec7115a117f1391466c1dce34d05c673054fd1a862c441bd4d45dc19b2b f16/F16Data_FullMSine_Level1.mat
89e5add3e59b4406a62bd5dfe4c36bf28e5ad6bb34debb63d7c61756b824c488 f16/F16Data_FullMSine_Level2_Validation.mat
f06fcb7cc0486b50352c1d3a7045617ab24cad8fbe0f282c27baba1c3d139839 f16/F16Data_FullMSine_Level3.mat
594326ac0a01717e88e14119576bc5a1de851c3cc778453edb974995c198a6ed f16/F16Data_FullMSine_Level4_Validation.mat
e92c8a6ad21d5d8af62741baa8dc6b667aa7332d0d8d79115849ba4ff42949b0 f16/F16Data_FullMSine_Level5.mat
594584a2c951cfb809b491584ad82205a875fb4aa51f47db9002094b4deecbb7 f16/F16Data_FullMSine_Level6_Validation.mat
bd6dedf8bf1aec4dbba40fb2b553592408dbd0043e11c87a6d8c6969086f46a0 f16/F16Data_FullMSine_Level7.mat
cf3554012b2fb2bfc8f8f1f5c678ccb2a23512466b0f4fbb3d6e2c4b5b2215ac f16/F16Data_SineSw_Level1.mat
e05809ee163e80547570001e9f29cf6a4d1e823d79a6064eb82b817f4472b705 f16/F16Data_SineSw_Level2_Validation.mat
663cb3f8650b5adb8cd40e5d4395513e559a4af129fabf631b1db645a8ff12cd f16/F16Data_SineSw_Level3.mat
9208d67021b053b1a731e8f47527ac7809b2275de741ef30c968f1f02750e9cf f16/F16Data_SineSw_Level4_Validation.mat
b8c4415d0b66daec0b991e1ce319ba274b7ca8815e63d79023c3015e998a6157 f16/F16Data_SineSw_Level5.mat
0d5964c461f5293db948b4f16f754672840a90f62f5dcb831cd4dee0e8f63b91 f16/F16Data_SineSw_Level6_Validation.mat
54415f357a6a057dc1dd73a030b6105f1a1efa801a4abb05cfe8678facc87c6f f16/F16Data_SineSw_Level7.mat
6b696ed8cee4b8928f93b7a89348b51e9aa2f5d7d8150715951fe7c388108b19 wh2009/WienerHammerBenchMark.mat
5c7413a52255af0cb4e2f93fb6903beb92b08965ba1e6ad0a6ffedfed8477ed4 silverbox/SNLS80mV.mat
cb2f88d4388be4d3f2a24c6402fba804976aac5f2e1f26cda59ea0a38d016eab cascaded_tanks/dataBenchmark.mat
6cf6814ae14618795da0101aae2bb97ff0c6351b0501b5492751b02b07facf7e emps/DATA_EMPS.mat
0eab75bb1f6b16228ee78791343a88bf9bfd9a51036ac9807d7b5fc11c0e1704 emps/DATA_EMPS_PULSES.mat
"""


def _digests(folder: str) -> dict[str, str]:
    pairs = (line.split(" ") for line in _SHA256.strip().splitlines())
    return {path.split("/")[1]: digest for digest, path in pairs if path.startswith(f"{folder}/")}


_TABLE = "Champneys et al. 2024, arXiv 2405.10779"
_BENCHMARKS = {
    b.name: b
    for b in (
        Benchmark(
            "f16",
            "F-16 ground vibration, Force to Acceleration[0]",
            "Noël & Schoukens 2017, F-16 aircraft benchmark based on ground vibration test data",
            50,
            "m/s²",
            1.0,
            ("multisine 2", "multisine 4", "multisine 6", "sweep 2", "sweep 4", "sweep 6"),
            (
                Row("FIR, 3000 taps", (0.228, 0.272, 0.331, 0.127, 0.132, 0.247), "least squares, this project", True),
                Row("deep LRU, 6 layers", (None, None, 0.180, None, None, None), "forgi86/lru-reduction"),
            ),
            _digests("f16"),
            _f16,
        ),
        Benchmark(
            "wh2009",
            "Wiener–Hammerstein circuit",
            "Schoukens, Suykens & Ljung 2009, Wiener–Hammerstein benchmark",
            50,
            "mV",
            1e3,
            ("test",),
            (
                Row("linear state space", (43.4,), _TABLE, True),
                Row("GRU", (3.97,), _TABLE),
                Row("SUBNET", (0.241,), _TABLE),
            ),
            _digests("wh2009"),
            _wh2009,
        ),
        Benchmark(
            "silverbox",
            "Silverbox, an electronic Duffing oscillator",
            "Wigren & Schoukens 2013, Three free data sets for development and benchmarking in nonlinear system "
            "identification",
            50,
            "mV",
            1e3,
            ("multisine", "arrow", "arrow, no extrapolation"),
            (
                Row("linear state space", (6.96, 14.4, 6.58), _TABLE, True),
                Row("GRU", (1.49, 2.80, 0.947), _TABLE),
                Row("best published, each", (0.36, 0.26, 0.32), _TABLE),
            ),
            _digests("silverbox"),
            _silverbox,
        ),
        Benchmark(
            "cascaded_tanks",
            "Cascaded tanks with overflow",
            "Schoukens & Noël 2017, Three benchmarks addressing open challenges in nonlinear system identification",
            50,
            "V",
            1.0,
            ("validation",),
            (
                Row("linear state space", (0.588,), _TABLE, True),
                Row("GRU", (0.396,), _TABLE),
                Row("SUBNET", (0.37,), _TABLE),
                Row("grey box", (0.191,), "Worden et al. 2018"),
            ),
            _digests("cascaded_tanks"),
            _tanks,
        ),
        Benchmark(
            "emps",
            "Electro-mechanical positioning system (closed loop, dry friction)",
            "Janot, Gautier & Brunot 2019, Data set and reference models of EMPS",
            20,
            "mm",
            1e3,
            ("pulses",),
            (
                Row("linear state space", (5.53,), _TABLE, True),
                Row("LSTM", (74.1,), _TABLE),
                Row("dynoNet", (2.64,), _TABLE),
            ),
            _digests("emps"),
            _emps,
        ),
    )
}
