"""The stack's table of settings: one row for each variable, as a field of `Environment`.

A project adds rows of its own in a subclass, see sluice_stack.environment.project.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from . import parsers as is_

SERVICES: Final = ("wsgi", "asgi", "worker", "celery", "beat", "migrate", "init")
# The programs of a host, by service. On a host each has its own environment file.
HOST_PROGRAMS: Final[Mapping[str, str]] = {
    "wsgi": "gunicorn",
    "asgi": "daphne",
    "worker": "channels-worker",
    "celery": "celery",
    "beat": "beat",
}

# Who sets a variable.
OPERATOR: Final = "operator"  # in .env, read by compose
BUILD: Final = "build"  # in .env, read by compose or make only
INTERNAL: Final = "internal"  # in compose.yaml, or in sluice.env on a host


def setting(default: str, parse: Callable[[str], Any], who: str, services: str, meaning: str) -> Any:
    """One row of a table.

    `default`: the value of an unset or empty variable; an empty default is not parsed. `parse`: one of
    sluice_stack.environment.parsers. `who`: OPERATOR, BUILD or INTERNAL. `services`: the services that read
    the variable, separated by spaces, or "all". `meaning`: Markdown for docs/reference/environment.md.
    """
    return dataclasses.field(metadata={"row": (default, parse, who, services, " ".join(meaning.split()))})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """The values. A variable's name is the field's name in capitals."""

    # fmt: off
    # Set by operators
    site_url: str = setting("", is_.site_url, OPERATOR, "all", """
        The address of the site. Allowed hosts, trusted origins and links follow from it.
        Empty: `http://localhost:HTTP_PORT`, with TLS `https://localhost:HTTPS_PORT`.""")
    http_port: int = setting("8080", is_.whole(1, 65535), OPERATOR, "nginx", """
        The port on which nginx is published.""")
    http_bind: str = setting("127.0.0.1", is_.address, OPERATOR, "nginx", """
        The address on which nginx is published. `0.0.0.0` means all addresses of the machine: use it with
        TLS.""")
    tls: str = setting("off", is_.choice("off", "self-signed", "own"), OPERATOR, "nginx wsgi", """
        `self-signed`: HTTPS with a certificate that nginx creates. `own`: HTTPS with your certificate.
        `off`: plain HTTP, or TLS in front of nginx. See docs/how-to/tls.md.""")
    https_port: int = setting("", is_.whole(1, 65535), OPERATOR, "nginx", """
        The port on which nginx is published for HTTPS; `HTTP_PORT` then redirects to it.
        `make up TLS=…` writes 8443.""")
    rabbitmq_containers: int = setting("1", is_.whole(0, 1), OPERATOR, "wsgi asgi worker celery beat", """
        0: no RabbitMQ. Updates come by the database; set `CELERY_CONTAINERS` to 0 too.""")
    worker_containers: int = setting("1", is_.whole(0, 64), OPERATOR, "compose", """
        The number of Channels workers. 0: none.""")
    celery_containers: int = setting("1", is_.whole(0, 64), OPERATOR, "compose", """
        The number of Celery workers. 0: none.""")
    beat_containers: int = setting("1", is_.whole(0, 1), OPERATOR, "wsgi migrate", """
        0: no Celery beat. Then Gunicorn trims updates and deletes old sessions.""")
    media_mode: str = setting("ro", is_.choice("ro", "rw"), OPERATOR, "compose", """
        `rw`: Gunicorn may write to the media folder, as a site with uploads must. `ro`: it only reads.""")
    public_media: bool = setting("no", is_.yes_no, OPERATOR, "nginx", """
        `yes`: everybody may read the media folder, at `/media/`. `no`: only the site sends files from it.""")
    url_prefix: str = setting("", is_.url_prefix, OPERATOR, "all", """
        The path below which the whole site is served, WebSocket included, such as `/catmaid`.""")
    asgi_prefixes: tuple[str, ...] = setting("/channels/", is_.asgi_prefixes, OPERATOR, "nginx", """
        The paths whose WebSockets Daphne serves, separated by spaces, such as `/channels/ /ws/`, without
        `URL_PREFIX`. `/channels/` must be one of them. See docs/reference/the-split.md.""")
    expose_backend: bool = setting("no", is_.yes_no, OPERATOR, "nginx wsgi asgi", """
        `yes`: each response names the server that made it in `X-Backend`. For tests and debugging.""")
    admin_username: str = setting("admin", is_.matching(*is_.USERNAME), OPERATOR, "migrate", """
        The administrator's user name. `make password` shows the password.""")
    log_level: str = setting("info", is_.choice("debug", "info", "warning", "error"), OPERATOR, "all", """
        The lowest level that is logged: `debug`, `info`, `warning` or `error`.""")
    health_allow: tuple[str, ...] = setting("127.0.0.0/8", is_.networks, OPERATOR, "nginx", """
        Networks that may see the details of `/channels/healthz`, separated by spaces or commas.""")
    monitoring: bool = setting("no", is_.yes_no, OPERATOR, "nginx wsgi asgi worker celery beat rabbitmq", """
        `yes`: every service has metrics, and `make up` starts Prometheus. See docs/how-to/monitor.md.""")
    metrics_allow: tuple[str, ...] = setting("127.0.0.0/8", is_.networks, OPERATOR, "nginx", """
        Networks that may see `/monitoring/` (Prometheus), separated by spaces or commas. Users who may enter
        the admin site see it from anywhere.""")
    monitoring_days: int = setting("15", is_.whole(1, 9999), OPERATOR, "prometheus", """
        Days for which Prometheus keeps its data, 1 GB at most.""")
    max_body_size: str = setting("1m", is_.matching(*is_.SIZE), OPERATOR, "nginx", """
        The largest request body, such as `512k` or `1m`. A larger one is answered with 413.""")
    max_clients: int = setting("5000", is_.whole(1, 32000), OPERATOR, "nginx wsgi", """
        The number of clients that nginx holds at a time; the doctor checks that the limits allow it.
        An idle WebSocket takes 30 KB of nginx's memory, with TLS 80 KB.""")
    channels_per_address: int = setting("5000", is_.whole(1, 32000), OPERATOR, "nginx", """
        Connections to Daphne that one client address may hold. Above: 429.""")
    channels_per_address_second: int = setting("200", is_.whole(1, 9999), OPERATOR, "nginx", """
        New connections to Daphne per second per address, after a burst of `CHANNELS_PER_ADDRESS`.
        Above: 429.""")
    wsgi_workers: int = setting("2", is_.whole(1, 64), OPERATOR, "wsgi", """
        Gunicorn's worker processes.""")
    wsgi_threads: int = setting("4", is_.whole(1, 64), OPERATOR, "wsgi", """
        Threads in each of Gunicorn's worker processes.""")
    celery_concurrency: int = setting("1", is_.whole(1, 64), OPERATOR, "celery", """
        Tasks that a Celery worker runs at the same time.""")
    updates_max_age_days: int = setting("7", is_.whole(1, 36500), OPERATOR, "beat", """
        Days for which an update can be replayed to a client that reconnects.""")
    updates_max_per_stream: int = setting("10000", is_.whole(1, 2**31), OPERATOR, "beat", """
        Updates that are kept of each stream.""")
    updates_notify: str = setting("", is_.choice("yes", "no"), OPERATOR, "wsgi asgi worker celery beat", """
        `yes`: PostgreSQL tells Daphne of each commit (NOTIFY), also beside RabbitMQ. `no`: it does not.
        Empty: only without a broker. See docs/explanation/push-without-rabbitmq.md.""")
    updates_max_connections_per_user: int = setting("32", is_.whole(1, 10000), OPERATOR, "asgi", """
        Open sockets that one user may have in one Daphne process.""")

    # Read by make and by builds
    site: str = setting("./app", is_.text, BUILD, "build", """
        The folder of the Django project that the stack runs, the one with `manage.py`. See
        docs/how-to/your-project.md.""")
    site_settings: str = setting("", is_.matching(*is_.MODULE), BUILD, "build", """
        The project's settings module. Empty: the one that its `wsgi.py` names, else `manage.py`.""")
    base_image: str = setting("debian:trixie-slim", is_.text, BUILD, "build", """
        The image that all images derive from. `make base` builds `sluice-base` and sets this.""")
    ca_certificates: str = setting("./images/base/ca-certificates", is_.text, BUILD, "build", """
        A folder of `*.crt` that build stages trust, for networks that inspect TLS. Not in the images.""")
    image_tag: str = setting("latest", is_.matching(*is_.IMAGE_TAG), BUILD, "build", """
        The tag of the images that are built and run.""")
    compose_project_name: str = setting("sluice", is_.matching(*is_.PROJECT_NAME), BUILD, "compose", """
        The prefix of the name of each container, volume and network.""")
    compose_profiles: str = setting("", is_.choice("monitoring"), BUILD, "compose", """
        `monitoring`: compose starts Prometheus. `make up MONITORING=yes` writes it.""")
    tls_certificate: str = setting("", is_.text, BUILD, "make", """
        `TLS=own`: the file with your certificate (PEM), followed by its intermediate certificates.""")
    tls_key: str = setting("", is_.text, BUILD, "make", """
        `TLS=own`: the file with its private key (PEM), without a passphrase. Only root needs to read it.""")
    install_engine: str = setting("yes", is_.choice("yes", "no"), BUILD, "make", """
        `no`: `make up` does not install a missing Docker engine. At a terminal it always asks first.""")

    # Set by compose.yaml, on a host by sluice.env
    sluice_service: str = setting("", is_.choice(*SERVICES), INTERNAL, "all", """
        The service that a container belongs to. Empty on a host.""")
    database_url: str = setting("", is_.database_url, INTERNAL, "all", """
        `postgresql://USER@HOST:PORT/DATABASE`, or `sqlite:///FILE` for development.
        Empty: `var/sluice.sqlite3` of the checkout.""")
    database_password_file: str = setting("", is_.path, INTERNAL, "all", """
        A file with the password of that user.""")
    secret_key_file: str = setting("", is_.path, INTERNAL, "all", """
        A file with Django's secret key.""")
    admin_password_file: str = setting("", is_.path, INTERNAL, "migrate", """
        A file with the administrator's password.""")
    layer_url: str = setting("", is_.amqp_url, INTERNAL, "asgi worker", """
        The channel layer's broker: `amqp://USER@HOST:PORT/VHOST`, or `amqps://` for TLS.
        Empty: a layer in memory, for one process.""")
    layer_password_file: str = setting("", is_.path, INTERNAL, "asgi worker", """
        A file with the password of that user.""")
    publisher_url: str = setting("", is_.amqp_url, INTERNAL, "wsgi worker celery beat", """
        The same vhost, `amqp://` or `amqps://`, with an account that may only wake the hubs.
        Empty: RabbitMQ wakes no hub, see `UPDATES_NOTIFY`.""")
    publisher_password_file: str = setting("", is_.path, INTERNAL, "wsgi worker celery beat", """
        A file with the password of that user.""")
    tasks_url: str = setting("", is_.amqp_url, INTERNAL, "wsgi celery beat", """
        Celery's vhost, `amqp://` or `amqps://`, with an account that may only publish (wsgi, beat) or the
        worker's own (celery).
        Empty: no Celery.""")
    tasks_password_file: str = setting("", is_.path, INTERNAL, "wsgi celery beat", """
        A file with the password of that user.""")
    media_root: str = setting("", is_.path, INTERNAL, "wsgi celery beat", """
        The folder of files that the site creates (Django's `MEDIA_ROOT`).
        Empty: `/var/lib/sluice/media`; with `DEBUG=yes`: `var/media` of the checkout.""")
    static_root: str = setting("", is_.path, INTERNAL, "migrate wsgi", """
        The folder into which `migrate` copies the static files, for nginx.
        Empty: `/var/lib/sluice/static`; with `DEBUG=yes`: `var/static` of the checkout.""")
    sendfile: str = setting("", is_.choice("nginx"), INTERNAL, "wsgi", """
        `nginx`: Django leaves sending downloads to nginx (`X-Accel-Redirect`). Empty: Django sends them.""")
    wsgi_bind: str = setting("", is_.bind, INTERNAL, "wsgi", """
        The address on which Gunicorn listens. Empty: `127.0.0.1:8000`, in a container `0.0.0.0:8000`.
        Ignored where supervisor or systemd passes a socket, as on a host.""")
    asgi_bind: str = setting("", is_.bind, INTERNAL, "asgi", """
        The address on which Daphne listens. Empty: `127.0.0.1:8001`, in a container `0.0.0.0:8001`.
        Ignored where supervisor or systemd passes a socket, as on a host.""")
    metrics_bind: str = setting("", is_.tcp_bind, INTERNAL, "wsgi asgi worker celery beat", """
        The address on which a program serves its metrics; if the port is taken, the next free one.
        Empty: with `MONITORING=yes` port 9108, of 127.0.0.1 or, in a container, of all addresses; else
        nowhere.""")
    debug: bool = setting("no", is_.yes_no, INTERNAL, "all", """
        `yes`: Django's debugging pages and an insecure key. Never where others can reach the site.""")
    # fmt: on

    @property
    def https(self) -> bool:
        """Whether visitors use https."""
        return self.site_url.startswith("https:")


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


def rows(table: type[Environment]) -> Mapping[str, Row]:
    """The rows of a table, the stack's or a project's, by the variable's name."""
    return {
        field.name.upper(): Row(field.name.upper(), *field.metadata["row"])
        for field in dataclasses.fields(table)
    }
