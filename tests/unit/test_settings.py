from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from parley.errors import SettingsError
from parley.settings import Settings
from parley.settings_loading import Secret, load_secret, load_settings, settings_table

SQLITE = {
    "JWT_SECRET_KEY": "a-secret-of-the-tests",
    "DATABASE_TYPE": "sqlite",
    "DATABASE_DB": "parley.db",
}
# The seed's own example, with its names and values.
POSTGRES = {
    "JWT_SECRET_KEY": "mysecretkey",
    "REDIS_HOST": "localhost",
    "REDIS_PORT": "6379",
    "DATABASE_TYPE": "postgres",
    "DATABASE_HOST": "localhost",
    "DATABASE_PORT": "5432",
    "DATABASE_USER": "postgres",
    "DATABASE_PASSWORD": "the-password",
    "DATABASE_DB": "postgres",
}


def problems_of(environ: dict[str, str], dotenv: Path | None = None) -> str:
    with pytest.raises(SettingsError) as raised:
        load_settings(environ, dotenv)
    return str(raised.value)


def named_in(message: str) -> set[str]:
    """The variables that the items of a message are about."""
    return {line.split()[1] for line in message.splitlines() if line.startswith("  - ")}


def test_sqlite_needs_three_variables_and_all_others_have_defaults() -> None:
    settings = load_settings(SQLITE, None)

    assert settings.jwt_secret_key == "a-secret-of-the-tests"
    assert settings.database_type == "sqlite"
    assert settings.database_db == "parley.db"
    assert (settings.host, settings.port, settings.workers) == ("0.0.0.0", 3000, 1)
    assert settings.jwt_user_claims == ("sub", "id")
    assert settings.allowed_origins == ()
    assert settings.message_max_length == 10_000
    assert settings.max_payload == 1_000_000
    assert (settings.ping_interval, settings.ping_timeout) == (25.0, 20.0)


def test_postgres_with_everything_is_a_valid_configuration() -> None:
    settings = load_settings(POSTGRES, None)

    assert settings.database_type == "postgres"
    assert (settings.database_host, settings.database_port) == ("localhost", 5432)
    assert (settings.database_user, settings.database_password) == ("postgres", "the-password")
    assert (settings.redis_host, settings.redis_port) == ("localhost", 6379)


def test_an_empty_environment_lists_all_that_is_always_needed() -> None:
    message = problems_of({})

    assert named_in(message) == {"JWT_SECRET_KEY", "DATABASE_TYPE", "DATABASE_DB"}
    assert "JWT_SECRET_KEY is missing. The secret with which your application signs" in message
    assert "DATABASE_TYPE=sqlite" in message, "an example for each"
    assert "REDIS_HOST" in message, "what the other choice would need"


@pytest.mark.parametrize("name", sorted(POSTGRES))
def test_each_variable_of_the_seed_is_needed_with_postgres(name: str) -> None:
    rest = {key: value for key, value in POSTGRES.items() if key != name}

    assert name in named_in(problems_of(rest))


def test_postgres_lists_all_that_it_needs_at_once() -> None:
    assert named_in(problems_of({"DATABASE_TYPE": "postgres"})) == set(POSTGRES) - {"DATABASE_TYPE"}


def test_every_problem_is_listed_at_once() -> None:
    message = problems_of(
        {
            "DATABASE_TYPE": "sqlite",
            "DATABASE_DB": " ",
            "PORT": "65536",
            "WORKERS": "2",
            "PING_INTERVAL": "0",
            "PING_TIMEOUT": "nan",
            "CONNECT_TIMEOUT": "soon",
            "ALLOWED_ORIGINS": "https://a.example, https://b.example/",
            "JWT_USER_CLAIMS": " , ",
            "LOG_LEVEL": "loud",
            "TLS_KEY_FILE": "key.pem",
        }
    )

    assert named_in(message) == {
        "JWT_SECRET_KEY",
        "DATABASE_DB",
        "PORT",
        "WORKERS",
        "PING_INTERVAL",
        "PING_TIMEOUT",
        "CONNECT_TIMEOUT",
        "ALLOWED_ORIGINS",
        "JWT_USER_CLAIMS",
        "LOG_LEVEL",
        "TLS_CERT_FILE",
    }
    assert 'PORT is "65536". It must be a whole number from 0 to 65535.' in message
    assert 'LOG_LEVEL is "loud". It must be one of debug, error, info, warning.' in message
    assert "WORKERS is 2, and with DATABASE_TYPE=sqlite it must be 1" in message


