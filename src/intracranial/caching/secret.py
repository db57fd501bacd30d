"""The secret key of a data folder, `data/secret.key`: made once, and copied nowhere."""

import hashlib
import os
import re
import secrets

from intracranial.artifacts import TEMPORARY_SUFFIX, DataPaths
from intracranial.errors import InputError, MissingArtifact
from intracranial.provenance import MADE_BY

KEY_BYTES = 32
PATTERN = re.compile(r"[0-9a-f]{64}\n?")
AGAIN = f"make a new one and all caches again with {MADE_BY['preprocess']} --overwrite"


def read_key(data: DataPaths) -> bytes | None:
    """The key; None where there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = data.secret_key
    try:
        content = path.read_bytes().decode("ascii", "replace")
    except FileNotFoundError:
        return None
    if not PATTERN.fullmatch(content):
        raise InputError(
            f"{path} is damaged ({len(content)} characters in place of {2 * KEY_BYTES} hexadecimal "
            f"digits): put it back from a copy, or delete it and {AGAIN}"
        )
    return bytes.fromhex(content)


def require_key(data: DataPaths, identity: str) -> bytes:
    """The key that the caches were made with.

    Args:
        data: paths under the data folder.
        identity: of that key, see `key_identity`.

    Raises:
        MissingArtifact: it is not there.
        InputError: it is damaged, or another one.
    """
    key = read_key(data)
    if key is None:
        raise MissingArtifact(f"{data.secret_key} is missing: put it back from a copy, or {AGAIN}")
    if key_identity(key) != identity:
        raise InputError(
            f"{data.secret_key} is not the key of the caches ({key_identity(key)} in place of "
            f"{identity}): put that one back from a copy, or {AGAIN}"
        )
    return key


def make_key(data: DataPaths) -> bytes:
    """The key; a new one where there is none. One that is there is never replaced.

    Raises:
        InputError: the file is damaged.
        OSError: it cannot be written.
    """
    key = read_key(data)
    if key is not None:
        return key
    path = data.secret_key
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())  # caches that outlive their key would be lost
        try:
            os.link(temporary, path)  # refuses, unlike a renaming, where another process was first
        except FileExistsError:
            pass
        except OSError:  # no hard links here; the lock of preprocess_data.py has to do
            os.rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    made = read_key(data)
    assert made is not None
    return made


def key_identity(key: bytes) -> str:
    """16 hexadecimal digits that name a key and do not betray it."""
    return hashlib.blake2b(b"identity", digest_size=8, key=key).hexdigest()
