"""Every key of the blob store, in one place.

    instances/
      {Study Instance UID}/
        {Series Instance UID}/
          {SOP Instance UID}-{16 digits of the digest}-{16 random digits}.dcm     one stored instance, as it was received
    tombstones/
      instances/{study}/{series}/{instance}-{digest}-{random}.json    says that the blob of the same name was deleted or replaced

Earlier versions had a folder for each instance, `{instance}/{digest}-{random}.dcm`: such keys are read, and never made.

The random part makes a key unique for ever: an instance that is deleted and sent again gets another key, so that sweeping
the old one can never hit the new one. The UIDs and the sidecars let the database be rebuilt from the blobs alone.
"""

import re
import secrets

INSTANCES = "instances/"
TOMBSTONES = "tombstones/"
MAX_KEY_LENGTH = 512  # three UIDs of 64 and their surroundings take 280; object stores allow 1,024

_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"  # may not begin with a dot: neither `..` nor a hidden folder
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_PREFIX = re.compile(rf"(?:{_SEGMENT}/)*(?:{_SEGMENT})?")
_UID = r"[0-9]+(?:\.[0-9]+)*"
_INSTANCE_KEY = re.compile(rf"{INSTANCES}({_UID})/({_UID})/({_UID})[/-]([0-9a-f]{{16}})-[0-9a-f]{{16}}\.dcm")


def is_key(key: str) -> bool:
    """Whether `key` may name a blob: segments of `A-Z a-z 0-9 . _ -` that do not begin with a dot, joined by `/`."""
    return len(key) <= MAX_KEY_LENGTH and _KEY.fullmatch(key) is not None


def validate_key(key: str) -> str:
    """`key` itself. Raises ValueError: keys come from this module, so another one is a fault of the program."""
    if not is_key(key):
        raise ValueError(f"{key[:80]!r} cannot be the key of a blob")
    return key


def validate_prefix(prefix: str) -> str:
    """`prefix` itself: the beginning of a key, "" for all. Raises ValueError."""
    if len(prefix) > MAX_KEY_LENGTH or _PREFIX.fullmatch(prefix) is None:
        raise ValueError(f"{prefix[:80]!r} cannot be the beginning of a key")
    return prefix


def instance_key(study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str, digest: str) -> str:
    """A new key for an instance, another one at every call.

    `digest` is that of the blob (app.blobs.digests). Raises ValueError when a part cannot stand in a key.
    """
    name = f"{sop_instance_uid}-{digest[:16]}-{secrets.token_hex(8)}.dcm"
    key = f"{INSTANCES}{study_instance_uid}/{series_instance_uid}/{name}"
    if parse_instance_key(key) is None:
        raise ValueError("an instance key needs three UIDs and a hexadecimal digest")
    return key


def parse_instance_key(key: str) -> tuple[str, str, str] | None:
    """Study, Series and SOP Instance UID of an instance key; None for any other key."""
    match = _INSTANCE_KEY.fullmatch(key) if len(key) <= MAX_KEY_LENGTH else None
    return (match[1], match[2], match[3]) if match else None


def digest_in_key(key: str) -> str:
    """The first digits of the digest of the blob, as the key of an instance tells them; "" for any other key."""
    match = _INSTANCE_KEY.fullmatch(key) if len(key) <= MAX_KEY_LENGTH else None
    return match[4] if match else ""


def tombstone_key(blob_key: str) -> str:
    """The key of the sidecar that marks the blob `blob_key` as deleted or replaced. Raises ValueError."""
    return validate_key(f"{TOMBSTONES}{blob_key.removesuffix('.dcm')}.json")


def blob_key_of_tombstone(key: str) -> str:
    """The key of the blob that a sidecar speaks of. Something else below `tombstones/` gives a key that no blob has."""
    return f"{key.removeprefix(TOMBSTONES).removesuffix('.json')}.dcm"
