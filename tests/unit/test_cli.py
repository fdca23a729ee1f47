"""The command as people meet it: real processes, except where only the arguments matter."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.request import urlopen

import jwt
import pytest

import parley
from parley import cli
from parley.listen import bind
from parley.settings_loading import settings_table

USER = "3f0c6a3e-94c2-4d6b-9f1e-0d8a4a1f6f5b"
SECRET = "a-secret-of-the-tests-with-32-bytes"
SQLITE = {"JWT_SECRET_KEY": SECRET, "DATABASE_TYPE": "sqlite", "DATABASE_DB": "parley.db"}
PATIENCE = 30.0

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """This environment without settings, and with these."""
    known = {row.name for row in settings_table()}
    kept = {name: value for name, value in os.environ.items() if name not in known}
    return {**kept, **variables, "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command to its end, in an empty directory."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "parley", *arguments],
            cwd=tmp_path,
            env=environment(variables),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return run


class Running:
    """A server process whose output can be waited for."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.out, self.err = folder / "stdout", folder / "stderr"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "parley", *arguments],
                cwd=folder,
                env=environment(variables),
                stdout=out,
                stderr=err,
            )

    def wait_for(self, pattern: str, file: Path, count: int = 1) -> list[str]:
        """What the pattern's first group matched, once it has matched so many times."""
        deadline = time.monotonic() + PATIENCE
        while len(found := re.findall(pattern, file.read_text(), re.MULTILINE)) < count:
            assert time.monotonic() < deadline, self.err.read_text()
            assert self.process.poll() is None, self.err.read_text()
            time.sleep(0.05)
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers in an empty directory, and sees to it that none survives the test."""
    started: list[Running] = []

    def start(*arguments: str, **variables: str) -> Running:
        started.append(Running(tmp_path, *arguments, **variables))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.stop()


def alive(url: str) -> bool:
    with urlopen(f"{url}/healthz", timeout=PATIENCE) as answer:  # noqa: S310 - our own
        return bool(answer.status == 200)


def assert_refused(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


class TestHelp:
    def test_version(self, run: Run) -> None:
        done = run("--version")

        assert (done.returncode, done.stdout) == (0, f"parley {parley.__version__}\n")

    def test_help_tells_a_newcomer_enough(self, run: Run) -> None:
        done = run("--help")

        assert done.returncode == 0
        for text in ("Socket.IO", "dev", "start", "token", "JWT_SECRET_KEY", "REDIS_HOST", ".env"):
            assert text in done.stdout
        assert "DATABASE_TYPE=sqlite" in done.stdout, "an example"

    def test_start_help_lists_every_setting(self, run: Run) -> None:
        done = run("start", "--help")

        assert all(f"  {row.name} (" in done.stdout for row in settings_table())

    def test_no_command_shows_the_help(self, run: Run) -> None:
        done = run()

        assert_refused(done)
        assert "commands:" in done.stderr


class TestToken:
    def test_only_the_token_is_printed(self, run: Run) -> None:
        done = run("token", "--user", USER.upper(), "--ttl", "1h", JWT_SECRET_KEY=SECRET)

        assert (done.returncode, done.stderr) == (0, "")
        claims = jwt.decode(done.stdout.removesuffix("\n"), SECRET, algorithms=["HS256"])
        assert claims["sub"] == USER
        assert claims["exp"] - claims["iat"] == 3600

    def test_a_short_secret_is_no_matter_here(self, run: Run) -> None:
        done = run("token", "--user", USER, JWT_SECRET_KEY="mysecretkey")

        assert (done.returncode, done.stderr) == (0, "")

    def test_a_secret_in_dotenv(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text(f"JWT_SECRET_KEY={SECRET}\n")

        assert jwt.decode(run("token", "--user", USER).stdout.strip(), SECRET, ["HS256"])

    @pytest.mark.parametrize("folder", [".parley", "elsewhere"])
    def test_the_secret_of_dev(self, folder: str, run: Run, tmp_path: Path) -> None:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "secret").write_text(f"{SECRET}\n")
        chosen = () if folder == ".parley" else ("--data", folder)

        done = run("token", "--user", USER, *chosen)

        assert jwt.decode(done.stdout.strip(), SECRET, algorithms=["HS256"])
        assert done.stderr == f"Signed with the secret of `parley dev` in {folder}.\n"

    def test_it_says_what_the_server_asks_for(self, run: Run) -> None:
        done = run(
            *("token", "--user", USER),
            JWT_SECRET_KEY=SECRET,
            JWT_ISSUER="https://a/",
            JWT_AUDIENCE="chat,talk",
        )

        claims = jwt.decode(
            done.stdout.strip(),
            SECRET,
            algorithms=["HS256"],
            issuer="https://a/",
            audience="chat",
        )
        assert claims["sub"] == USER

    @pytest.mark.parametrize("command", ["token", "chat"])
    def test_there_is_nothing_to_sign_with(self, command: str, run: Run, tmp_path: Path) -> None:
        (tmp_path / ".parley").mkdir()
        (tmp_path / ".parley" / "secret").write_text("of another server\n")
        who = "--user" if command == "token" else "--as"

        done = run(command, who, USER, JWT_JWKS_URL="https://login.example.com/keys")

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "parley: JWT_JWKS_URL is set: tokens are signed with a private key, which Parley "
            "doesn't have. Get one from your application; `parley chat` takes it with --token.\n"
        )

    def test_the_configured_secret_wins_over_that_of_dev(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / ".parley").mkdir()
        (tmp_path / ".parley" / "secret").write_text("another\n")

        done = run("token", "--user", USER, JWT_SECRET_KEY=SECRET)

        assert jwt.decode(done.stdout.strip(), SECRET, algorithms=["HS256"])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--user", USER], "JWT_SECRET_KEY is missing"),
            (["--user", USER, "--data", "nowhere"], "There is no secret in nowhere"),
            (["--user", "alice"], "'alice' is not a UUID"),
            (["--user", USER, "--ttl", "soon"], "write seconds"),
            ([], "--user"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, arguments: list[str], message: str, run: Run, tmp_path: Path
    ) -> None:
        done = run("token", *arguments)

        assert_refused(done)
        assert message in done.stderr
        assert list(tmp_path.iterdir()) == [], "nothing is made"

    def test_in_process(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("JWT_SECRET_KEY", SECRET)

        assert cli.main(["token", "--user", USER]) == 0
        assert jwt.decode(capsys.readouterr().out.strip(), SECRET, algorithms=["HS256"])


class TestRefusingToStart:
    def test_all_problems_in_one_message(self, run: Run) -> None:
        done = run("start", "--port", "high", "--workers", "0")

        assert_refused(done)
        for name in ("JWT_SECRET_KEY", "DATABASE_TYPE", "DATABASE_DB", "PORT", "WORKERS"):
            assert done.stderr.count(f"  - {name} ") == 1

    def test_a_taken_port(self, run: Run) -> None:
        with bind("127.0.0.1", 0) as taken:
            port = str(taken.getsockname()[1])
            for done in (
                run("dev", "--port", port),
                run("start", **SQLITE, HOST="127.0.0.1", PORT=port),
                run("start", "--watch", **SQLITE, HOST="127.0.0.1", PORT=port),
            ):
                assert_refused(done)
                assert f"parley: Port {port} on 127.0.0.1 is taken: stop" in done.stderr

    def test_an_unknown_host(self, run: Run) -> None:
        done = run("dev", "--host", "no-such-host.invalid")

        assert_refused(done)
        assert "no-such-host.invalid is not known here" in done.stderr

    def test_a_broken_database(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "parley.db").write_text("this has never been a database, nor will it be one\n")

        done = run("start", "--port", "0", **SQLITE)

        assert_refused(done)
        assert "parley.db" in done.stderr.splitlines()[-1]

    def test_a_data_folder_that_cannot_be(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        done = run("dev", "--data", "file")

        assert_refused(done)
        assert done.stderr == (
            "parley: The data folder file cannot be made: a file is in the way. Choose another "
            "with --data.\n"
        )


class TestDev:
    def test_it_serves_keeps_its_data_and_stops(self, start: Start, tmp_path: Path) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            dev = start("dev", "--port", "0")
            [url] = dev.wait_for(r"^Parley is running at (\S+)$", dev.out)
            assert alive(url)
            users = json.loads((tmp_path / ".parley" / "users.json").read_text())
            assert users["alice"] in dev.out.read_text()
            assert dev.stop(number) == 0
            assert "Traceback" not in dev.err.read_text()

    def test_what_the_banner_says_can_be_pasted(self, start: Start, tmp_path: Path) -> None:
        dev = start("dev", "--port", "0")
        dev.wait_for("(socket.io-client)", dev.out)
        pasted = re.search(
            r"^\S+ - <<'END'\n.*?^END$", dev.out.read_text(), re.MULTILINE | re.DOTALL
        )
        assert pasted is not None

        done = subprocess.run(
            ["bash", "-c", pasted[0]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"^Stored: .*Hello Bob", done.stdout, re.MULTILINE)
        assert re.search(r"^Bob got: \['message', .*Hello Bob", done.stdout, re.MULTILINE)


class TestStart:
    def test_it_serves_and_stops(self, start: Start) -> None:
        server = start("start", "--host", "127.0.0.1", "--port", "0", **SQLITE)
        [url] = server.wait_for(r'"event":"ready","url":"([^"]+)"', server.err)

        assert alive(url)
        assert server.stop() == 0
        assert server.out.read_text() == "", "logs go to standard error"
        assert "JWT_SECRET_KEY is short" not in server.err.read_text()

    @pytest.mark.parametrize(("options", "kind"), [((), "text/plain"), (("--page",), "text/html")])
    def test_the_page_is_served_if_asked_for(
        self, start: Start, options: tuple[str, ...], kind: str
    ) -> None:
        server = start("start", *options, "--host", "127.0.0.1", "--port", "0", **SQLITE)
        [url] = server.wait_for(r'"event":"ready","url":"([^"]+)"', server.err)

        with urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - our own
            assert answer.headers.get_content_type() == kind

    def test_a_short_secret_is_told(self, start: Start) -> None:
        variables = {**SQLITE, "JWT_SECRET_KEY": "mysecretkey"}
        server = start("start", "--host", "127.0.0.1", "--port", "0", **variables)

        server.wait_for("(JWT_SECRET_KEY is short)", server.err)

    def test_watch_restarts_on_the_same_port(self, start: Start, tmp_path: Path) -> None:
        server = start("start", "--watch", "--host", "127.0.0.1", "--port", "0", **SQLITE)
        ready = r'"event":"ready","url":"([^"]+)"'
        [url] = server.wait_for(ready, server.err)
        assert alive(url)

        (tmp_path / ".env").write_text("JWT_SECRET_KEY=\nLOG_LEVEL=info\n")

        assert server.wait_for(ready, server.err, count=2) == [url, url]
        assert alive(url)
        assert server.stop() == 0

    def test_watch_survives_bad_settings(self, start: Start, tmp_path: Path) -> None:
        server = start("start", "--watch", "--host", "127.0.0.1", "--port", "0", **SQLITE)
        ready = r'"event":"ready","url":"([^"]+)"'
        server.wait_for(ready, server.err)

        (tmp_path / ".env").write_text("MAX_PAYLOAD=lots\n")
        server.wait_for("(MAX_PAYLOAD is .lots.)", server.err)
        server.wait_for("(stopped, waiting for a change)", server.err)
        (tmp_path / ".env").unlink()

        [url, _] = server.wait_for(ready, server.err, count=2)
        assert alive(url)
        assert server.stop(signal.SIGINT) == 0


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    reader, nobody = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [sys.executable, "-m", "parley", "token", "--user", USER],
        cwd=tmp_path,
        env={**environment({"JWT_SECRET_KEY": SECRET}), "PYTHONUNBUFFERED": ""},
        stdout=nobody,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
        check=False,
    )

    os.close(nobody)
    assert (done.returncode, done.stderr) == (0, b"")
