from __future__ import annotations

import os
import re
from pathlib import Path
from uuid import UUID

import jwt
import pytest

from parley import devmode
from parley.errors import SettingsError


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


class TestData:
    def test_it_is_made_once_and_kept(self, tmp_path: Path) -> None:
        first = devmode.open_data(tmp_path / "data")
        second = devmode.open_data(tmp_path / "data")

        assert first == second
        assert first.users.alice != first.users.bob
        assert len(first.secret) == 64

    def test_it_is_private(self, tmp_path: Path) -> None:
        folder = devmode.open_data(tmp_path / "data").folder

        assert mode(folder) == 0o700
        assert {path.name: mode(path) for path in folder.iterdir()} == {
            ".gitignore": 0o600,
            "secret": 0o600,
            "users.json": 0o600,
        }
        assert (folder / ".gitignore").read_text() == "*\n"

    def test_tokens_are_valid_for_30_days(self, tmp_path: Path) -> None:
        data = devmode.open_data(tmp_path)

        claims = jwt.decode(data.token(data.users.alice), data.secret, algorithms=["HS256"])

        assert claims["sub"] == str(data.users.alice)
        assert claims["exp"] - claims["iat"] == 30 * 24 * 3600

    @pytest.mark.parametrize(
        "text", ["", "{}", '{"alice": "x", "bob": "y"}', '{"alice": 1}', "\udcff"]
    )
    def test_damaged_users(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "users.json").write_text(text, errors="surrogateescape")

        with pytest.raises(devmode.DevDataError, match=r"users\.json is damaged .*delete it"):
            devmode.open_data(tmp_path)

    def test_an_empty_secret(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("\n")

        with pytest.raises(devmode.DevDataError, match="secret is empty: delete it"):
            devmode.open_data(tmp_path)

    @pytest.mark.parametrize("folder", ["file", "file/below"])
    def test_a_file_in_the_way(self, folder: str, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(devmode.DevDataError, match="a file is in the way"):
            devmode.open_data(tmp_path / folder)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_no_permission(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)

        with pytest.raises(devmode.DevDataError, match=r"cannot be used: Permission denied"):
            devmode.open_data(tmp_path / "data")

    def test_the_secret_of_a_folder(self, tmp_path: Path) -> None:
        assert devmode.find_secret(tmp_path / "data") is None
        data = devmode.open_data(tmp_path / "data")
        assert devmode.find_secret(tmp_path / "data") == data.secret


class TestSettings:
    def test_no_environment_is_needed(self, tmp_path: Path) -> None:
        data = devmode.open_data(tmp_path)

        settings = devmode.dev_settings(data, {}, {}, None)

        assert (settings.host, settings.port) == ("127.0.0.1", 3000)
        assert settings.allowed_origins == ("*",)
        assert settings.page
        assert settings.jwt_secret_key == data.secret
        assert settings.database_db == str(tmp_path / "parley.db")

    def test_the_environment_counts_and_options_win(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_text("HOST=0.0.0.0\nPORT=4000\nLOG_LEVEL=debug\n")
        data = devmode.open_data(tmp_path / "data")

        settings = devmode.dev_settings(data, {"PORT": "5000"}, {"PORT": "6000"}, dotenv)

        assert (settings.host, settings.port, settings.log_level) == ("0.0.0.0", 6000, "debug")

    def test_the_settings_of_a_real_server_do_not(self, tmp_path: Path) -> None:
        data = devmode.open_data(tmp_path)
        real = {
            "JWT_SECRET_KEY": "another",
            "JWT_USER_CLAIMS": "user_id",
            "JWT_PREVIOUS_SECRET_KEY": "one more",
            "JWT_PUBLIC_KEY": "/nowhere",
            "JWT_JWKS_URL": "https://login.example.com/keys",
            "JWT_ISSUER": "https://login.example.com/",
            "JWT_AUDIENCE": "chat",
            "DATABASE_TYPE": "postgres",
            "DATABASE_DB": "chat",
            "WORKERS": "8",
        }

        settings = devmode.dev_settings(data, real, {}, None)

        assert settings == devmode.dev_settings(data, {}, {}, None)

    def test_a_bad_value_is_told(self, tmp_path: Path) -> None:
        data = devmode.open_data(tmp_path)

        with pytest.raises(SettingsError, match='PORT is "x"'):
            devmode.dev_settings(data, {}, {"PORT": "x"}, None)


def test_the_banner_has_all_that_is_needed(tmp_path: Path) -> None:
    data = devmode.open_data(tmp_path)

    text = devmode.banner(data, "http://127.0.0.1:3000")

    tokens = set(re.findall(r"eyJ[\w.-]+", text))
    claims = [jwt.decode(token, data.secret, algorithms=["HS256"]) for token in tokens]
    assert {UUID(claim["sub"]) for claim in claims} == {data.users.alice, data.users.bob}
    assert str(data.users.alice) in text
    assert str(data.users.bob) in text
    assert 'io("http://127.0.0.1:3000"' in text


def test_the_banner_tells_how_to_get_a_missing_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    text = devmode.banner(devmode.open_data(tmp_path), "http://127.0.0.1:3000")

    assert "-m pip install 'python-socketio[client]'" in text
