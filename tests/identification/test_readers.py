"""Every format gives the same data, and every bad file one sentence."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse
import torch

from eqnets.errors import DataError
from eqnets.identification.readers import read
from eqnets.identification.readers.mat5 import Broken, check_mat5

N, DT = 40, 0.0025


@pytest.fixture
def signals() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {name: rng.standard_normal(N) for name in ("force", "torque", "acc", "pos")}


def write_csv(path: Path, columns: dict[str, np.ndarray], delimiter: str = ",", decimal: str = ".") -> Path:
    rows = [delimiter.join(columns)]
    for row in zip(*columns.values(), strict=True):
        rows.append(delimiter.join(repr(float(value)).replace(".", decimal) for value in row))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def write_mat73(path: Path, columns: dict[str, np.ndarray]) -> None:
    """As MATLAB writes it: a 512-byte text block before the HDF5 signature, axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as store:
        for name, values in columns.items():
            store[name] = np.atleast_2d(values) if values.ndim < 2 else values.T
            store[name].attrs["MATLAB_class"] = np.bytes_("double")
    raw = bytearray(path.read_bytes())
    raw[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(raw)


FORMATS = ["comma", "semicolon", "tab", "decimal comma", "mat", "mat73", "npz", "h5", "frame", "arrays", "tensors"]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_data(form, signals, tmp_path):
    u, y = ["force", "torque"], ["acc", "pos"]
    rows = {name: values[None, :] for name, values in signals.items()}
    match form:
        case "comma":
            source = write_csv(tmp_path / "run.csv", signals)
        case "semicolon":
            source = write_csv(tmp_path / "run.csv", signals, ";")
        case "tab":
            source = write_csv(tmp_path / "run.tsv", signals, "\t")
        case "decimal comma":
            source = write_csv(tmp_path / "run.csv", signals, ";", ",")
        case "mat":
            source = tmp_path / "run.mat"
            scipy.io.savemat(source, rows)
        case "mat73":
            source = tmp_path / "run.mat"
            write_mat73(source, signals)
        case "npz":
            source = tmp_path / "run.npz"
            np.savez(source, **signals)
        case "h5":
            source = tmp_path / "run.h5"
            with h5py.File(source, "w") as store:
                for name, values in signals.items():
                    store[f"measured/{name}"] = values
        case "frame":
            source = pd.DataFrame(signals)
        case "arrays" | "tensors":
            pair = [np.stack([signals[name] for name in group], axis=1) for group in (u, y)]
            source = [tuple(torch.tensor(part) for part in pair)] if form == "tensors" else [tuple(pair)]
    data = read(source, u=u, y=y, dt=DT)
    assert (data.nu, data.ny, data.dt, data.lengths) == (2, 2, DT, (N,))
    assert data.u_names == ("force", "torque") and data.y_names == ("acc", "pos")
    np.testing.assert_array_equal(data.records[0].u, np.stack([signals["force"], signals["torque"]], axis=1))
    np.testing.assert_array_equal(data.records[0].y, np.stack([signals["acc"], signals["pos"]], axis=1))
    if isinstance(source, Path):
        assert data.sources[0].file == source.name
        assert data.sources[0].sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert len(data.sources[0].sha256) == 64


# ---- names, units, orientation, sample time --------------------------------------------------------------------------


def test_units_stand_in_the_header_or_in_the_argument(signals, tmp_path):
    columns = {"force [N]": signals["force"], "acc (m/s^2)": signals["acc"], "pos": signals["pos"]}
    path = write_csv(tmp_path / "run.csv", columns)
    data = read(path, u="force", y=["acc", "pos"], dt=DT, units={"pos": "mm"})
    assert (data.u_names, data.y_names) == (("force",), ("acc", "pos"))
    assert (data.u_units, data.y_units) == (("N",), ("m/s^2", "mm"))
    assert read(path, u="force [N]", y="acc", dt=DT).u_names == ("force",)
    assert read(pd.DataFrame(columns), u="force", y="acc", dt=DT).y_units == ("m/s^2",)
    with pytest.raises(DataError, match=r"'force' in 'N', but units says 'kN'"):
        read(path, u="force", y="acc", dt=DT, units={"force": "kN"})
    with pytest.raises(DataError, match="units names 'forse', which is no channel"):
        read(path, u="force", y="acc", dt=DT, units={"forse": "N"})


def test_one_name_with_two_units_is_asked_for_in_full(signals, tmp_path):
    path = write_csv(tmp_path / "run.csv", {"a [N]": signals["force"], "a [kN]": signals["pos"], "y": signals["acc"]})
    with pytest.raises(DataError, match=r"ask for 'a \[N\]' or 'a \[kN\]'"):
        read(path, u="a", y="y", dt=DT)
    data = read(path, u="a [kN]", y="y", dt=DT)
    assert data.u_names == ("a [kN]",) and data.u_units == ("kN",)
    np.testing.assert_array_equal(data.records[0].u[:, 0], signals["pos"])


@pytest.mark.parametrize("lying", [False, True])
def test_a_matrix_is_oriented_by_the_time_length(lying, signals, tmp_path):
    matrix = np.stack([signals["torque"], signals["acc"], signals["pos"]])
    path = tmp_path / "run.mat"
    scipy.io.savemat(path, {"F": signals["force"][None], "A": matrix if lying else matrix.T, "Fs": 400})
    data = read(path, u=["F"], y=["A[2]", "A[0]"])
    assert data.dt == 1 / 400 and data.y_names == ("A[2]", "A[0]")
    np.testing.assert_array_equal(data.records[0].y, matrix[[2, 0]].T)
    whole = read(path, u=["F"], y=["A"], units={"A": "g"})
    assert whole.y_names == ("A[0]", "A[1]", "A[2]") and whole.y_units == ("g",) * 3
    with pytest.raises(DataError, match=r"element 3, but there are 3 channels, A\[0\] to A\[2\]"):
        read(path, u=["F"], y=["A[3]"])


def test_which_axis_is_time_is_never_guessed(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", u=rng.random((5, 30)), y=rng.random((5, 30)))
    with pytest.raises(DataError, match="either axis could be time"):
        read(tmp_path / "a.npz", u="u", y="y", dt=1)
    np.savez(tmp_path / "b.npz", u=rng.random(30), y=rng.random((30, 30)))
    with pytest.raises(DataError, match="either axis could be time"):
        read(tmp_path / "b.npz", u="u", y="y", dt=1)
    np.savez(tmp_path / "c.npz", u=rng.random(30), y=rng.random(29))
    with pytest.raises(DataError, match=r"share no length: u \(30,\), y \(29,\)"):
        read(tmp_path / "c.npz", u="u", y="y", dt=1)


def test_struct_fields_and_group_paths_have_names(signals, tmp_path):
    scipy.io.savemat(tmp_path / "s.mat", {"log": {"force": signals["force"], "acc": signals["acc"], "dt": 0.5}})
    data = read(tmp_path / "s.mat", u="log.force", y="acc")
    assert data.dt == 0.5
    np.testing.assert_array_equal(data.records[0].y[:, 0], signals["acc"])
    with h5py.File(tmp_path / "s.h5", "w") as store:
        store["a/force"], store["b/force"], store["acc"] = signals["force"], signals["pos"], signals["acc"]
        store["acc"].attrs["units"] = "m/s^2"
        store.attrs["fs"] = 400
    with pytest.raises(DataError, match="'force' can be a/force or b/force"):
        read(tmp_path / "s.h5", u="force", y="acc")
    data = read(tmp_path / "s.h5", u="b/force", y="acc")
    assert data.dt == 1 / 400 and data.y_units == ("m/s^2",)


def test_the_sample_time_must_be_said_once_and_without_contradiction(signals, tmp_path):
    path = tmp_path / "run.mat"
    scipy.io.savemat(path, {**signals, "Ts": 4})
    assert read(path, u="force", y="acc").dt == 4.0
    assert read(path, u="force", y="acc", dt=4).sources[0].dt_evidence == "dt = 4 s, given"
    with pytest.raises(DataError, match=r"dt is 0.25 s, but Ts = 4 in run.mat"):
        read(path, u="force", y="acc", dt=0.25)
    scipy.io.savemat(path, {**signals, "Ts": 4, "fs": 2})
    with pytest.raises(DataError, match="two sample times: Ts = 4 in run.mat and fs = 2"):
        read(path, u="force", y="acc")
    with pytest.raises(DataError, match=r"run.csv states no sample time.*--dt"):
        read(write_csv(tmp_path / "run.csv", signals), u="force", y="acc")
    for dt in (0, -1, np.nan, np.inf, "fast", True):
        with pytest.raises(DataError, match="sample time is"):
            read(path, u="force", y="acc", dt=dt)


def test_a_time_column_tells_the_sample_time(signals, tmp_path):
    t = np.arange(N) * DT
    rng = np.random.default_rng(3)
    jitter = t + rng.uniform(-0.004, 0.004, N) * DT
    cases = (
        (t, "t", 1e-12),
        (t * 1e3, "t [ms]", 1e-12),
        (t + 1.7e9, "t", 1e-5),
        (jitter, "t", 1e-3),
        (t.round(3), "t", 5e-3),
    )
    for stamps, header, tolerance in cases:
        path = write_csv(tmp_path / "run.csv", {header: stamps, **signals})
        frame = pd.read_csv(path)
        for source in (path, frame):
            assert read(source, u="force", y="acc", time="t").dt == pytest.approx(DT, rel=tolerance)
            assert read(source, u="force", y="acc", time="t", dt=DT).dt == DT
    path = write_csv(tmp_path / "run.csv", {"t": t, **signals})
    with pytest.raises(DataError, match="steps of 0.0025 s, but the sample time is said to be 0.1 s"):
        read(path, u="force", y="acc", time="t", dt=0.1)
    with pytest.raises(DataError, match="the time 't' is in 'V'"):
        read(write_csv(tmp_path / "v.csv", {"t [V]": t, **signals}), u="force", y="acc", time="t")


def test_dates_are_a_time_column(signals, tmp_path):
    stamps = pd.Timestamp("2024-02-29T23:59:59.9") + pd.to_timedelta(np.arange(N) * 10, unit="ms")
    frame = pd.DataFrame({"when": stamps, **signals})
    assert read(frame, u="force", y="acc", time="when").dt == pytest.approx(0.01)
    frame.to_csv(tmp_path / "run.csv", index=False)
    assert read(tmp_path / "run.csv", u="force", y="acc", time="when").dt == pytest.approx(0.01)


def test_irregular_time_names_the_row_and_gaps_can_split(signals, tmp_path):
    t = np.arange(N) * DT
    wobble = t.copy()
    wobble[10] += 0.1 * DT
    path = write_csv(tmp_path / "wobble.csv", {"t": wobble, **signals})
    for gaps in ("raise", "split"):
        with pytest.raises(DataError, match=r"wobble.csv: the time 't' is not uniform in row 12:.*tolerance is 1%"):
            read(path, u="force", y="acc", time="t", gaps=gaps)
    gap = t.copy()
    gap[25:] += 3 * DT
    path = write_csv(tmp_path / "gap.csv", {"t": gap, **signals})
    with pytest.raises(
        DataError, match=r"gap.csv: the time 't' is not uniform in row 27: a step of 0.01 s .*--gaps split"
    ):
        read(path, u="force", y="acc", time="t")
    data = read(path, u="force", y="acc", time="t", gaps="split")
    assert data.lengths == (25, 15) and data.dt == DT and len(data.sources) == 1
    assert [r.name for r in data.records] == ["gap[0:25]", "gap[25:40]"]
    np.testing.assert_array_equal(data.records[1].y[:, 0], signals["acc"][25:])
    back = t.copy()
    back[5] = back[3]
    path = write_csv(tmp_path / "back.csv", {"t": back, **signals})
    with pytest.raises(DataError, match="does not increase in row 7"):
        read(path, u="force", y="acc", time="t")


def test_missing_values_can_split_too(signals, tmp_path):
    signals["acc"][[7, 8]] = np.nan
    signals["force"][20] = np.nan
    data = read(write_csv(tmp_path / "run.csv", signals), u="force", y="acc", dt=DT, gaps="split")
    assert data.lengths == (7, 11, 19) and "3 samples left out" in data.sources[0].dt_evidence
    np.testing.assert_array_equal(data.records[2].y[:, 0], signals["acc"][21:])


def test_globs_and_lists_keep_natural_order(signals, tmp_path):
    for i, n in ((10, 30), (2, 20), (1, 40)):
        write_csv(tmp_path / f"run{i}.csv", {k: v[:n] for k, v in signals.items()})
    data = read(str(tmp_path / "run*.csv"), u="force", y="acc", dt=DT)
    assert [s.file for s in data.sources] == ["run1.csv", "run2.csv", "run10.csv"] and data.lengths == (40, 20, 30)
    data = read([tmp_path / "run10.csv", tmp_path / "run1.csv"], u="force", y="acc", dt=DT)
    assert data.lengths == (30, 40)
    with pytest.raises(DataError, match="run1.csv is named twice"):
        read([tmp_path / "run1.csv", str(tmp_path / "run*.csv")], u="force", y="acc", dt=DT)
    odd = write_csv(tmp_path / "run[3].csv", signals)  # a name that looks like a pattern
    assert read(odd, u="force", y="acc", dt=DT).sources[0].file == "run[3].csv"


def test_arrays_take_default_names_batches_and_stay_untouched():
    rng = np.random.default_rng(1)
    u, y = rng.random((2, 30, 3)), rng.integers(-5, 5, (2, 30, 2))
    before = u.copy(), y.copy()
    data = read((u, y), dt=0.1)
    assert (data.u_names, data.y_names, data.lengths) == (("u1", "u2", "u3"), ("y1", "y2"), (30, 30))
    assert all(a.dtype == np.float64 and not a.flags.writeable for r in data.records for a in (r.u, r.y))
    u[:], y[:] = 0, 0
    np.testing.assert_array_equal(data.records[1].u, before[0][1])
    np.testing.assert_array_equal(data.records[1].y, before[1][1])
    tensor = torch.tensor(before[0][0], dtype=torch.bfloat16, requires_grad=True)
    assert read([(tensor, torch.tensor(before[1][0]))], dt=1).nu == 3


def test_headers_of_other_programs(signals, tmp_path):
    matrix = np.stack([signals["force"], signals["acc"]], axis=1)
    np.savetxt(tmp_path / "numpy.csv", matrix, delimiter=",", header="force,acc")
    text = "# logger 3\r\n% 12:00\r\n\r\nforce;acc\r\n" + "".join(f"{a};{b}\r\n" for a, b in matrix) + "\r\n\r\n"
    (tmp_path / "logger.txt").write_bytes(("\ufeff" + text).encode())
    (tmp_path / "utf16.csv").write_bytes(text.encode("utf-16"))
    (tmp_path / "quoted.csv").write_text('"force","acc"\n' + "".join(f'"{a}","{b}"\n' for a, b in matrix))
    (tmp_path / "latin.csv").write_bytes(
        ("force [µN],acc\n" + "".join(f"{a},{b}\n" for a, b in matrix)).encode("latin-1")
    )
    for name in ("numpy.csv", "logger.txt", "utf16.csv", "quoted.csv", "latin.csv"):
        data = read(tmp_path / name, u="force", y="acc", dt=1)
        np.testing.assert_allclose(data.records[0].u[:, 0], signals["force"], rtol=1e-15, err_msg=name)
    assert data.u_units == ("µN",)


# ---- bad input: one sentence -----------------------------------------------------------------------------------------

BODY = "".join(f"{i},{i * i % 7},{i % 3}\n" for i in range(20))
TEXTS = {
    "no such column": (
        "forse,acc,x\n" + BODY,
        r"bad.csv has no column 'force'; it has forse, acc, x; did you mean 'forse'\?",
    ),
    "nan": ("force,acc,x\n1,2,3\n2,nan,4\n3,1,2\n", r"bad.csv: 'acc' is empty or NaN in row 3; .*gaps"),
    "empty cell": ("force,acc,x\n1,2,3\n2,,4\n3,1,2\n", "'acc' is empty or NaN in row 3"),
    "inf": ("force,acc,x\n1,2,3\n-inf,3,4\n3,1,2\n", "'force' is -inf in row 3"),
    "huge": ("force,acc,x\n1,2,3\n1e400,3,4\n3,1,2\n", "'force' is inf in row 3"),
    "constant": ("force,acc,x\n1,2,3\n1,3,4\n1,1,2\n", r"channel 'force' is constant \(1\) in bad.csv"),
    "ragged": ("force,acc,x\n1,2,3\n\n1,3\n1,1,2\n", "row 4 has 2 fields where the header has 3"),
    "ragged last": (
        "force,acc,x\n1,2,3\n2,3,4\n1,1",
        "row 4 has 2 fields where the header has 3; the file seems to be cut",
    ),
    "decimal commas": ("force,acc\n1,5,2,5\n2,5,3,5\n", "row 2 has 4 fields .* decimal commas"),
    "empty": ("", "bad.csv is empty"),
    "blank": ("\n \n", "bad.csv is empty"),
    "header only": ("force,acc,x\n", "header but no data rows"),
    "no header": ("1,2,3\n4,5,6\n", "no header: row 1 holds numbers"),
    "text": ("force,acc,x\n1,2,3\n2,n/a,4\n3,1,2\n", "row 3, column 'acc' holds the text 'n/a'"),
    "underscore": ("force,acc,x\n1,2,3\n2,1_0,4\n3,1,2\n", "row 3, column 'acc' holds the text '1_0'"),
    "complex": ("force,acc,x\n1,2,3\n2,1+2j,4\n3,1,2\n", r"row 3, column 'acc' holds the text '1\+2j'"),
    "units row": ("force,acc,x\nN,m,s\n1,2,3\n2,3,4\n", r"row 2, column 'force' holds the text 'N'.*units"),
    "one sample": ("force,acc,x\n1,2,3\n", "bad.csv has 1 sample;"),
    "duplicates": ("force,acc,acc\n" + BODY, "'acc' stands over columns 2 and 3 of the header; rename"),
    "spaces": ("force acc x\n1 2 3\n2 3 4\n", "separated by spaces"),
    "thousands": (
        "force;acc\n1,234;2\n2,345;3\n3,111;5\n",
        "'1,234' in row 2, column 'force' can be a decimal comma or",
    ),
    "mixed": ("force;acc\n1,5;2.5\n2,5;3.5\n", "'1,5' in row 2, column 'force' has a comma, and points"),
    "binary": ("force,acc\0\n1,2\n", "not a text file"),
    "two delimiters": ("force,acc;x\n1,2;3\n2,3;4\n", "can be split by comma and semicolon alike"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_bad_text_file_gets_one_sentence(case, tmp_path):
    text, message = TEXTS[case]
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read(path, u=["force"], y=["acc"], dt=1)
    assert "bad.csv" in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value)[-1] in ".?"


def test_bad_names_and_paths(signals, tmp_path):
    path = write_csv(tmp_path / "run.csv", signals)
    cases = [
        (dict(source=tmp_path, u="force", y="acc"), r"is a folder, not a file; .*\*\.csv"),
        (dict(source=tmp_path / "none.csv", u="force", y="acc"), "there is no file .*holds run.csv"),
        (dict(source=str(tmp_path / "x*.csv"), u="force", y="acc"), "no file matches"),
        (dict(source="", u="force", y="acc"), "file name is empty"),
        (dict(source=[], u="force", y="acc"), "list of sources is empty"),
        (dict(source=3, u="force", y="acc"), "a int cannot be read"),
        (dict(source=path, y="acc"), r"name the inputs with u=.*run.csv has force, torque, acc, pos"),
        (dict(source=path, u="force"), "name the outputs with y="),
        (dict(source=path, u=[], y="acc"), r"u is \[\]"),
        (dict(source=path, u="force", y="force"), "as an input and as an output"),
        (dict(source=path, u=["force", "force"], y="acc"), "named twice in u"),
        (dict(source=path, u="force", y="acc", time="acc"), "as the time and as a signal"),
        (dict(source=path, u="force", y="acc", time="t"), "has no column 't'"),
        (dict(source=path, u="force", y="acc", gaps="skip"), "gaps is 'skip'"),
    ]
    for arguments, message in cases:
        with pytest.raises(DataError, match=message):
            read(**{"dt": 1, **arguments})
    other = tmp_path / "run.xlsx"
    other.write_bytes(b"PK")
    with pytest.raises(DataError, match="run.xlsx ends in '.xlsx', which cannot be read; export it"):
        read(other, u="force", y="acc", dt=1)


def test_two_files_must_agree(signals, tmp_path):
    t = np.arange(N) * DT
    a = write_csv(tmp_path / "a.csv", {"t": t, **signals})
    b = write_csv(tmp_path / "b.csv", {"t": 2 * t, **signals})
    with pytest.raises(DataError, match="two sample times: a.csv has 0.0025 s and b.csv has 0.005 s"):
        read([a, b], u="force", y="acc", time="t")
    c = write_csv(tmp_path / "c.csv", {"t": t, "force [N]": signals["force"], "acc": signals["acc"]})
    with pytest.raises(DataError, match="a.csv does not say the unit of 'force', which is 'N'"):
        read([a, c], u="force", y="acc", time="t")
    scipy.io.savemat(tmp_path / "d.mat", {**signals, "A": np.zeros((3, N)) + signals["acc"]})
    scipy.io.savemat(tmp_path / "e.mat", {**signals, "A": np.zeros((2, N)) + signals["acc"]})
    with pytest.raises(DataError, match="e.mat has the channels"):
        read([tmp_path / "d.mat", tmp_path / "e.mat"], u="force", y="A", dt=1)


def store_bytes(form: str, signals: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    if form == "mat":
        scipy.io.savemat(buffer, signals, do_compression=True)
    elif form == "npz":
        np.savez_compressed(buffer, **signals)
    else:
        with h5py.File(buffer, "w") as store:
            for name, values in signals.items():
                store[name] = values
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["mat", "npz", "h5"])
def test_a_truncated_or_foreign_store_gets_one_sentence(form, signals, tmp_path):
    whole = store_bytes(form, signals)
    path = tmp_path / f"cut.{form}"
    path.write_bytes(whole)
    read(path, u="force", y="pos", dt=1)
    rng = np.random.default_rng(11)
    cuts = [0, 1, 7, 100, *(int(n) for n in rng.integers(128, len(whole) - 1, 25)), len(whole) - 1]
    damaged = [whole[:n] for n in cuts] + [rng.bytes(2000), b"force,acc\n1,2\n", b"\0" * 600]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"cut.{form}") as caught:
            read(path, u="force", y="pos", dt=1)
        assert "\n" not in str(caught.value)


def test_a_mat_file_is_checked_before_scipy_trusts_its_codes(signals, tmp_path):
    """A wrong type or class code makes scipy 1.17's compiled reader end the process: it must not get that far."""
    cell = np.empty((1, 2), dtype=object)
    cell[0] = [signals["force"], "word"]
    everything = {
        **signals, "short": np.arange(N, dtype=np.int16), "flag": np.array([True]), "z": signals["acc"] + 1j, "c": cell,
        "s": {"a": signals["pos"], "b": {"c": "deep"}}, "none": np.zeros((0, 0)),
        "sparse": scipy.sparse.csc_matrix(np.eye(3)),
    }  # fmt: skip
    for packed in (False, True):
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, everything, do_compression=packed)
        whole = buffer.getvalue()
        check_mat5(whole)
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"force": signals["force"], "acc": signals["acc"]})
    whole = buffer.getvalue()
    # the first variable: tag at 128, flags at 136 (class at 144), dimensions at 152, name at 168, numbers at 184
    for place, codes in {
        128: (8, 19, 255),
        136: (5, 200),
        144: (0, 99),
        152: (1, 8),
        184: (8, 20, 14, 77),
        188: (7, 65),
    }.items():
        for code in codes:
            damaged = bytearray(whole)
            damaged[place] = code
            with pytest.raises(Broken):
                check_mat5(bytes(damaged))
            (tmp_path / "bad.mat").write_bytes(damaged)
            with pytest.raises(DataError, match="bad.mat cannot be read as a MATLAB file: it is truncated or damaged"):
                read(tmp_path / "bad.mat", u="force", y="acc", dt=1)


