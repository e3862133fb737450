"""Ids are hashes of logical fields, so that every rerun gives the same id (design law 5)."""

import hashlib


def derive_id(kind: str, *fields: object) -> str:
    """Return a 32-character hex id for `kind` and the logical `fields`, in order.

    BLAKE2b-128 over length-prefixed UTF-8 text of each field, so ("a", "bc") and ("ab", "c") differ.
    """
    return id_of(id_part(kind, *fields))


def id_part(*fields: object) -> bytes:
    """Return what these fields add to an id; parts that several ids share are made once and joined."""
    parts: list[bytes] = []
    for field in fields:
        text = str(field).encode()
        parts += (len(text).to_bytes(4, "big"), text)
    return b"".join(parts)


def id_of(parts: bytes) -> str:
    """Return the id of joined parts: `derive_id(kind, *fields)` is `id_of(id_part(kind, *fields))`."""
    return hashlib.blake2b(parts, digest_size=16).hexdigest()
