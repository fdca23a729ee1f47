"""What people deploy Parley with holds together: files, settings, what the documents name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from parley.errors import SettingsError
from parley.settings import Settings
from parley.settings_loading import load_settings, settings_table
from parley.socketio.addresses import Proxies

ROOT = Path(__file__).parents[2]
SETTINGS = {row.name for row in settings_table()}
SECRET = "s" * 32
CLIENT, STRANGER = "81.2.69.142", "81.2.69.160"
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/architecture.md",
    "docs/operations.md",
    "docs/security.md",
    "examples/README.md",
    "examples/express/README.md",
    "examples/fastapi/README.md",
    *sorted(f"docs/decisions/{path.name}" for path in (ROOT / "docs/decisions").glob("*.md")),
)
OF_OTHERS = {"CODE_OF_CONDUCT", "ON_ERROR_STOP", "PARLEY_TOKEN", "PARLEY_URL"}
"""Names that look like settings and are not Parley's."""


def text(path: str) -> str:
    return (ROOT / path).read_text()


def compose_environment() -> dict[str, str]:
    """What compose.yaml sets for Parley, with nothing but the secret in the shell."""
    service = text("compose.yaml").partition("\n  parley:\n")[2].partition("\n\n")[0]
    pairs = re.findall(r"^      ([A-Z_]+): (.*)$", service, re.MULTILINE)
    return {name: _substituted(value.strip('"')) for name, value in pairs}


def _substituted(value: str) -> str:
    value = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)
    return re.sub(r"\$\{[A-Z_]+:\?[^}]*\}", SECRET, value)


def unit_environment(**variables: str) -> Settings:
    return load_settings(variables, ROOT / "deploy/parley.env")


# -- settings


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_name_settings_that_exist(document: str) -> None:
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", text(document)))
    assert named <= SETTINGS | OF_OTHERS


def test_parley_starts_with_what_compose_sets() -> None:
    environment = compose_environment()
    assert environment.keys() <= SETTINGS
    settings = load_settings(environment, dotenv=None)
    assert settings.jwt_secret_key == SECRET
    assert settings.database_type == "postgres"


def test_parley_env_lacks_nothing_but_secrets() -> None:
    settings = unit_environment(JWT_SECRET_KEY=SECRET, DATABASE_PASSWORD="p")
    assert settings.database_type == "postgres"
    with pytest.raises(SettingsError) as refused:
        unit_environment()
    problems = re.findall(r"^  - (\w+) is missing", str(refused.value), re.MULTILINE)
    assert problems == ["JWT_SECRET_KEY", "DATABASE_PASSWORD"]


def test_parley_env_names_settings_that_exist() -> None:
    assert set(re.findall(r"^#?([A-Z_]+)=", text("deploy/parley.env"), re.MULTILINE)) <= SETTINGS


@pytest.mark.parametrize("where", ["compose.yaml", "deploy/parley.env"])
def test_nginx_is_believed_where_it_is_set_up(where: str) -> None:
    """By the header that it writes, and nobody else is: what a client wrote doesn't count."""
    if where == "compose.yaml":
        settings, nginx = load_settings(compose_environment(), dotenv=None), "172.18.0.7"
    else:
        settings = unit_environment(JWT_SECRET_KEY=SECRET, DATABASE_PASSWORD="p")
        nginx = "127.0.0.1"
    proxies = Proxies(settings.trusted_proxies, settings.trusted_proxy_header)
    headers: dict[str, str] = {settings.trusted_proxy_header: CLIENT}
    assert (
        f"proxy_set_header {settings.trusted_proxy_header} $remote_addr".lower()
        in text("deploy/nginx.conf").lower()
    )
    assert proxies.client(nginx, headers) == CLIENT
    assert proxies.client(STRANGER, headers) == STRANGER


def test_whoever_stops_parley_waits_for_its_grace() -> None:
    grace = unit_environment(JWT_SECRET_KEY=SECRET, DATABASE_PASSWORD="p").shutdown_grace
    compose = re.search(r"stop_grace_period: (\d+)s # more", text("compose.yaml"))
    unit = re.search(r"^TimeoutStopSec=(\d+)$", text("deploy/parley.service"), re.MULTILINE)
    assert compose
    assert unit
    assert min(int(compose[1]), int(unit[1])) >= grace + 10