def test_stores_refuse_what_is_no_signal(signals, tmp_path):
    path = tmp_path / "odd.npz"
    np.savez(
        path, **signals, objects=np.array([{}] * N, dtype=object), z=signals["acc"] * 1j, big=np.full(N, 2**60),
        text=np.array(["a"] * N), empty=np.zeros((0, 2)), one=3.0, cube=np.zeros((N, 2, 2)), low=np.arange(N) - 2**62,
        masked=np.uint64(2**64 - 1) - np.arange(N, dtype=np.uint64),
    )  # fmt: skip
    messages = {
        "objects": "'objects' is an array of pickled Python objects, which is never opened",
        "z": "'z' holds complex numbers",
        "big": r"'big' is 1152921504606846976 in sample 0 .*beyond 2\^53",
        "low": r"'low' is -\d+ in sample 0",
        "masked": r"beyond 2\^53",
        "text": "'text' is an array of <U1",
        "empty": "'empty' has no samples",
        "one": "'one' is a single number",
        "cube": "'cube' has 3 axes",
        "pose": "has no variable 'pose'; it has .*did you mean 'pos'?",
    }
    for name, message in messages.items():
        with pytest.raises(DataError, match=message):
            read(path, u="force", y=name, dt=1)
    pickled = tmp_path / "pickle.npz"
    pickled.write_bytes(pickle.dumps(signals))
    with pytest.raises(DataError, match="pickle.npz cannot be read as a NPZ file"):
        read(pickled, u="force", y="acc", dt=1)
    scipy.io.savemat(tmp_path / "odd.mat", {**signals, "word": "text", "cell": np.array([1, "a"], dtype=object)})
    for name in ("word", "cell"):
        with pytest.raises(DataError, match=f"odd.mat: '{name}' is "):
            read(tmp_path / "odd.mat", u="force", y=name, dt=1)


