"""Every setting that Sluice takes from its environment: one table, checked before anything else starts.

`python -m sluice_stack.environment` checks the whole environment strictly (an unknown name is refused, with
the nearest known one) and exits 78, EX_CONFIG of sysexits.h, after one line for each thing that is wrong.
`load()` gives the settings their values, typed. Pure standard library: it runs before Django, and without it.

An empty value means the default, as `NAME: "${NAME:-}"` in a compose file does.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from . import environment_parsers as is_

ENV_FILE: Final = "/etc/sluice/sluice.env"
EX_CONFIG: Final = 78
SERVICES: Final = ("wsgi", "asgi", "worker", "celery", "beat", "migrate", "init")
# A host's programs, each with a file of its own, by the service whose work they do.
HOST_PROGRAMS: Final[Mapping[str, str]] = {
    "wsgi": "gunicorn",
    "asgi": "daphne",
    "worker": "channels-worker",
    "celery": "celery",
    "beat": "beat",
}
_HOST_READERS: Final = {**HOST_PROGRAMS, "migrate": "sluice_stack.migrate"}

# Who sets a name.
OPERATOR: Final = "operator"  # in .env, read by compose
BUILD: Final = "build"  # in .env, read by compose or make only
INTERNAL: Final = "internal"  # set by compose.yaml, or in sluice.env on a host


class Malformed(Exception):
    """The environment can't be used; `problems` has one sentence each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


# --- the table ---


