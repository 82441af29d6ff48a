"""The weights beside a certificate: a safetensors file of the twelve blocks, its bytes written here, without a library.

The layout is eight bytes of length, a JSON header, and the raw little-endian numbers.
"""

from __future__ import annotations

import json

import numpy as np

from eqnets.certification.labels import Labels, label_entries
from eqnets.system.lfr import LFR


def safetensors_bytes(lfr: LFR) -> bytes:
    """A system as a safetensors file, in its own dtype (float32 or float64).

    Beside the blocks it names the channels and their units, the activation and the sample time, so that a certificate
    of another activation does not pass for one of this system.

    Args:
        lfr: the system.

    Returns:
        The bytes of the file; the same system gives the same bytes.
    """
    labels = {**label_entries(Labels.of(lfr)), "activation": lfr.activation.name, "dt": lfr.dt}
    header: dict[str, object] = {"__metadata__": {"eqnets.labels": json.dumps(labels, ensure_ascii=False)}}
    body = b""
    for name, block in lfr.blocks().items():
        array = block.detach().to("cpu").numpy()
        code, dtype = ("<f4", "F32") if array.dtype == np.float32 else ("<f8", "F64")
        raw = np.ascontiguousarray(array, dtype=code).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body
