"""Reads the environment and checks it against a table of settings.

A function without a `table` uses that of the project that DJANGO_SETTINGS_MODULE names.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, overload

from . import parsers
from .malformed import Malformed
from .project import SETTINGS_MODULE, project_table
from .table import HOST_PROGRAMS, Environment, rows

ENV_FILE: Final = "/etc/sluice/sluice.env"
EX_CONFIG: Final = 78  # of sysexits.h

_HOST_READERS: Final = {**HOST_PROGRAMS, "migrate": "sluice_stack.migrate"}
# OpenSSL reads these: a file of authorities besides the system's, a folder of authorities instead of them.
_TRUST: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
# Names of the system, the interpreter, the container and its tools. They are not settings, and are accepted.
_SYSTEM_NAMES: Final = re.compile(
    r"PATH|HOME|HOSTNAME|LANG|LANGUAGE|LC_\w+|TERM|COLORTERM|NO_COLOR|TZ|PWD|OLDPWD|SHLVL|SHELL|_|USER|LOGNAME|MAIL|EDITOR|COLUMNS|LINES|TMPDIR"
    r"|PYTHON\w*|VIRTUAL_ENV|VIRTUAL_ENV_PROMPT|DJANGO_SETTINGS_MODULE|GUNICORN_CMD_ARGS|LD_PRELOAD|MALLOC_\w+|OMP_NUM_THREADS|OPENBLAS_\w+"
    r"|(?i:\w+_proxy)|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|SUPERVISOR_\w+|SLUICE_ENV_FILE|SLUICE_PROGRAM|DEBIAN_FRONTEND|container"
    r"|COMPOSE_\w+|DOCKER_\w+|BUILDKIT_\w+|BUILDX_\w+|DBUS_\w+|XDG_\w+"
    r"|INVOCATION_ID|JOURNAL_STREAM|NOTIFY_SOCKET|MAINPID|MANAGERPID|SYSTEMD_\w+|WATCHDOG_\w+|LISTEN_\w+|CREDENTIALS_DIRECTORY|MEMORY_PRESSURE_\w+",
    re.ASCII,
)

Table = TypeVar("Table", bound=Environment)


@overload
def load() -> Environment: ...
@overload
def load(table: type[Table]) -> Table: ...
def load(table: type[Environment] | None = None) -> Environment:
    """The values of this process's environment and, on a host, of its files. Read once. Raises Malformed."""
    if table not in _loaded:
        environ = with_file(os.environ, table)
        # Django and OpenSSL read these from the process's environment only.
        for name in (SETTINGS_MODULE, *_TRUST):
            if name in environ:
                os.environ[name] = environ[name]
        _loaded[table] = parse(environ, table)
    return _loaded[table]


_loaded: dict[type[Environment] | None, Environment] = {}


@overload
def parse(environ: Mapping[str, str]) -> Environment: ...
@overload
def parse(environ: Mapping[str, str], table: None) -> Environment: ...
@overload
def parse(environ: Mapping[str, str], table: type[Table]) -> Table: ...
def parse(environ: Mapping[str, str], table: type[Environment] | None = None) -> Environment:
    """The typed values of an environment.

    Ignores names outside the table. Raises Malformed with all problems.
    """
    table = table or project_table(environ)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for row in rows(table).values():
        text = environ.get(row.name, "") or row.default
        try:
            values[row.name.lower()] = row.parse(text) if text else text
        except ValueError as error:
            problems.append(f"{row.name}={_shown(text)} is malformed: it {error}")
    if problems:
        raise Malformed(problems)
    if not values["rabbitmq_containers"]:  # compose.yaml sets the addresses all the same
        values |= {"layer_url": "", "publisher_url": "", "tasks_url": ""}
    values["site_url"] = values["site_url"] or parsers.site_url(_own_address(values))
    if values["tls"] != "off" and not values["site_url"].startswith("https:"):
        raise Malformed([f"SITE_URL={values['site_url']} must begin with https:// where TLS={values['tls']}"])
    return table(**values)


def _own_address(values: Mapping[str, Any]) -> str:
    if values["https_port"]:
        return f"https://localhost:{values['https_port']}"
    return f"http://localhost:{values['http_port']}"


def unknown_names(
    environ: Mapping[str, str], place: str = "this container", table: type[Environment] | None = None
) -> list[str]:
    """One sentence for each name that is neither a setting nor a name of the system."""
    table = table or project_table(environ)
    known = rows(table)
    manual = "docs/reference/environment.md lists them all"
    if table is Environment:
        manual = f"if it is your project's own, set {SETTINGS_MODULE}; {manual}"
    sentences = []
    for name in sorted(environ):
        if name in known or _SYSTEM_NAMES.fullmatch(name):
            continue
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.6)
        fix = f"did you mean {near[0]}?" if near else manual
        sentences.append(f"{_shown(name)} is not a setting of {place}; {fix}")
    return sentences


