"""API keys at rest: encrypted with the first of `SECRET_KEYS`, readable with any of them."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from backmarket.errors import SettingsError

if TYPE_CHECKING:  # 9 MB, for processes that encrypt or decrypt
    from cryptography.fernet import MultiFernet
    from pydantic import SecretStr

KEY_BYTES = 32
"""Bytes of a Fernet key."""


class KeySettings(Protocol):
    """What a `KeyCipher` is made from; `backmarket.settings.Settings` is one."""

    @property
    def secret_keys(self) -> tuple[SecretStr, ...]:
        """The first encrypts, all decrypt."""


class KeyCipher:
    """Encrypts and decrypts API keys (Fernet: AES-128-CBC with an HMAC).

    Args:
        secret_keys: url-safe base64 keys of 32 bytes; the first encrypts, all decrypt.

    Raises:
        SettingsError: if there is no key, or one is not a Fernet key.
    """

    def __init__(self, secret_keys: tuple[str, ...]) -> None:
        if not secret_keys:
            raise SettingsError(
                "Set BACKMARKET_SECRET_KEYS: a key that encrypts the sellers' API keys;"
                " `backmarket keys generate` makes one."
            )
        try:
            if any(len(key) != 44 for key in secret_keys):  # of two that are not parted, base64 reads the first
                raise ValueError
            if any(len(urlsafe_b64decode(key)) != KEY_BYTES for key in secret_keys):
                raise ValueError
        except ValueError:
            raise SettingsError(
                "BACKMARKET_SECRET_KEYS holds something that is not a key; `backmarket keys generate` makes one."
            ) from None

        from pydantic import SecretStr

        self._secret_keys = tuple(map(SecretStr, secret_keys))

    @cached_property
    def _fernet(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(key.get_secret_value()) for key in self._secret_keys])

    @classmethod
    def from_settings(cls, settings: KeySettings) -> KeyCipher:
        """The cipher for `SECRET_KEYS`."""
        return cls(tuple(key.get_secret_value() for key in settings.secret_keys))

    @staticmethod
    def generate() -> str:
        """A new key for `SECRET_KEYS`."""
        from cryptography.fernet import Fernet

        return Fernet.generate_key().decode()

    def encrypt(self, api_key: str) -> bytes:
        """The key as it is stored."""
        return self._fernet.encrypt(api_key.encode())

    def decrypt(self, stored: bytes) -> str:
        """The key as it is sent.

        Raises:
            SettingsError: if none of `SECRET_KEYS` encrypted it.
        """
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(stored).decode()
        except InvalidToken:
            raise SettingsError(
                "None of BACKMARKET_SECRET_KEYS decrypts a stored API key: add the key that encrypted it."
            ) from None

    def can_decrypt(self, stored: bytes) -> bool:
        """Whether one of `SECRET_KEYS` encrypted it."""
        try:
            self.decrypt(stored)
        except SettingsError:
            return False
        return True

    def rotate(self, stored: bytes) -> bytes:
        """The same key, encrypted with the first of `SECRET_KEYS`.

        Raises:
            SettingsError: if none of `SECRET_KEYS` encrypted it.
        """
        return self.encrypt(self.decrypt(stored))