@pytest.mark.parametrize("text", ["10.0.0.300", "10.0.0.0/40", "nginx", "10.0.0.1;10.0.0.2"])
def test_proxies_are_addresses_and_networks(text: str) -> None:
    message = problems_of({**SQLITE, "TRUSTED_PROXIES": f"127.0.0.1,{text}"})

    assert named_in(message) == {"TRUSTED_PROXIES"}
    assert text in message
    assert "network" in message


def test_rates_are_whole_numbers_and_may_be_none() -> None:
    proxies = "10.0.0.7, 10.1.2.3/16, ::1"
    settings = load_settings({**SQLITE, "RATE_USER_EVENTS": "0", "TRUSTED_PROXIES": proxies}, None)

    assert settings.rate_user_events == 0
    assert settings.trusted_proxies == ("10.0.0.7", "10.1.2.3/16", "::1")
    for wrong in ("-1", "0.5", "many"):
        message = problems_of({**SQLITE, "RATE_USER_EVENTS": wrong})
        assert "It must be a whole number from 0 to 1000000000." in message


def test_values_are_converted() -> None:
    settings = load_settings(
        {
            **SQLITE,
            "DATABASE_TYPE": " SQLite ",
            "PORT": " 8080 ",
            "PING_INTERVAL": "0.3",
            "ALLOWED_ORIGINS": "https://a.example , http://localhost:5173,*,",
            "JWT_USER_CLAIMS": "user_id",
            "LOG_FORMAT": "JSON",
        },
        None,
    )

    assert settings.database_type == "sqlite"
    assert settings.port == 8080
    assert settings.ping_interval == 0.3
    assert settings.allowed_origins == ("https://a.example", "http://localhost:5173", "*")
    assert settings.jwt_user_claims == ("user_id",)
    assert settings.log_format == "json"


@pytest.mark.parametrize("text", ["true", "TRUE", "1", "false", "0"])
def test_yes_and_no(text: str) -> None:
    settings = load_settings({**POSTGRES, "REDIS_TLS": text}, None)

    assert settings.redis_tls is (text in {"true", "TRUE", "1"})


def test_neither_yes_nor_no() -> None:
    message = problems_of({**POSTGRES, "DATABASE_POOLER": "maybe"})

    assert 'DATABASE_POOLER is "maybe". It must be true or false.' in message


def test_node_ports_that_there_are_not() -> None:
    few = {**POSTGRES, "NODE_PORT": "65534"}

    assert load_settings(few, None).node_port == 65534
    assert "ports up to 65541 would be needed" in problems_of({**few, "WORKERS": "4"})


def test_a_long_bad_value_is_shortened() -> None:
    message = problems_of({**SQLITE, "PORT": "9" * 5000})

    assert max(map(len, message.splitlines())) < 200


def test_a_secret_is_taken_as_it_is() -> None:
    settings = load_settings({**SQLITE, "JWT_SECRET_KEY": " null "}, None)

    assert settings.jwt_secret_key == " null "