def with_file(environ: Mapping[str, str], table: type[Environment] | None = None) -> dict[str, str]:
    """`environ`, completed by the NAME=VALUE lines of a host's files. Raises Malformed.

    The common file is for all programs: /etc/sluice/sluice.env, or the file that SLUICE_ENV_FILE names, which
    must exist. The program that SLUICE_PROGRAM names may have a file of its own beside it, such as
    celery.env. Precedence: `environ`, the program's file, the common file.
    """
    named, program = environ.get("SLUICE_ENV_FILE", ""), environ.get("SLUICE_PROGRAM", "")
    common = Path(named or ENV_FILE)
    if named and not common.exists():
        raise Malformed([f"SLUICE_ENV_FILE={named} does not exist; create it, or unset the variable"])
    files = [(common, "")]
    if program:
        files.append((common.with_name(f"{program}.env"), program))
    contents = [(_read_file(path), path, owner) for path, owner in files]
    merged = dict(environ)
    for values, _, _ in reversed(contents):
        merged = {**values, **merged}
    table = table or project_table(merged)
    problems: list[str] = []
    for values, path, owner in contents:
        problems += unknown_names(values, str(path), table) + misplaced(values, path, owner, table)
    if problems:
        raise Malformed(problems)
    return merged


def misplaced(
    names: Iterable[str], path: Path, program: str = "", table: type[Environment] = Environment
) -> list[str]:
    """One sentence for each setting that no program reads from this file.

    `program`: its owner; "": common.
    """
    sentences = []
    for name in sorted(rows(table).keys() & names):
        row = rows(table)[name]
        readers = [who for service, who in _HOST_READERS.items() if service in row.readers]
        if program in readers or (readers and not program):
            continue
        if readers:
            fix = f"it is for {', '.join(readers)}: move it to sluice.env"
        elif row.services == "nginx":
            fix = "on a host nginx's own files set it: see docs/reference/the-split.md"
        else:
            fix = "only containers use it: remove it"
        sentences.append(f"{name} has no effect in {path}; {fix}")
    return sentences


def secret(path: str, name: str) -> str:
    """The secret in the file at `path`. `name` is the variable with that path. Raises Malformed."""
    try:
        value = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except FileNotFoundError:
        fix = "create it with 64 random letters and digits (docs/how-to/bare-metal.md)"
        if os.environ.get("SLUICE_SERVICE"):
            fix = "the service init creates it: check that init ran, and that the secrets' volume is mounted"
        raise Malformed([f"{name}={path} does not exist; {fix}"]) from None
    except PermissionError:
        fix = f"add the user to the file's group, {_group(path)}"
        raise Malformed([f"{name}={path} can't be read by user {os.getuid()}; {fix}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed([f"{name}={path} can't be read: {error}"]) from None
    if not value:
        raise Malformed([f"{name}={path} is empty; delete it, and init creates a new one at the next start"])
    return value


def check(environ: Mapping[str, str]) -> list[str]:
    """One sentence for each problem: unknown names, malformed values, secrets that can't be read."""
    try:
        complete = with_file(environ)
        table = project_table(complete)
    except Malformed as error:
        return error.problems
    problems = [] if _may_have_others(complete, table) else unknown_names(environ, table=table)
    try:
        env = parse(complete, table)
    except Malformed as error:
        return problems + error.problems
    return problems + missing(env)


def _may_have_others(environ: Mapping[str, str], table: type[Environment]) -> bool:
    """Whether the names include those of a project that has no table: in a container, from site.env."""
    service = environ.get("SLUICE_SERVICE", "")
    return table is Environment and bool(environ.get(SETTINGS_MODULE)) and service not in ("", "init")


def missing(env: Environment) -> list[str]:
    """One sentence for each secret of the service that is not set or can't be read."""
    problems: list[str] = []
    if env.sluice_service == "init":  # it creates them
        return problems
    if not env.secret_key_file and not env.debug:
        problems.append("SECRET_KEY_FILE is not set; name a file with 50 random characters or more")
    for field in dataclasses.fields(env):
        path = getattr(env, field.name)
        if path and field.name.endswith(("_password_file", "_key_file")):
            try:
                secret(path, field.name.upper())
            except Malformed as error:
                problems += error.problems
    return problems


def refuse(problems: Iterable[str], service: str) -> None:
    """Print one line for each problem to stderr and exit with 78. Without a problem, do nothing."""
    lines = [f"sluice {service or 'app'}: {problem}" for problem in problems]
    if lines:
        print("\n".join(lines), file=sys.stderr, flush=True)
        raise SystemExit(EX_CONFIG)


def _read_file(path: Path) -> dict[str, str]:
    """The variables in a host's file, unchecked; none if it does not exist. Raises Malformed."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed([f"{path} can't be read: {error}"]) from None
    return _assignments(text, path)


def _assignments(text: str, path: Path) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z_]\w*)=(.*)", line, re.ASCII)
        if not match:
            raise Malformed([f"{path} line {number} is malformed: it must be NAME=VALUE or a comment"])
        name, value = match.groups()
        quoted = re.fullmatch(r"(['\"])(.*)\1", value)
        values[name] = quoted.group(2) if quoted else value
    return values


def _group(path: str) -> str:
    try:
        return str(os.stat(path).st_gid)
    except OSError:
        return "unknown"


def _shown(text: str) -> str:
    """`text` on one line of a log: printable, short, and without a password."""
    shown = re.sub(r"(?<=://)([^/@]*):[^/@]*@", r"\1:***@", text)  # URLs must not contain one, but may
    shown = shown if shown.isprintable() else ascii(shown)
    return shown if len(shown) <= 80 else shown[:77] + "…"