def setting(default: str, parse: Callable[[str], Any], who: str, services: str, meaning: str) -> Any:
    """One row. `default` is the text that stands for an unset or empty variable; "" is kept, unparsed."""
    return dataclasses.field(metadata={"row": (default, parse, who, services, " ".join(meaning.split()))})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """The values; a field's name in capitals is the variable's."""

    # fmt: off
    # What an operator chooses
    site_url: str = setting("", is_.site_url, OPERATOR, "all", """
        Where people find the site. Gives allowed hosts, trusted origins and links.
        Empty: `http://localhost:HTTP_PORT`, with TLS `https://localhost:HTTPS_PORT`.""")
    http_port: int = setting("8080", is_.whole(1, 65535), OPERATOR, "nginx", """
        The port that nginx is published on.""")
    http_bind: str = setting("127.0.0.1", is_.address, OPERATOR, "nginx", """
        The address that it is published on. `0.0.0.0`: all of the machine's; then with TLS.""")
    tls: str = setting("off", is_.choice("off", "self-signed", "own"), OPERATOR, "nginx wsgi", """
        `self-signed`: nginx makes a certificate and speaks HTTPS; `own`: with yours; `off`: plain HTTP,
        or TLS in front. See docs/how-to/tls.md.""")
    https_port: int = setting("", is_.whole(1, 65535), OPERATOR, "nginx", """
        The port that nginx is published on for HTTPS; `HTTP_PORT` then leads there.
        `make up TLS=…` writes 8443.""")
    url_prefix: str = setting("", is_.url_prefix, OPERATOR, "all", """
        A path below which the whole site lives, WebSocket included, such as `/catmaid`.""")
    expose_backend: bool = setting("no", is_.yes_no, OPERATOR, "nginx wsgi asgi", """
        `yes`: each response says in `X-Backend` who made it. For tests and debugging.""")
    admin_username: str = setting("admin", is_.matching(*is_.USERNAME), OPERATOR, "migrate", """
        The administrator's name. `make password` shows the password.""")
    log_level: str = setting("info", is_.choice("debug", "info", "warning", "error"), OPERATOR, "all", """
        How much is logged: `debug`, `info`, `warning` or `error`.""")
    health_allow: tuple[str, ...] = setting("127.0.0.0/8", is_.networks, OPERATOR, "nginx", """
        Networks that may see the details of `/channels/healthz`, separated by spaces or commas.""")
    max_body_size: str = setting("1m", is_.matching(*is_.SIZE), OPERATOR, "nginx", """
        The largest body of a request, such as `512k` or `1m`; a larger one is answered 413.""")
    max_clients: int = setting("5000", is_.whole(1, 32000), OPERATOR, "nginx wsgi", """
        Clients that nginx holds at a time, and that the doctor looks for room for.
        An idle WebSocket takes 30 KB of its memory, by TLS 80 KB.""")
    channels_per_address: int = setting("5000", is_.whole(1, 32000), OPERATOR, "nginx", """
        Connections to Daphne that one client address may hold; above: 429.""")
    channels_per_address_second: int = setting("200", is_.whole(1, 9999), OPERATOR, "nginx", """
        Those that it may make a second, once it has made `CHANNELS_PER_ADDRESS` at once; above: 429.""")
    wsgi_workers: int = setting("2", is_.whole(1, 64), OPERATOR, "wsgi", """
        Gunicorn's processes.""")
    wsgi_threads: int = setting("4", is_.whole(1, 64), OPERATOR, "wsgi", """
        Threads in each of them.""")
    celery_concurrency: int = setting("1", is_.whole(1, 64), OPERATOR, "celery", """
        Crops that are cut at the same time.""")
    crop_max_voxels: int = setting("134217728", is_.whole(1, 2**40), OPERATOR, "wsgi", """
        The largest crop, in voxels. The default is 512³.""")
    crop_quota_mb: int = setting("10240", is_.whole(1, 10**9), OPERATOR, "wsgi", """
        What one person's crops may take on the disk, in MB; an order that would take more is refused.""")
    crop_retention_days: int = setting("14", is_.whole(1, 36500), OPERATOR, "wsgi beat", """
        Days after which a finished crop is deleted.""")
    poll_seconds: int = setting("60", is_.whole(1, 3600), OPERATOR, "wsgi", """
        How often a page without a WebSocket asks for news, in seconds.""")
    updates_max_age_days: int = setting("7", is_.whole(1, 36500), OPERATOR, "beat", """
        Days for which an update can be replayed to a client that comes back.""")
    updates_max_per_stream: int = setting("10000", is_.whole(1, 2**31), OPERATOR, "beat", """
        Updates that are kept of each stream.""")
    updates_max_connections_per_user: int = setting("32", is_.whole(1, 10000), OPERATOR, "asgi", """
        Open sockets of one person in one Daphne process.""")

    # What make and the builds read
    base_image: str = setting("debian:trixie-slim", is_.text, BUILD, "build", """
        What the images derive from. `make base` makes `sluice-base` and sets this.""")
    ca_certificates: str = setting("./images/base/ca-certificates", is_.text, BUILD, "build", """
        A folder of `*.crt` that build stages trust, for networks that inspect TLS. Not shipped.""")
    image_tag: str = setting("latest", is_.matching(*is_.IMAGE_TAG), BUILD, "build", """
        The tag of the images that are built and run.""")
    compose_project_name: str = setting("sluice", is_.matching(*is_.PROJECT_NAME), BUILD, "compose", """
        The name before that of each container, volume and network.""")
    tls_certificate: str = setting("", is_.text, BUILD, "make", """
        `TLS=own`: the file of your certificate (PEM), with those between it and its authority behind it.""")
    tls_key: str = setting("", is_.text, BUILD, "make", """
        `TLS=own`: the file of its private key (PEM), without a passphrase; readable for root is enough.""")
    install_engine: str = setting("yes", is_.choice("yes", "no"), BUILD, "make", """
        `no` forbids `make up` to install a missing Docker engine. At a terminal it asks first anyway.""")

    # What compose.yaml, or sluice.env on a host, sets
    sluice_service: str = setting("", is_.choice(*SERVICES), INTERNAL, "all", """
        Which service a container is. Empty on a host.""")
    database_url: str = setting("", is_.database_url, INTERNAL, "all", """
        `postgresql://USER@HOST:PORT/DATABASE`, or `sqlite:///FILE` for development.
        Empty: `var/sluice.sqlite3` of the checkout.""")
    database_password_file: str = setting("", is_.path, INTERNAL, "all", """
        A file with that user's password.""")
    secret_key_file: str = setting("", is_.path, INTERNAL, "all", """
        A file with Django's secret key.""")
    admin_password_file: str = setting("", is_.path, INTERNAL, "migrate", """
        A file with the administrator's password.""")
    layer_url: str = setting("", is_.amqp_url, INTERNAL, "asgi worker", """
        The channel layer's broker, `amqp://USER@HOST:PORT/VHOST`, or `amqps://` for TLS, whose port is 5671
        and whose certificate must be for HOST, by an authority that the machine trusts.
        Empty: a layer in memory, for one process.""")
    layer_password_file: str = setting("", is_.path, INTERNAL, "asgi worker", """
        A file with that user's password.""")
    publisher_url: str = setting("", is_.amqp_url, INTERNAL, "wsgi worker celery beat", """
        The same vhost, by `amqp://` or `amqps://` too, by an account that may only wake the hubs.
        Empty: they find updates within 1 s by themselves.""")
    publisher_password_file: str = setting("", is_.path, INTERNAL, "wsgi worker celery beat", """
        A file with that user's password.""")
    tasks_url: str = setting("", is_.amqp_url, INTERNAL, "wsgi celery beat", """
        Celery's vhost, by `amqp://` or `amqps://`, by an account that may only publish (wsgi, beat) or the
        worker's own (celery).
        Empty: crops wait for `manage.py run_crops`.""")
    tasks_password_file: str = setting("", is_.path, INTERNAL, "wsgi celery beat", """
        A file with that user's password.""")
    media_root: str = setting("", is_.path, INTERNAL, "wsgi celery beat", """
        Finished crops. Empty: `/var/lib/sluice/media`; with `DEBUG=yes`: `var/media` of the checkout.""")
    volumes_root: str = setting("", is_.path, INTERNAL, "wsgi worker celery migrate", """
        Image volumes. Empty: `/var/lib/sluice/volumes`; with `DEBUG=yes`: `var/volumes` of the checkout.""")
    static_root: str = setting("", is_.path, INTERNAL, "migrate wsgi", """
        Where `migrate` puts the static files, for nginx.
        Empty: `/var/lib/sluice/static`; with `DEBUG=yes`: `var/static` of the checkout.""")
    sendfile: str = setting("", is_.choice("nginx"), INTERNAL, "wsgi", """
        `nginx`: downloads are handed to nginx (`X-Accel-Redirect`). Empty: Django sends them itself.""")
    wsgi_bind: str = setting("", is_.bind, INTERNAL, "wsgi", """
        Where Gunicorn listens. Empty: `127.0.0.1:8000`, in a container `0.0.0.0:8000`.
        Where supervisor or systemd hands over a socket, as on a host, that one counts.""")
    asgi_bind: str = setting("", is_.bind, INTERNAL, "asgi", """
        Where Daphne listens. Empty: `127.0.0.1:8001`, in a container `0.0.0.0:8001`.
        Where supervisor or systemd hands over a socket, as on a host, that one counts.""")
    debug: bool = setting("no", is_.yes_no, INTERNAL, "all", """
        `yes`: Django's debugging pages and an insecure key. Never where others can reach it.""")
    # fmt: on


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    default: str
    parse: Callable[[str], Any]
    who: str
    services: str
    meaning: str

    @property
    def readers(self) -> tuple[str, ...]:
        """The services that read it."""
        return SERVICES if self.services == "all" else tuple(self.services.split())