class TestDotenv:
    def test_it_is_read(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        # As the seed writes it, and with what other tools write.
        dotenv.write_text(
            "# comment\nJWT_SECRET_KEY = mysecretkey\n\nexport DATABASE_TYPE='sqlite'\n"
            'DATABASE_DB="chat.db" # comment\n'
        )

        settings = load_settings({}, dotenv)

        assert settings.jwt_secret_key == "mysecretkey"
        assert settings.database_db == "chat.db"

    def test_real_variables_win(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_text("PORT=4000\nLOG_LEVEL=debug\n")

        settings = load_settings({**SQLITE, "PORT": "5000"}, dotenv)

        assert (settings.port, settings.log_level) == (5000, "debug")

    def test_a_blank_real_variable_does_not_hide_it(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_text("PORT=4000\n")

        assert load_settings({**SQLITE, "PORT": " "}, dotenv).port == 4000

    def test_a_blank_value_or_none_counts_as_missing(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_text("JWT_SECRET_KEY=\nDATABASE_DB\nDATABASE_TYPE=sqlite\nPORT=\n")

        assert named_in(problems_of({}, dotenv)) == {"JWT_SECRET_KEY", "DATABASE_DB"}

    def test_nothing_is_interpolated(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_text("JWT_SECRET_KEY=a${HOME}b$c\n")

        assert load_secret({}, dotenv) == Secret("a${HOME}b$c")

    def test_it_need_not_exist(self, tmp_path: Path) -> None:
        assert load_settings(SQLITE, tmp_path / ".env").port == 3000

    def test_a_folder_of_that_name_is_none(self, tmp_path: Path) -> None:
        assert load_settings(SQLITE, tmp_path).port == 3000

    def test_lines_that_make_no_sense_are_named_among_the_rest(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_text("DATABASE_TYPE=sqlite\n'unfinished\nPORT=x\n")

        message = problems_of({}, dotenv)

        assert f"{dotenv} cannot be understood at line 2" in message
        assert 'PORT is "x"' in message
        assert "DATABASE_TYPE" not in message

    def test_text_in_another_encoding(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_bytes("JWT_SECRET_KEY=geheimnisträger".encode("latin-1"))

        assert "is not UTF-8 text" in problems_of({}, dotenv)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_that_may_not_be_read(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.touch(mode=0o000)

        assert "cannot be read: Permission denied" in problems_of({}, dotenv)


class TestSecrets:
    SECRETS = ("mysecretkey", "the-password", "of-redis")

    def test_are_not_shown_by_repr_and_str(self) -> None:
        settings = load_settings({**POSTGRES, "REDIS_PASSWORD": "of-redis"}, None)

        for shown in (repr(settings), str(settings), f"{settings}"):
            assert not any(secret in shown for secret in self.SECRETS)
            assert "database_user='postgres'" in shown

    def test_are_not_shown_in_messages(self) -> None:
        message = problems_of({**POSTGRES, "REDIS_PASSWORD": "of-redis", "PORT": "x"})

        assert not any(secret in message for secret in self.SECRETS)

    def test_the_one_alone(self) -> None:
        assert load_secret({"JWT_SECRET_KEY": "s"}, None) == Secret("s")
        assert load_secret({"JWT_SECRET_KEY": " "}, None) is None


class TestTls:
    @pytest.mark.parametrize("name", ["DATABASE_TLS_CA_FILE", "REDIS_TLS_CA_FILE"])
    def test_authorities_that_are_not_there_or_something_else(
        self, tmp_path: Path, name: str
    ) -> None:
        file = tmp_path / "ca.pem"
        assert "No such file" in problems_of({**POSTGRES, name: str(file)})

        file.write_text("hello")

        assert "holds no certificates in PEM form" in problems_of({**POSTGRES, name: str(file)})

    def test_a_client_certificate_needs_both_files(self) -> None:
        message = problems_of({**POSTGRES, "DATABASE_TLS_KEY_FILE": "key.pem"})

        assert "DATABASE_TLS_CERT_FILE is missing" in message

    def test_needs_both_files(self) -> None:
        message = problems_of({**SQLITE, "TLS_CERT_FILE": "cert.pem"})

        assert "TLS_KEY_FILE is missing, and TLS_CERT_FILE is of no use without it" in message

    def test_files_that_are_not_there(self, tmp_path: Path) -> None:
        cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")

        message = problems_of({**SQLITE, "TLS_CERT_FILE": cert, "TLS_KEY_FILE": key})

        assert named_in(message) == {"TLS_CERT_FILE", "TLS_KEY_FILE"}
        assert "No such file" in message

    def test_files_that_are_something_else(self, tmp_path: Path) -> None:
        file = tmp_path / "cert.pem"
        file.write_text("hello")

        message = problems_of({**SQLITE, "TLS_CERT_FILE": str(file), "TLS_KEY_FILE": str(file)})

        assert "are not a certificate and its unencrypted private key" in message

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
    def test_a_certificate_and_its_key(self, tmp_path: Path) -> None:
        cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
        make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost".split()
        subprocess.run([*make, "-keyout", key, "-out", cert], check=True, capture_output=True)

        settings = load_settings({**SQLITE, "TLS_CERT_FILE": cert, "TLS_KEY_FILE": key}, None)

        assert (settings.tls_cert_file, settings.tls_key_file) == (cert, key)


def test_the_table_has_every_setting_with_a_description() -> None:
    table = {row.name: row for row in settings_table()}

    assert {name.lower() for name in table} == set(Settings.__struct_fields__)
    assert all(row.description.endswith(".") for row in table.values())
    assert table["JWT_SECRET_KEY"].needed == "always"
    assert (table["REDIS_PORT"].needed, table["REDIS_PORT"].default) == ("with postgres", "")
    assert (table["PORT"].needed, table["PORT"].default) == ("never", "3000")
    assert table["JWT_USER_CLAIMS"].default == "sub,id"