# -- files


@pytest.mark.parametrize("document", [*DOCUMENTS, "compose.yaml", "deploy/parley.service"])
def test_files_that_are_named_exist(document: str) -> None:
    named = set(re.findall(r"(?<![\w/])(?:deploy|docs|examples)/[\w./-]*\w", text(document)))
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]*)\)", text(document)):
        path, _, anchor = target.partition("#")
        linked = (ROOT / document).parent / path if path else ROOT / document
        assert linked.exists(), target
        if anchor:
            assert anchor in _anchors(linked.read_text()), target


def _anchors(markdown: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_tells_measured_figures() -> None:
    """When all is measured anew, they have to follow."""
    claim = text("README.md").partition("**Fast")[2].partition("\n- **")[0]
    figures = set(re.findall(r"\d+,\d{3}", claim))
    assert figures
    assert figures <= set(re.findall(r"\d+,\d{3}", text("docs/performance.md")))


# -- the image


def test_the_image_is_made_from_files_that_reach_the_builder() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text("Dockerfile"), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    admitted = set(re.findall(r"^!(.*)$", text(".dockerignore"), re.MULTILINE))
    assert sources == admitted
    assert all((ROOT / source).exists() for source in sources)


def test_the_image_installs_all_that_the_build_needs() -> None:
    names = re.search(r"awk '/\^\(([^)]*)\)==/", text("Dockerfile"))
    assert names
    assert set(names[1].split("|")) == _with_what_it_needs("hatchling")


def _with_what_it_needs(name: str) -> set[str]:
    """What of the lock is installed for the sake of one package, by the comments in it."""
    lock = text("requirements-dev.lock")
    blocks = re.findall(r"^([\w.-]+)==.*\n((?:    .*\n)*)", lock, re.MULTILINE)
    wanted_by = {name: set(re.findall(r"# (?:via |  )(\S+)", rest)) for name, rest in blocks}
    found = {name}
    while more := {each for each, users in wanted_by.items() if users & found} - found:
        found |= more
    return found


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (503, 1)])
def test_the_health_check_of_the_image(status: int, exit_status: int) -> None:
    check = re.search(r"HEALTHCHECK .*?CMD (\[.*?\"\])", text("Dockerfile"), re.DOTALL)
    assert check
    _, *arguments = json.loads(check[1].replace("\\\n", ""))
    with server_that_answers(status) as port:
        done = subprocess.run([sys.executable, *arguments], env={"PORT": str(port)}, check=False)
    assert done.returncode == exit_status


@contextmanager
def server_that_answers(status: int) -> Iterator[int]:
    """A server on a free port that gives every request the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


# -- configurations of others, checked by their own programs


def nginx_accepts(configuration: str, folder: Path) -> None:
    paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    here = " ".join(f"{path}_temp_path {folder}/{path};" for path in paths)
    configuration = configuration.replace("http {", f"http {{ {here}", 1)
    configuration = configuration.replace("listen 3000", f"listen unix:{folder}/socket")
    file = folder / "nginx.conf"
    file.write_text(f"pid {folder}/pid;\n{configuration}")
    done = subprocess.run(
        ["nginx", "-t", "-e", "stderr", "-c", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


@needs_nginx
def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    nginx_accepts(text("deploy/nginx.conf"), tmp_path)


@needs_nginx
def test_nginx_accepts_fixed_addresses(tmp_path: Path) -> None:
    """As docs/operations.md tells people to write it."""
    block = re.search(r"```nginx\n(.*?)```", text("docs/operations.md"), re.DOTALL)
    assert block
    configuration = re.sub(r"\n *resolver [^;]*;", "", text("deploy/nginx.conf"))
    configuration = re.sub(r"set \$nodes [^;]*;", "set $nodes parley;", configuration)
    configuration = configuration.replace("    server {", f"{block[1]}    server {{", 1)
    nginx_accepts(configuration, tmp_path)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "parley.service"
    installed = "/opt/parley/bin/parley"
    assert installed in text("deploy/parley.service")
    unit.write_text(text("deploy/parley.service").replace(installed, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr  # a line that it doesn't understand is only told
