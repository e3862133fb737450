"""Ids are hashes of logical fields, so that every rerun gives the same id (design law 5)."""

import hashlib


def derive_id(kind: str, *fields: object) -> str:
    """Return a 32-character hex id for `kind` and the logical `fields`, in order.

    BLAKE2b-128 over length-prefixed UTF-8 text of each field, so ("a", "bc") and ("ab", "c") differ.
    """
    parts: list[bytes] = []
    for field in (kind, *fields):
        text = str(field).encode()
        parts += (len(text).to_bytes(4, "big"), text)
    return hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()
