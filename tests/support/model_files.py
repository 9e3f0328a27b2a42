"""Files of models, taken apart and put together again, as the module's text describes them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

Header = dict[str, Any]


def split(content: bytes) -> tuple[Header, bytes]:
    """Cut a file into its header and its data, as the module's text describes it."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: Header, data: bytes) -> bytes:
    """Put a file together, with the right digest, as the module's text describes it."""
    header["__metadata__"]["sha256"] = "0" * 64
    text = json.dumps(header).encode()
    blank = len(text).to_bytes(8, "little") + text + data
    digest = hashlib.sha256(blank).hexdigest().encode()
    return blank.replace(b"0" * 64, digest, 1)