TABLE: Mapping[str, Row] = {
    field.name.upper(): Row(field.name.upper(), *field.metadata["row"])
    for field in dataclasses.fields(Environment)
}

# Names that belong to the system, the interpreter, the container or the tools inside, and are let through.
_SYSTEM_NAMES = re.compile(
    r"PATH|HOME|HOSTNAME|LANG|LANGUAGE|LC_\w+|TERM|COLORTERM|NO_COLOR|TZ|PWD|OLDPWD|SHLVL|SHELL|_|USER|LOGNAME|MAIL|EDITOR|COLUMNS|LINES|TMPDIR"
    r"|PYTHON\w*|VIRTUAL_ENV|VIRTUAL_ENV_PROMPT|DJANGO_SETTINGS_MODULE|GUNICORN_CMD_ARGS|LD_PRELOAD|MALLOC_\w+|OMP_NUM_THREADS|OPENBLAS_\w+"
    r"|(?i:\w+_proxy)|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|SUPERVISOR_\w+|SLUICE_ENV_FILE|SLUICE_PROGRAM|DEBIAN_FRONTEND|container"
    r"|COMPOSE_\w+|DOCKER_\w+|BUILDKIT_\w+|BUILDX_\w+|DBUS_\w+|XDG_\w+"
    r"|INVOCATION_ID|JOURNAL_STREAM|NOTIFY_SOCKET|MAINPID|MANAGERPID|SYSTEMD_\w+|WATCHDOG_\w+|LISTEN_\w+|CREDENTIALS_DIRECTORY|MEMORY_PRESSURE_\w+",
    re.ASCII,
)


# OpenSSL's own: a file and a folder of authorities, besides or instead of the system's.
_TRUST: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")


# --- reading ---


@functools.cache
def load() -> Environment:
    """The process's own environment, with what the file of a bare-metal host adds. Raises Malformed.

    Whom the files have TLS trust, OpenSSL is told, which looks into the process's environment alone.
    """
    environ = with_file(os.environ)
    os.environ.update({name: environ[name] for name in _TRUST if name in environ})
    return parse(environ)


