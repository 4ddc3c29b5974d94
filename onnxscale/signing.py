"""Signatures of a lock, through OpenSSF's model-signing package with keys that need no network: the lock has the hash of
every file, so that one signature over it speaks for all of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from onnxscale.errors import LockError

NEEDS = "signatures need model-signing: pip install 'onnxscale[signing]'"
PASSWORD = "ONNXSCALE_KEY_PASSWORD"  # noqa: S105  the name of a variable


def beside(lock: Path) -> Path:
    """Where the signature of a lock lies: a Sigstore bundle beside it."""
    return lock.with_name(f"{lock.name}.sig")


def _package() -> tuple[Any, Any]:
    try:
        from model_signing import signing, verifying
    except ImportError as error:
        raise LockError(f"{NEEDS} ({error})") from None
    return signing, verifying


def signer(key: str | os.PathLike[str]) -> Any:
    """What signs with a private elliptic curve key in PEM (its password in ONNXSCALE_KEY_PASSWORD, where it has one).

    Raises LockError, so that a wrong key is told before anything is written.
    """
    signing, _ = _package()
    _readable(key)
    password = os.environ.get(PASSWORD)
    try:  # cryptography takes a password as bytes only, and model-signing hands on what it is given
        return signing.Config().use_elliptic_key_signer(private_key=key, password=password and password.encode())
    except Exception as error:  # noqa: BLE001  cryptography raises its own types for each kind of wrong key
        asked = any(w in str(error).lower() for w in ("password", "decrypt"))
        if asked:
            raise LockError(f"{key}: the key is encrypted; {PASSWORD} has no password that opens it") from None
        raise LockError(f"{key}: no private elliptic curve key in PEM ({_first(error)})") from None


def sign(lock: Path, key: str | os.PathLike[str]) -> Path:
    """Sign a lock with a private key. Raises LockError."""
    made = signer(key)
    try:
        made.sign(lock, beside(lock))
    except OSError as error:
        raise LockError(f"{beside(lock)}: cannot be written ({os.strerror(error.errno or 0)})") from None
    return beside(lock)


def verified(lock: Path, key: str | os.PathLike[str]) -> list[str]:
    """What is wrong with the signature of a lock, none where it holds. Raises LockError where the key cannot be read."""
    _, verifying = _package()
    _readable(key)
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except Exception as error:  # noqa: BLE001  cryptography raises its own types for each kind of wrong key
        raise LockError(f"{key}: no public elliptic curve key in PEM ({_first(error)})") from None
    if not beside(lock).is_file():
        return [f"there is no {beside(lock).name}; the lock is not signed"]
    try:
        verifier.verify(lock, beside(lock))
    except Exception as error:  # noqa: BLE001  whatever it raises, the signature does not hold
        return [f"the signature {beside(lock).name} does not hold: {_why(error)}"]
    return []


def _why(error: Exception) -> str:
    """A failed verification in words."""
    said = str(error)
    if "Signature mismatch" in said:
        return "the lock is not, byte for byte, the one that was signed (another content, or other line ends); sign again with --sign"
    if "Key mismatch" in said:
        return "it was made with another key than the one given"
    return f"it is damaged ({_first(error)})"


def _readable(key: str | os.PathLike[str]) -> None:
    try:
        Path(key).read_bytes()
    except OSError as error:
        raise LockError(f"{key}: the key cannot be read ({os.strerror(error.errno or 0)})") from None


def _first(error: Exception) -> str:
    said = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {said[:120]}"
