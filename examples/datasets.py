"""Readers of the public data the examples train on: MNIST in its idx files, and a text as characters.

The folder is named by the environment variable EQNETS_DATA, and every file of it is checked against its sha256 sum.
MNIST: LeCun, Bottou, Bengio & Haffner, Proc. IEEE 86 (1998).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SHA256 = {
    "mnist/train-images-idx3-ubyte.gz": "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
    "mnist/train-labels-idx1-ubyte.gz": "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
    "mnist/t10k-images-idx3-ubyte.gz": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    "mnist/t10k-labels-idx1-ubyte.gz": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
    "text/tiny_shakespeare.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
}
IMAGES, LABELS = 0x803, 0x801  # the magic numbers of idx files: unsigned bytes in 3 dimensions, and in 1


def locate(name: str) -> Path:
    """Find a file of the data folder and check that it is the one meant.

    Args:
        name: a key of SHA256.

    Returns:
        Its path.

    Raises:
        SystemExit: EQNETS_DATA is not set, the file is not there, or its content is another.
    """
    folder = os.environ.get("EQNETS_DATA")
    if not folder:
        raise SystemExit(
            "This example needs measured data: set the environment variable EQNETS_DATA to a folder that holds "
            f"{name} (the public MNIST files and a text; sums in examples/datasets.py)."
        )
    path = Path(folder) / name
    if not path.is_file():
        raise SystemExit(f"EQNETS_DATA points to {folder}, but there is no {name} in it; put the public file there.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256[name]:
        raise SystemExit(f"{path} has the sha256 sum {digest[:12]}…, not {SHA256[name][:12]}…; fetch the file again.")
    return path


def idx(path: Path) -> Tensor:
    """Read a gzipped idx file of unsigned bytes.

    Args:
        path: of images (magic 0x803) or labels (magic 0x801).

    Returns:
        uint8, in the dimensions that the file states.

    Raises:
        ValueError: another magic number, or another length than the dimensions say.
    """
    content = gzip.decompress(path.read_bytes())
    (magic,) = struct.unpack(">I", content[:4])
    if magic not in (IMAGES, LABELS):
        raise ValueError(f"{path} begins with {magic:#x}, which is neither idx images (0x803) nor idx labels (0x801).")
    dims = magic & 0xFF
    shape = struct.unpack(f">{dims}I", content[4 : 4 + 4 * dims])
    data = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dims)
    if data.size != np.prod(shape):
        raise ValueError(f"{path} states {shape} but holds {data.size} bytes; the file is cut off.")
    return torch.from_numpy(data.reshape(shape).copy())


def mnist(part: str) -> tuple[Tensor, Tensor]:
    """Handwritten digits.

    Args:
        part: "train" (60 000) or "t10k" (10 000, the test set).

    Returns:
        Images (batch, 1, 28, 28) in float32, standardised with the mean and deviation of the training set, and labels
        (batch,) in int64.
    """
    images = idx(locate(f"mnist/{part}-images-idx3-ubyte.gz")).float().div_(255.0)
    return images.sub_(0.1307).div_(0.3081)[:, None], idx(locate(f"mnist/{part}-labels-idx1-ubyte.gz")).long()


def text(path: Path | None) -> tuple[Tensor, Tensor, str]:
    """A text as characters, split into its first 90 % and its last 10 %.

    Args:
        path: any UTF-8 text; None: tiny_shakespeare.txt of the data folder.

    Returns:
        Training and held-out characters (int64 indices), and the alphabet, sorted.

    Raises:
        SystemExit: the file is not there, is not UTF-8, or is shorter than 10 000 characters.
    """
    path = locate("text/tiny_shakespeare.txt") if path is None else path
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"{path} cannot be read as UTF-8 text: {error}.") from error
    if len(content) < 10_000:
        raise SystemExit(f"{path} has {len(content)} characters; a character model needs at least 10 000.")
    alphabet = "".join(sorted(set(content)))
    index = {character: i for i, character in enumerate(alphabet)}
    codes = torch.tensor([index[character] for character in content])
    cut = len(codes) * 9 // 10
    return codes[:cut], codes[cut:], alphabet