def parse(environ: Mapping[str, str]) -> Environment:
    """Typed values. Names outside the table are left alone. Raises Malformed, with all problems at once."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for row in TABLE.values():
        text = environ.get(row.name, "") or row.default
        try:
            values[row.name.lower()] = row.parse(text) if text else text
        except ValueError as error:
            problems.append(f"{row.name}={_shown(text)} is malformed: it {error}")
    if problems:
        raise Malformed(problems)
    values["site_url"] = values["site_url"] or is_.site_url(_own_address(values))
    if values["tls"] != "off" and not values["site_url"].startswith("https:"):
        raise Malformed([f"SITE_URL={values['site_url']} must begin with https:// where TLS={values['tls']}"])
    return Environment(**values)


def _own_address(values: Mapping[str, Any]) -> str:
    if values["https_port"]:
        return f"https://localhost:{values['https_port']}"
    return f"http://localhost:{values['http_port']}"


def unknown_names(environ: Mapping[str, str], place: str = "this container") -> list[str]:
    """One sentence for each name that is neither a setting nor the system's."""
    sentences = []
    for name in sorted(environ):
        if name in TABLE or _SYSTEM_NAMES.fullmatch(name):
            continue
        near = difflib.get_close_matches(name.upper(), TABLE, n=1, cutoff=0.6)
        cure = f"did you mean {near[0]}?" if near else "docs/reference/environment.md lists them all"
        sentences.append(f"{_shown(name)} is not a setting of {place}; {cure}")
    return sentences


def with_file(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` over the NAME=VALUE lines of a host's files. Raises Malformed.

    There is one for all programs, /etc/sluice/sluice.env or what SLUICE_ENV_FILE names, and beside it one for
    the program that SLUICE_PROGRAM names, such as celery.env, which goes before it. A file that
    SLUICE_ENV_FILE names must be there; the others need not.
    """
    named, program = environ.get("SLUICE_ENV_FILE", ""), environ.get("SLUICE_PROGRAM", "")
    path = Path(named or ENV_FILE)
    if named and not path.exists():
        raise Malformed([f"SLUICE_ENV_FILE={named} is not there; make it, or unset the variable"])
    own = _read_file(path.with_name(f"{program}.env"), program) if program else {}
    return {**_read_file(path), **own, **environ}


def misplaced(names: Iterable[str], path: Path, program: str = "") -> list[str]:
    """One sentence for each setting that nobody heeds in a host's file, a program's own or the common one."""
    sentences = []
    for name in sorted(TABLE.keys() & names):
        row = TABLE[name]
        readers = [who for service, who in _HOST_READERS.items() if service in row.readers]
        if program in readers or (readers and not program):
            continue
        if readers:
            cure = f"it is for {', '.join(readers)}: put it into sluice.env"
        elif row.services == "nginx":
            cure = "on a host nginx's own files have it: docs/reference/the-split.md says where"
        else:
            cure = "it is for containers: take it out"
        sentences.append(f"{name} does nothing in {path}; {cure}")
    return sentences


def secret(path: str, name: str) -> str:
    """The secret in the file at `path`, which the variable `name` named. Raises Malformed."""
    try:
        value = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except FileNotFoundError:
        cure = "make it: 64 letters and digits at random (docs/how-to/bare-metal.md)"
        if os.environ.get("SLUICE_SERVICE"):
            cure = "the service init makes the secrets: did it run, and is their volume mounted?"
        raise Malformed([f"{name}={path} is not there; {cure}"]) from None
    except PermissionError:
        cure = f"add it to the file's group, {_group(path)}"
        raise Malformed([f"{name}={path} can't be read by user {os.getuid()}; {cure}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed([f"{name}={path} can't be read: {error}"]) from None
    if not value:
        raise Malformed([f"{name}={path} is empty; delete it, and init makes a new one at the next start"])
    return value


def check(environ: Mapping[str, str]) -> list[str]:
    """What is wrong, one sentence each: unknown names, malformed values, secrets that can't be read."""
    problems = unknown_names(environ)
    try:
        env = parse(with_file(environ))
    except Malformed as error:
        return problems + error.problems
    return problems + missing(env)


def missing(env: Environment) -> list[str]:
    """What a running service lacks: secrets that aren't set or can't be read, one sentence each."""
    problems: list[str] = []
    if env.sluice_service == "init":  # it makes them
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
    """Write one line for each problem and exit 78; do nothing if there is none."""
    lines = [f"sluice {service or 'app'}: {problem}" for problem in problems]
    if lines:
        print("\n".join(lines), file=sys.stderr, flush=True)
        raise SystemExit(EX_CONFIG)


def _read_file(path: Path, program: str = "") -> dict[str, str]:
    """The settings in a host's file, a program's own or the common one. Raises Malformed.

    None, if it isn't there.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed([f"{path} can't be read: {error}"]) from None
    values = _assignments(text, path)
    problems = unknown_names(values, place=str(path)) + misplaced(values, path, program)
    if problems:
        raise Malformed(problems)
    return values


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
    """`text` fit for one line of a log."""
    shown = re.sub(r"(?<=://)([^/@]*):[^/@]*@", r"\1:***@", text)  # a password that does not belong there
    shown = shown if shown.isprintable() else ascii(shown)
    return shown if len(shown) <= 80 else shown[:77] + "…"


def main() -> None:
    refuse(check(os.environ), os.environ.get("SLUICE_SERVICE", ""))


if __name__ == "__main__":
    main()