def test_bad_frames_and_arrays(signals):
    frame = pd.DataFrame(signals)
    doubled = pd.concat([frame, frame[["acc"]]], axis=1)
    with pytest.raises(DataError, match="2 columns named 'acc'"):
        read(doubled, u="force", y="acc", dt=1)
    with pytest.raises(DataError, match=r"'acc' holds 'x' in row 3 \(counting from 0, index 3\)"):
        read(
            frame.assign(acc=["1", 1, 2, "x"] * 10).assign(acc=lambda f: f.acc.replace("1", 1)),
            u="force",
            y="acc",
            dt=1,
        )
    with pytest.raises(DataError, match="columns but no rows"):
        read(frame.iloc[:0], u="force", y="acc", dt=1)
    gap = frame.assign(acc=pd.array([1, None, *range(N - 2)], dtype="Int64"))
    with pytest.raises(DataError, match="'acc' is empty or NaN in row 1"):
        read(gap, u="force", y="acc", dt=1)
    u, y = np.random.default_rng(2).random((2, 30, 2))
    bad = y.copy()
    bad[4, 1] = np.nan
    cases = [
        ([(u, y)], {}, "arrays carry no sample time"),
        ([(u, y[:20])], {"dt": 1}, "record 1: u has 30 samples and y has 20"),
        ([(u.T, y.T)], {"dt": 1}, "transpose it"),
        ([(u, y), (u[:0], y[:0])], {"dt": 1}, "u of record 2 has no samples"),
        ([(u, bad)], {"dt": 1}, "record 1: y is nan at sample 4"),
        ([(u, y * 0)], {"dt": 1}, "channel 'y1' is constant"),
        ([(u, y + 1j)], {"dt": 1}, "complex"),
        ([(u, [[1.0], [1.0, 2.0]])], {"dt": 1}, "ragged"),
        ([(u, y, y)], {"dt": 1}, "pass pairs"),
        ([u, y], {"dt": 1}, "pass pairs"),
        ([(u, y)], {"dt": 1, "u": ["a"]}, "u_names has 1 entries for 2 channels"),
        ([(u, y)], {"dt": 1, "time": "t"}, "time names a column of a file"),
        ([(u, y)], {"dt": 1, "units": {"x": "V"}}, "units names 'x'"),
    ]
    for source, arguments, message in cases:
        with pytest.raises(DataError, match=re.escape(message)):
            read(source, **arguments)


