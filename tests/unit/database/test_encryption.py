"""API keys at rest: unreadable without the secret keys, readable with any of them, and never shown."""

import traceback
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmarket.database.encryption import KeyCipher
from backmarket.errors import SettingsError
from backmarket.settings import Settings

OLD, NEW, OTHER = (KeyCipher.generate() for _ in range(3))
API_KEY = "token-that-nobody-may-see"


def refusal(call: Callable[[], object]) -> str:
    """The text of a refusal, which shows neither an API key nor a secret key, in whichever way it is shown."""
    with pytest.raises(SettingsError) as caught:
        call()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert not any(secret in shown for secret in (OLD, NEW, OTHER, API_KEY))
    return caught.value.message


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_is_encrypted_is_decrypted(api_key: str) -> None:
    cipher = KeyCipher((NEW,))
    assert cipher.decrypt(cipher.encrypt(api_key)) == api_key


def test_what_is_stored_shows_nothing_and_never_repeats() -> None:
    cipher = KeyCipher((NEW,))
    first, second = cipher.encrypt(API_KEY), cipher.encrypt(API_KEY)
    assert first != second
    assert API_KEY.encode() not in first


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    both = KeyCipher((NEW, OLD))
    assert both.decrypt(KeyCipher((OLD,)).encrypt(API_KEY)) == API_KEY
    assert KeyCipher((NEW,)).decrypt(both.encrypt(API_KEY)) == API_KEY
    assert "None of BACKMARKET_SECRET_KEYS" in refusal(lambda: KeyCipher((OLD,)).decrypt(both.encrypt(API_KEY)))


def test_after_a_rotation_the_old_key_may_go() -> None:
    stored = KeyCipher((OLD,)).encrypt(API_KEY)
    rotated = KeyCipher((NEW, OLD)).rotate(stored)
    assert KeyCipher((NEW,)).decrypt(rotated) == API_KEY
    refusal(lambda: KeyCipher((OLD,)).decrypt(rotated))


def test_a_rotation_may_be_repeated() -> None:
    cipher = KeyCipher((NEW, OLD))
    assert cipher.decrypt(cipher.rotate(cipher.rotate(cipher.encrypt(API_KEY)))) == API_KEY


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:9] + b[10:], lambda b: b"", lambda b: b"\x00" * 80])
def test_a_damaged_key_is_refused(damage: Callable[[bytes], bytes]) -> None:
    cipher = KeyCipher((NEW,))
    stored = damage(cipher.encrypt(API_KEY))
    assert "BACKMARKET_SECRET_KEYS" in refusal(lambda: cipher.decrypt(stored))
    assert "BACKMARKET_SECRET_KEYS" in refusal(lambda: cipher.rotate(stored))


def test_the_key_of_another_deployment_decrypts_nothing() -> None:
    stored = KeyCipher((OLD,)).encrypt(API_KEY)
    assert "add the key that encrypted it" in refusal(lambda: KeyCipher((NEW, OTHER)).rotate(stored))


def test_without_a_secret_key_it_says_what_to_set() -> None:
    assert refusal(lambda: KeyCipher(())).startswith("Set BACKMARKET_SECRET_KEYS: ")
    assert refusal(lambda: KeyCipher.from_settings(Settings())).startswith("Set BACKMARKET_SECRET_KEYS: ")


@pytest.mark.parametrize(
    "wrong",
    ["", " ", "short", "é" * 44, OTHER[:-2], OTHER[:-1] * 2],
    ids=["empty", "blank", "short", "not ASCII", "cut", "too long"],
)
@pytest.mark.parametrize("before", [(), (NEW,)], ids=["alone", "after a good one"])
def test_what_is_no_secret_key_is_refused(wrong: str, before: tuple[str, ...]) -> None:
    assert refusal(lambda: KeyCipher((*before, wrong))).startswith("BACKMARKET_SECRET_KEYS holds something")


def test_it_is_made_of_the_settings() -> None:
    cipher = KeyCipher.from_settings(Settings(secret_keys=f"{NEW}, {OLD}"))
    assert cipher.decrypt(KeyCipher((OLD,)).encrypt(API_KEY)) == API_KEY
    assert NEW not in repr(cipher) + repr(vars(cipher))


def test_generated_keys_differ_and_fit() -> None:
    assert len({KeyCipher.generate() for _ in range(20)}) == 20
    assert KeyCipher((KeyCipher.generate(),)).encrypt(API_KEY)
