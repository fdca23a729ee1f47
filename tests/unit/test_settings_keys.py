"""The settings for the keys of tokens: one source of them, and nothing that is mistaken for one."""

from __future__ import annotations

import pytest

from parley.errors import SettingsError
from parley.settings_loading import Secret, load_secret, load_settings

from .test_settings import SQLITE, problems_of

KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""
URL = "https://login.example.com/keys"
REST = {name: value for name, value in SQLITE.items() if name != "JWT_SECRET_KEY"}


class TestKeys:
    @pytest.mark.parametrize(
        "source",
        [
            {"JWT_SECRET_KEY": "s"},
            {"JWT_SECRET_KEY": "s", "JWT_PREVIOUS_SECRET_KEY": "t"},
            {"JWT_PUBLIC_KEY": KEY},
            {"JWT_PUBLIC_KEY": KEY * 2, "JWT_AUDIENCE": "chat"},
            {"JWT_JWKS_URL": URL, "JWT_ISSUER": "https://login.example.com/"},
            {"JWT_JWKS_URL": "http://localhost:1/", "JWT_AUDIENCE": "chat, talk"},
        ],
    )
    def test_one_source_is_enough(self, source: dict[str, str]) -> None:
        settings = load_settings({**REST, **source}, None)

        assert settings.jwt_leeway == 0
        assert settings.jwt_revocation_lifetime == 86_400

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ({}, "JWT_SECRET_KEY is missing."),
            ({"JWT_AUDIENCE": "chat"}, "set JWT_PUBLIC_KEY or JWT_JWKS_URL instead"),
            (
                {"JWT_SECRET_KEY": "s", "JWT_PUBLIC_KEY": KEY},
                "JWT_SECRET_KEY and JWT_PUBLIC_KEY are set, and one of them alone can count",
            ),
            (
                {"JWT_PUBLIC_KEY": KEY, "JWT_JWKS_URL": URL, "JWT_AUDIENCE": "chat"},
                "JWT_PUBLIC_KEY and JWT_JWKS_URL are set",
            ),
            (
                {"JWT_PUBLIC_KEY": KEY, "JWT_PREVIOUS_SECRET_KEY": "s"},
                "JWT_PREVIOUS_SECRET_KEY is set without JWT_SECRET_KEY",
            ),
            ({"JWT_SECRET_KEY": KEY}, "JWT_SECRET_KEY holds a key of a key pair"),
            (
                {"JWT_SECRET_KEY": "s", "JWT_PREVIOUS_SECRET_KEY": KEY},
                "JWT_PREVIOUS_SECRET_KEY holds a key of a key pair",
            ),
            ({"JWT_PUBLIC_KEY": "no-such.pem"}, "nor a file that can be read"),
            ({"JWT_PUBLIC_KEY": KEY.replace("PUBLIC", "PRIVATE")}, "holds a private key"),
            ({"JWT_JWKS_URL": URL}, "JWT_JWKS_URL needs JWT_ISSUER or JWT_AUDIENCE"),
            (
                {"JWT_JWKS_URL": "http://login.example.com/", "JWT_AUDIENCE": "chat"},
                "JWT_JWKS_URL must begin with https://",
            ),
            ({"JWT_SECRET_KEY": "s", "JWT_LEEWAY": "301"}, "a number from 0 to 300"),
            (
                {"JWT_SECRET_KEY": "s", "JWT_REVOCATION_LIFETIME": "0"},
                "a number from 1 to 31536000",
            ),
        ],
    )
    def test_what_does_not_go_together(self, source: dict[str, str], words: str) -> None:
        message = problems_of({**REST, **source})

        assert words in message
        assert message.startswith("The settings have one problem")
        assert "MCowBQYDK2Vw" not in message

    def test_a_key_is_not_shown(self) -> None:
        settings = load_settings({**REST, "JWT_PUBLIC_KEY": KEY}, None)

        assert "MCowBQYDK2Vw" not in repr(settings)

    def test_what_signs_tokens_knows_what_they_must_say(self) -> None:
        given = {"JWT_SECRET_KEY": "s", "JWT_ISSUER": "a, b", "JWT_AUDIENCE": "c"}

        assert load_secret(given, None) == Secret("s", "a", "c")

    @pytest.mark.parametrize("name", ["JWT_PUBLIC_KEY", "JWT_JWKS_URL"])
    def test_public_keys_sign_nothing(self, name: str) -> None:
        with pytest.raises(SettingsError, match=f"{name} is set: .* --token"):
            load_secret({name: "x"}, None)