def test_a_constant_channel_is_found_at_every_scale():
    rng = np.random.default_rng(5)
    y = rng.random((50, 1))
    for scale in (1e-200, 1e-12, 1.0, 1e200):
        assert read([(scale * y, scale * y)], dt=1).n_samples == 50
    with pytest.raises(DataError, match="constant"):
        read([(0.1 + 0.2 * np.ones((50, 1)), y)], dt=1)
    # an input that rests in one record and moves in another is no constant channel
    assert read([(np.zeros((50, 1)), y), (y, y)], dt=1).lengths == (50, 50)


def test_a_time_column_beside_a_given_sample_time_is_said_and_files_that_disagree_are_refused(tmp_path):
    rng = np.random.default_rng(6)
    u, k = rng.random((50, 2)), np.arange(50)
    for name, dt in (("a", 0.01), ("b", 0.02), ("c", 0.01)):
        table = np.column_stack([dt * k, u])
        np.savetxt(tmp_path / f"{name}.csv", table, delimiter=",", header="t,force,acc", comments="")
    channels = {"u": ["force"], "y": ["acc"]}
    files = {name: str(tmp_path / f"{name}.csv") for name in "abc"}
    (source,) = read(files["b"], **channels, dt=0.01).sources
    assert source.dt_evidence == "dt = 0.01 s, given; its column 't', which has steps of 0.02, was not read"
    (source,) = read(files["b"], **channels, dt=0.02).sources
    assert source.dt_evidence == "dt = 0.02 s, given"
    assert read([files["a"], files["c"]], **channels, dt=0.01).lengths == (50, 50)
    with pytest.raises(DataError, match=re.escape("steps of 0.01 in a.csv and of 0.02 in b.csv; name it with time=")):
        read([files["a"], files["b"]], **channels, dt=0.01)


def test_a_file_that_does_not_say_a_unit_the_others_say_is_named(tmp_path):
    rng = np.random.default_rng(7)
    for name, header in (("a", "force [N],acc"), ("b", "force,acc")):
        np.savetxt(tmp_path / f"{name}.csv", rng.random((20, 2)), delimiter=",", header=header, comments="")
    files, channels = [tmp_path / "a.csv", tmp_path / "b.csv"], {"u": ["force"], "y": ["acc"], "dt": 0.1}
    for order in (files, files[::-1]):
        with pytest.raises(DataError, match=re.escape("b.csv does not say the unit of 'force', which is 'N'")):
            read([str(file) for file in order], **channels)
    assert read([str(file) for file in files], **channels, units={"force": "N"}).u_units == ("N",)
